//! Whether the server can be reached and serves the repository, asked before borg is started:
//! what borg says of a failed connection is only that it was closed.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use rmp::encode::{write_array_len, write_bool, write_map_len, write_str, write_uint};

use super::client::Borg;
use super::failure::explain;
use super::foreign::{self, Foreign};
use super::log::{Level, Line};
use crate::error::{Error, Kind, Result};
use crate::process::{Command, Ended, Exceeded, Output};
use crate::tools::qubes;
use crate::tools::ssh::Route;

/// How long a server may take to answer: its disks may have to spin up first.
const PATIENCE: Duration = Duration::from_secs(180);
/// No answer to our questions is longer, in bytes.
const LONGEST_ANSWER: usize = 1 << 20;

/// What borg is going to do there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// To use the repository.
    Repository,
    /// To read it by commands of borg that lock it where that can be done.
    Reading,
    /// To make it.
    Place,
}

/// A server that answered. As long as this lives, the qube that leads to it stays up.
#[must_use]
pub struct Preflight {
    qube: Option<qubes::Use>,
}

impl Preflight {
    /// Keeps the qube for what `command` becomes.
    ///
    /// # Errors
    /// When that cannot be handed over.
    pub fn hand_over(self, command: Command) -> Result<Command> {
        match self.qube {
            Some(qube) => Ok(command.hold(qube.into_fd()?)),
            None => Ok(command),
        }
    }
}

impl Borg {
    /// Makes the connection once and asks the server for the repository, to be able to `doing`
    /// ("list the archives"). Nothing is asked and nothing costs time where the repository is a
    /// directory. With `asks` ssh may later ask a person what it could not ask now, so that is no
    /// failure.
    ///
    /// # Errors
    /// What is in the way, with the next step.
    pub fn preflight(&self, doing: &str, need: Need, asks: bool) -> Result<Preflight> {
        let Some(route) = self.route() else {
            let foreign = self.local().and_then(foreign::at);
            return foreign.map_or(Ok(Preflight { qube: None }), |found| Err(self.foreign(doing, &found)));
        };
        let qube = route.qube().map(qubes::Use::begin).transpose()?;
        self.ask(route, doing, need, asks).map(|()| Preflight { qube })
    }

    fn ask(&self, route: &Route, doing: &str, need: Need, asks: bool) -> Result<()> {
        // What only borg can fill in, borg alone can ask.
        let Ok(program) = self.remote_program() else { return Ok(()) };
        let words = route.serve(program)?;
        let output = Command::new(&words[0])
            .args(&words[1..])
            // Nothing may be asked at the terminal, also not by an ssh of the user's.
            .env("SSH_ASKPASS_REQUIRE", "force")
            .env("SSH_ASKPASS", "/bin/false")
            .env_remove("BORG_PASSPHRASE")
            .input(&questions(self.path_on_server(), need == Need::Reading))?
            .taste(LONGEST_ANSWER, PATIENCE.min(self.stall_limit()))?;
        if !speaks_borg(&output.stdout) || output.exceeded.is_some() {
            let obstacle = Obstacle::of(&output);
            return if asks && route.can_ask() && obstacle.can_be_asked() {
                Ok(())
            } else {
                Err(obstacle.error(self, route, doing, &output))
            };
        }
        let exception = exception(&output.stdout);
        let foreign = match exception.as_deref() {
            Some("AtticRepository") => Foreign::attic(),
            // What the server's borg meets where it expects a text file called config.
            Some("IsADirectoryError") => Foreign::borg_2(),
            Some("UnicodeDecodeError" | "MissingSectionHeaderError") => Foreign::restic(),
            _ => None,
        };
        if let Some(found) = foreign {
            return Err(self.foreign(doing, &found));
        }
        let id = match exception.as_deref() {
            Some("PathNotAllowed") => "PathNotAllowed",
            Some("DoesNotExist") if need != Need::Place => "Repository.DoesNotExist",
            Some("InvalidRepository") if need != Need::Place => "Repository.InvalidRepository",
            Some("LockFailed") => {
                self.server_cannot_lock.store(true, Relaxed);
                return Ok(());
            }
            // Anything else borg meets itself, and tells better.
            _ => return Ok(()),
        };
        let said = Line::Message { level: Level::Error, id: Some(id.into()), text: String::new() };
        Err(explain(self, doing, output.ended, &[said]))
    }

    fn foreign(&self, doing: &str, found: &Foreign) -> Error {
        let repository = self.repository();
        Error::usage(format!("cannot {doing}: {repository} is {}", found.what)).hint(&found.next)
    }
}

/// What stands between us and a server of borg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Obstacle {
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
    /// The account may not run borg, by the server's rules.
    Restricted,
    NoBorg,
    /// Something else than borg answers.
    Noise,
    Unknown,
}

/// What ssh, and the shells on the way, say of each; the first that is found is meant.
const SAID: [(Obstacle, &[&str]); 12] = [
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
    fn of(output: &Output) -> Obstacle {
        let mut text: Vec<_> = output.stderr.iter().map(|line| String::from_utf8_lossy(line)).collect();
        // Without a word from ssh, it is the server's shell that speaks.
        let shell = matches!(output.ended, Ended::Code(126 | 127));
        // Shells of providers speak on standard output, and end as they like.
        let refuses = !matches!(output.ended, Ended::Code(0 | 255)) && output.exceeded.is_none();
        if refuses {
            text.push(String::from_utf8_lossy(&output.stdout));
        }
        let said = |words: &&[&str]| words.iter().any(|word| text.iter().any(|line| line.contains(word)));
        let may_be = |obstacle| match obstacle {
            Obstacle::NoBorg => shell || refuses,
            Obstacle::Restricted => shell || refuses || said(&&["exec request failed"][..]),
            Obstacle::NoSsh => shell,
            _ => true,
        };
        let found = SAID.iter().find(|(obstacle, words)| may_be(*obstacle) && said(words));
        match found {
            Some((obstacle, _)) => *obstacle,
            None if matches!(output.exceeded, Some(Exceeded::Time(_))) => Obstacle::Silent,
            None if shell => Obstacle::NoBorg,
            None if !output.stdout.is_empty() => Obstacle::Noise,
            None => Obstacle::Unknown,
        }
    }

    /// Whether a person at the terminal can help ssh over it.
    fn can_be_asked(self) -> bool {
        matches!(self, Obstacle::HostKeyUnknown | Obstacle::KeyRefused)
    }

    /// Whether it may be gone in a while, as the network is down while a machine starts.
    fn may_pass(self) -> bool {
        matches!(self, Obstacle::NoSuchHost | Obstacle::NoRoute | Obstacle::HungUp)
    }

    fn error(self, borg: &Borg, route: &Route, doing: &str, output: &Output) -> Error {
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
        let error = Error::new(kind, format!("cannot {doing}: {why}")).because(said(self, output));
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

/// What was said on the way, short.
fn said(obstacle: Obstacle, output: &Output) -> Error {
    let noise = [output.stdout.clone()];
    let shells = matches!(obstacle, Obstacle::Noise | Obstacle::NoBorg | Obstacle::Restricted);
    let lines = output.stderr.iter().filter(|_| obstacle != Obstacle::Noise);
    let texts: Vec<_> = lines
        .chain(noise.iter().filter(|_| shells))
        .map(|l| String::from_utf8_lossy(l.trim_ascii()))
        .collect();
    let is_text = |text: &&str| text.chars().any(char::is_alphanumeric);
    let mut message: Vec<&str> = texts.iter().flat_map(|t| t.lines()).filter(is_text).collect();
    // Of the long warning about a changed host key, what to do about it stands last.
    message.drain(..message.len().saturating_sub(4));
    match (message.as_slice(), output.exceeded) {
        ([], Some(cut)) => Error::failed(cut.to_string()),
        ([], None) => Error::failed(format!("it ended with {} and said nothing", output.ended)),
        (message, _) => Error::failed(short(&message.join("; "))),
    }
}

/// No more of a text than a person reads.
fn short(text: &str) -> String {
    const MOST: usize = 1000;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Two calls of borg's protocol: who are you, and do you have this repository (without locking
/// it, or with a lock if there is one to be had at once)? Both are sent at once, then the line ends,
/// and the server and its lock with it.
fn questions(path: &str, locks: bool) -> Vec<u8> {
    let mut out = Vec::new();
    // Writing into memory does not fail.
    let _ = write_questions(&mut out, path, locks);
    out
}

fn write_questions(out: &mut Vec<u8>, path: &str, locks: bool) -> std::io::Result<()> {
    write_call(out, 1, "negotiate", 1)?;
    write_str(out, "client_data")?;
    write_map_len(out, 1)?;
    write_str(out, "client_version")?;
    write_array_len(out, 3)?;
    for number in [1, 2, 0] {
        write_uint(out, number)?;
    }
    write_call(out, 2, "open", 4)?;
    write_str(out, "path")?;
    write_str(out, path)?;
    for (flag, value) in [("create", false), ("lock", locks)] {
        write_str(out, flag)?;
        write_bool(out, value)?;
    }
    write_str(out, "lock_wait")?;
    write_uint(out, 0)?;
    Ok(())
}

fn write_call(out: &mut Vec<u8>, id: u64, method: &str, arguments: u32) -> std::io::Result<()> {
    write_map_len(out, 3)?;
    write_str(out, "i")?;
    write_uint(out, id)?;
    write_str(out, "m")?;
    write_str(out, method)?;
    write_str(out, "a")?;
    write_map_len(out, arguments)?;
    Ok(())
}

/// Answers are maps of msgpack (before borg 1.1: lists), which no text begins with.
fn speaks_borg(answer: &[u8]) -> bool {
    answer.first().is_some_and(|byte| (0x80..=0x9f).contains(byte))
}

/// The name of the exception that a call ended with.
fn exception(answers: &[u8]) -> Option<String> {
    const FIELD: &[u8] = b"exception_class";
    let at = memchr::memmem::find(answers, FIELD)? + FIELD.len();
    let name = answers[at..].iter().skip_while(|b| !b.is_ascii_alphabetic() || **b >= 0x80);
    let name: Vec<u8> = name.take_while(|b| b.is_ascii_alphanumeric()).copied().collect();
    String::from_utf8(name).ok()
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
        let said = [
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
        for (text, expected) in said {
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

    #[test]
    fn the_exception_is_found_among_the_answers() {
        let answers =
            b"\x82\xa1i\x01\xa1r\x80\x85\xa1i\x02\xafexception_class\xaePathNotAllowed\xaeexception_args\x90";
        assert_eq!(exception(answers).as_deref(), Some("PathNotAllowed"));
        let in_bytes = b"\x85\xc4\x01i\x02\xc4\x0fexception_class\xc4\x0cDoesNotExist\xc4\x0e";
        assert_eq!(exception(in_bytes).as_deref(), Some("DoesNotExist"));
        assert_eq!(exception(b"\x82\xa1i\x01\xa1r\x80"), None);
    }
}
