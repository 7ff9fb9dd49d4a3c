//! Obstacles on the way to the borg of a server: recognised by the messages of ssh and of shells,
//! and reported with the next step.

use super::client::Borg;
use crate::error::{Error, Kind};
use crate::process::{Ended, Exceeded, Output};
use crate::tools::ssh::Route;

/// Something that keeps us from the borg of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Obstacle {
    NoSuchHost,
    NoRoute,
    Silent,
    Refused,
    HostKeyChanged,
    HostKeyUnknown,
    KeyRefused,
    TooManyKeys,
    HungUp,
    NoSsh,
    /// The rules of the server forbid this account to run borg.
    Restricted,
    NoBorg,
    /// Something other than borg answers.
    Noise,
    Unknown,
}

/// The messages of ssh, and of shells on the way. The first match counts.
const MESSAGES: [(Obstacle, &[&str]); 12] = [
    (Obstacle::NoSuchHost, &["Could not resolve hostname"]),
    (Obstacle::NoRoute, &["No route to host", "Network is unreachable", "Host is down"]),
    (Obstacle::Silent, &["Connection timed out", "Operation timed out", "timed out during banner exchange"]),
    (Obstacle::Refused, &["Connection refused"]),
    (Obstacle::HostKeyChanged, &["REMOTE HOST IDENTIFICATION HAS CHANGED"]),
    (Obstacle::HostKeyUnknown, &["Host key verification failed"]),
    (Obstacle::TooManyKeys, &["Too many authentication failures"]),
    (Obstacle::KeyRefused, &["Permission denied ("]),
    (Obstacle::HungUp, &["kex_exchange_identification", "Connection closed by ", "Connection reset by "]),
    (Obstacle::NoSsh, &["ssh: not found", "ssh: command not found", "failed to execute ssh", "execute ssh:"]),
    (
        Obstacle::Restricted,
        &[
            "allows sftp connections only",
            "account is currently not available",
            "exec request failed",
            "shell request failed",
            "estricted",
            "ot permitted",
            "ot allowed",
            "nknown command",
            "nsupported command",
            "nvalid command",
        ],
    ),
    (Obstacle::NoBorg, &["not found", "No such file or directory"]),
];

impl Obstacle {
    pub(super) fn of(output: &Output) -> Obstacle {
        let mut text: Vec<_> = output.stderr.iter().map(|line| String::from_utf8_lossy(line)).collect();
        // Without a message from ssh, the message is from the server's shell.
        let shell = matches!(output.ended, Ended::Code(126 | 127));
        // Restricted shells of providers print to standard output, with any exit code.
        let refuses = !matches!(output.ended, Ended::Code(0 | 255)) && output.exceeded.is_none();
        if refuses {
            text.push(String::from_utf8_lossy(&output.stdout));
        }
        let says = |words: &&[&str]| words.iter().any(|word| text.iter().any(|line| line.contains(word)));
        let may_be = |obstacle| match obstacle {
            Obstacle::NoBorg => shell || refuses,
            Obstacle::Restricted => shell || refuses || says(&&["exec request failed"][..]),
            Obstacle::NoSsh => shell,
            _ => true,
        };
        let found = MESSAGES.iter().find(|(obstacle, words)| may_be(*obstacle) && says(words));
        match found {
            Some((obstacle, _)) => *obstacle,
            None if matches!(output.exceeded, Some(Exceeded::Time(_))) => Obstacle::Silent,
            None if shell => Obstacle::NoBorg,
            None if !output.stdout.is_empty() => Obstacle::Noise,
            None => Obstacle::Unknown,
        }
    }

    /// Whether a person at the terminal can help ssh past it.
    pub(super) fn can_be_asked(self) -> bool {
        matches!(self, Obstacle::HostKeyUnknown | Obstacle::KeyRefused)
    }

    /// Whether it may be gone after a while, for example when the network comes up after a boot.
    fn may_pass(self) -> bool {
        matches!(self, Obstacle::NoSuchHost | Obstacle::NoRoute | Obstacle::HungUp)
    }

    pub(super) fn error(self, borg: &Borg, route: &Route, doing: &str, output: &Output) -> Error {
        let host = route.host();
        let why = match self {
            Obstacle::NoSuchHost => format!("there is no host {host}"),
            Obstacle::NoRoute => format!("there is no route to {host}"),
            Obstacle::Silent => format!("{host} does not answer"),
            Obstacle::Refused => format!("{host} refuses the connection"),
            Obstacle::HostKeyChanged => format!("{host} shows another host key than before"),
            Obstacle::HostKeyUnknown => format!("the host key of {host} is not known here"),
            Obstacle::KeyRefused => format!("{host} does not let us in"),
            Obstacle::TooManyKeys => format!("{host} gave up on us before the right key was shown"),
            Obstacle::Restricted => format!("{host} does not let this account run borg"),
            Obstacle::HungUp => format!("{host} hung up before we were let in"),
            Obstacle::NoSsh => "there is no ssh to connect with".into(),
            Obstacle::NoBorg => format!("there is no borg on {host}"),
            Obstacle::Noise => format!("{host} answers with something that is not borg"),
            Obstacle::Unknown => format!("borg cannot be reached at {}", borg.repository()),
        };
        let kind = if self.may_pass() { Kind::Disconnected } else { Kind::Failed };
        let error = Error::new(kind, format!("cannot {doing}: {why}")).because(summary(self, output));
        self.next_steps(route).into_iter().fold(error, Error::hint)
    }

    fn next_steps(self, route: &Route) -> Vec<String> {
        let host = route.host();
        let by_hand = || format!("try it by hand: {}", route.by_hand());
        match self {
            Obstacle::NoSuchHost => vec![
                "see `backup_server` in the configuration, and whether names are resolved at all:".into(),
                format!("getent hosts {host}"),
            ],
            Obstacle::NoRoute => {
                vec!["see whether this machine has a network, and the server is in it".into()]
            }
            Obstacle::Silent => vec![
                "see whether the server is on, and whether a firewall is between".into(),
                "a port other than 22 stands in `backup_server`: \"host:port\"".into(),
            ],
            Obstacle::Refused => vec![
                "see whether sshd runs there: systemctl status ssh".into(),
                "a port other than 22 stands in `backup_server`: \"host:port\"".into(),
            ],
            Obstacle::HostKeyChanged => vec![
                "either the server was set up anew: then remove the old key, as ssh says above,".into(),
                "or somebody is between you and it: then do not connect".into(),
                format!("then {}", by_hand()),
            ],
            Obstacle::HostKeyUnknown => vec![
                "compare it with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the server".into(),
                format!("then say yes to it once, {}", route.by_hand()),
            ],
            Obstacle::KeyRefused => vec![
                "the public key of the connecting account must stand in the authorized_keys of the".into(),
                "account on the server (`backup_user`); docs/server.md tells how".into(),
                by_hand(),
            ],
            Obstacle::TooManyKeys => vec![
                "ssh shows every key that it has, or its agent, and the server bears only a few:".into(),
                "in ~/.ssh/config of the connecting account, for this host: IdentityFile and".into(),
                "IdentitiesOnly yes".into(),
                by_hand(),
            ],
            Obstacle::Restricted => vec![
                "the account there is restricted, as those of providers are: they say which port and which".into(),
                "name of borg they serve, such as \"backup_server\": \"host:23\", or \"remote_path\": \"borg14\"".into(),
            ],
            Obstacle::HungUp => vec![
                "see the log of sshd on the server; it may have too many connections, or have banned us"
                    .into(),
            ],
            Obstacle::NoSsh => vec!["install the client of OpenSSH there".into()],
            Obstacle::NoBorg => vec![
                "install it there (Debian: apt install borgbackup), or say what it is called:".into(),
                "`remote_path` in the configuration, or BORG_REMOTE_PATH, such as /usr/local/bin/borg".into(),
                "providers serve it by names or ports of their own: \"borg14\", \"host:23\"".into(),
            ],
            Obstacle::Noise => vec!["nothing in the account's start-up files there may print".into()],
            Obstacle::Unknown => vec![by_hand()],
        }
    }
}

/// A short form of the messages on the way.
fn summary(obstacle: Obstacle, output: &Output) -> Error {
    let noise = [output.stdout.clone()];
    let shells = matches!(obstacle, Obstacle::Noise | Obstacle::NoBorg | Obstacle::Restricted);
    let lines = output.stderr.iter().filter(|_| obstacle != Obstacle::Noise);
    let texts: Vec<_> = lines
        .chain(noise.iter().filter(|_| shells))
        .map(|l| String::from_utf8_lossy(l.trim_ascii()))
        .collect();
    let is_text = |text: &&str| text.chars().any(char::is_alphanumeric);
    let mut message: Vec<&str> = texts.iter().flat_map(|t| t.lines()).filter(is_text).collect();
    // In the long warning about a changed host key, the advice comes last.
    message.drain(..message.len().saturating_sub(4));
    match (message.as_slice(), output.exceeded) {
        ([], Some(cut)) => Error::failed(cut.to_string()),
        ([], None) => Error::failed(format!("it ended with {} and said nothing", output.ended)),
        (message, _) => Error::failed(short(&message.join("; "))),
    }
}

/// Shortens a text to what a person reads.
fn short(text: &str) -> String {
    const MOST: usize = 1000;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn obstacle(code: i32, stdout: &str, stderr: &str) -> Obstacle {
        let stderr = stderr.lines().map(|l| l.as_bytes().to_vec()).collect();
        Obstacle::of(&Output { ended: Ended::Code(code), stdout: stdout.into(), stderr, exceeded: None })
    }

    #[test]
    fn what_ssh_says_is_understood() {
        let messages = [
            ("ssh: Could not resolve hostname milena: Name or service not known", Obstacle::NoSuchHost),
            ("ssh: connect to host 10.9.9.9 port 22: No route to host", Obstacle::NoRoute),
            ("ssh: connect to host 10.9.9.9 port 22: Connection timed out", Obstacle::Silent),
            ("ssh: connect to host milena port 22: Connection refused", Obstacle::Refused),
            (
                "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
                Obstacle::HostKeyChanged,
            ),
            ("Host key verification failed.", Obstacle::HostKeyUnknown),
            (
                "Warning: Identity file /x not accessible: No such file or directory.\nme@milena: Permission denied (publickey).",
                Obstacle::KeyRefused,
            ),
            ("kex_exchange_identification: read: Connection reset by peer", Obstacle::HungUp),
            (
                "Received disconnect from 10.9.9.9 port 22:2: Too many authentication failures",
                Obstacle::TooManyKeys,
            ),
            ("something new", Obstacle::Unknown),
        ];
        for (text, expected) in messages {
            assert_eq!(obstacle(255, "", text), expected, "{text}");
        }
    }

    #[test]
    fn what_a_shell_says_is_understood() {
        assert_eq!(obstacle(127, "", "bash: line 1: borg: command not found"), Obstacle::NoBorg);
        assert_eq!(obstacle(127, "", ""), Obstacle::NoBorg);
        assert_eq!(obstacle(127, "", "sh: 1: exec: ssh: not found"), Obstacle::NoSsh);
        assert_eq!(obstacle(0, "Welcome to milena\n", ""), Obstacle::Noise);
        assert_eq!(obstacle(1, "Command not found. Use 'help' to get a list.\n", ""), Obstacle::NoBorg);
        assert_eq!(obstacle(1, "", "This service allows sftp connections only."), Obstacle::Restricted);
        assert_eq!(obstacle(1, "borg: command not allowed\n", ""), Obstacle::Restricted);
        assert_eq!(obstacle(1, "This account is currently not available.\n", ""), Obstacle::Restricted);
    }
}
