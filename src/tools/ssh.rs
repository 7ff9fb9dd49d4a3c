//! The route to the server: which program connects, as which user, and through which qube.
//!
//! There is only one route. Everything that connects (borg, the streams, our own reader) gets it
//! from here, as a list of words or as the text of BORG_RSH.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use nix::unistd::geteuid;

use super::accounts::{self, User};
use crate::config::{Config, server};
use crate::error::{Error, Result};
use crate::escape;
use crate::process::{Command, Ended, interrupt};

/// Prevents a connection from hanging forever, and detects within a minute that it dropped.
const KEEP_ALIVE: [&str; 3] = ["ServerAliveInterval=15", "ServerAliveCountMax=4", "ConnectTimeout=30"];
/// There is nobody to ask.
const ASK_NOTHING: &str = "BatchMode=yes";

/// How the server is reached.
#[derive(Debug, Clone)]
pub struct Route {
    server: String,
    user: Option<String>,
    /// The qube on the way.
    qube: Option<String>,
    /// The account that connects; in the qube, if there is one.
    account: Option<String>,
    /// BORG_RSH, if the user set it; it is used unchanged.
    own: Option<OsString>,
    /// The path of this program.
    program: PathBuf,
}

impl Route {
    /// `None` if the repository is on this machine.
    pub fn new(config: &Config) -> Option<Route> {
        Some(Route {
            server: config.backup_server.clone()?,
            user: config.backup_user.clone(),
            qube: config.bridge_vm.clone(),
            account: config.ssh_from.clone(),
            own: std::env::var_os("BORG_RSH").filter(|rsh| !rsh.is_empty()),
            // Read now, because a newer version may replace the program later.
            program: std::env::current_exe().unwrap_or_else(|_| "borg-offsite-backup".into()),
        })
    }

    /// The host's name or address as in the configuration, without a port.
    pub fn host(&self) -> &str {
        self.split().0
    }

    /// The qube, unless a BORG_RSH of the user makes the connection.
    pub fn qube(&self) -> Option<&str> {
        self.qube.as_deref().filter(|_| self.own.is_none())
    }

    /// Whether ssh could ask a person at our terminal: it runs here, as our user.
    pub fn can_ask(&self) -> bool {
        let other = || self.account.as_deref().is_some_and(|name| !matches!(other_account(name), Ok(None)));
        self.own.is_some() || self.qube.is_none() && !other()
    }

    /// The words before `user@host borg serve`. With `asks`, a person at the terminal may be asked.
    ///
    /// # Errors
    /// When this machine has no such account, we may not become it, or BORG_RSH is not a valid
    /// command line.
    pub fn shell(&self, asks: bool) -> Result<Vec<OsString>> {
        if let Some(own) = &self.own {
            let words = shlex::bytes::split(own.as_bytes()).filter(|words| !words.is_empty());
            let words = words.ok_or_else(|| {
                Error::usage(format!("BORG_RSH is not a valid command line: {}", own.display()))
                    .hint("it has an unclosed quotation mark")
            })?;
            return Ok(words.into_iter().map(OsString::from_vec).collect());
        }
        let mut words = self.outer()?;
        words.push("ssh".into());
        for option in KEEP_ALIVE.into_iter().chain((!asks || !self.can_ask()).then_some(ASK_NOTHING)) {
            words.extend(["-o".into(), option.into()]);
        }
        Ok(words)
    }

    /// [`Route::shell`] as the text of BORG_RSH, which borg splits like a shell.
    ///
    /// # Errors
    /// As [`Route::shell`].
    pub fn rsh(&self, asks: bool) -> Result<OsString> {
        match &self.own {
            Some(own) => Ok(own.clone()),
            None => Ok(quote(&self.shell(asks)?)),
        }
    }

    /// The command that runs `serve` of the program `borg` on the server.
    ///
    /// # Errors
    /// As [`Route::shell`].
    pub fn serve(&self, borg: OsString) -> Result<Vec<OsString>> {
        let mut words = self.shell(false)?;
        words.extend(self.destination());
        words.extend([borg, "serve".into()]);
        Ok(words)
    }

    /// The command with which a person makes the connection once by hand.
    pub fn by_hand(&self) -> String {
        let mut command: Vec<OsString> = vec!["ssh".into()];
        command.extend(self.destination());
        let command = quote(&command).to_string_lossy().into_owned();
        match (self.qube(), &self.account) {
            (Some(qube), account) => {
                let user = account.as_ref().map(|name| format!(" -u {name}")).unwrap_or_default();
                format!("in the qube: qvm-run{user} {qube} xterm, and there: {command}")
            }
            // With a terminal of its own: in ours, the account could type on our behalf.
            (None, Some(account)) => format!("runuser --pty -u {account} -- {command}"),
            (None, None) => command,
        }
    }

    /// What runs ssh: nothing, another account, or a qube.
    fn outer(&self) -> Result<Vec<OsString>> {
        let Some(qube) = &self.qube else {
            let Some(account) = self.account.as_deref() else { return Ok(Vec::new()) };
            return Ok(match other_account(account)? {
                Some(_) => vec![self.program.clone().into(), "run-as".into(), account.into(), "--".into()],
                None => Vec::new(),
            });
        };
        let mut words = vec![self.program.clone().into(), "bridge".into()];
        if let Some(account) = &self.account {
            words.extend(["--user".into(), account.into()]);
        }
        words.extend([qube.into(), "--".into()]);
        Ok(words)
    }

    /// Like borg: `-p PORT user@host`.
    fn destination(&self) -> Vec<OsString> {
        let (host, port) = self.split();
        let mut words: Vec<OsString> = port.map_or(Vec::new(), |port| vec!["-p".into(), port.into()]);
        words.push(match &self.user {
            Some(user) => format!("{user}@{host}").into(),
            None => host.into(),
        });
        words
    }

    fn split(&self) -> (&str, Option<&str>) {
        server::split(&self.server)
    }
}

/// The account `name`; `None` if it is our own.
fn other_account(name: &str) -> Result<Option<User>> {
    let found = accounts::user(name)
        .map_err(|e| Error::failed(format!("cannot look up the account {name}")).because(e))?;
    let account = found.ok_or_else(|| {
        Error::usage(format!("there is no account `{name}` on this machine"))
            .hint("`ssh_from` in the configuration names the account whose ssh key is used")
    })?;
    if account.uid == geteuid().as_raw() {
        return Ok(None);
    }
    if !geteuid().is_root() {
        return Err(Error::usage(format!("only root can connect as `{name}`"))
            .hint("`ssh_from` in the configuration names another account than this one"));
    }
    Ok(Some(account))
}

/// Runs `words` as the account `name`, with its home directory and without our environment, between
/// our standard input and output, neither of which may be a terminal. It does not get our terminal
/// either: whoever has it can type commands on our behalf.
///
/// # Errors
/// When there is no such account, or we may not become it.
pub fn run_as(name: &str, words: &[OsString]) -> Result<Ended> {
    use std::io::IsTerminal;
    if std::io::stdin().is_terminal() || std::io::stdout().is_terminal() {
        return Err(Error::usage("`run-as` is for connections, not for a terminal"));
    }
    let (command, words) = match other_account(name)? {
        Some(account) => {
            let [uid, gid] = [account.uid, account.gid];
            let become_it = Command::new("setpriv")
                .args([format!("--reuid={uid}"), format!("--regid={gid}")])
                .args(["--init-groups", "--reset-env", "--pdeathsig=TERM", "--"]);
            (become_it, words)
        }
        None => match words {
            [program, words @ ..] => (Command::new(program).die_with_parent(), words),
            [] => return Err(Error::usage("`run-as` needs a command")),
        },
    };
    between(command.args(words))
}

/// Runs it to its end between our standard input and output, without our terminal. Its standard
/// error is printed on ours, without control characters.
pub(super) fn between(command: Command) -> Result<Ended> {
    interrupt::heed()?;
    command.apart().spawn_between_ours(pass_on)?.wait_or_interrupt()
}

/// Prints a line on our standard error.
fn pass_on(line: &[u8]) {
    use std::io::Write;
    let line = format!("{}\n", escape::line(&String::from_utf8_lossy(line)));
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
}

/// One text that a shell, and Python's `shlex`, split into these words again.
pub fn quote(words: &[impl AsRef<OsStr>]) -> OsString {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"@%+=:,./_-".contains(b);
    let quoted = words.iter().map(|word| {
        let word = word.as_ref().as_bytes();
        if !word.is_empty() && word.iter().all(plain) {
            return word.to_vec();
        }
        let parts: Vec<&[u8]> = word.split(|b| *b == b'\'').collect();
        [b"'", &*parts.join(&b"'\"'\"'"[..]), b"'"].concat()
    });
    OsString::from_vec(quoted.collect::<Vec<_>>().join(&b' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(server: &str, user: Option<&str>) -> Route {
        Route {
            server: server.into(),
            user: user.map(Into::into),
            qube: None,
            account: None,
            own: None,
            program: "/opt/our tools/bob".into(),
        }
    }

    #[test]
    fn the_server_is_called_as_borg_calls_it() {
        let called = |server, user| {
            let words = route(server, user).serve("borg".into()).unwrap();
            let skip = words.iter().position(|w| w == "BatchMode=yes").unwrap() + 1;
            quote(&words[skip..]).into_string().unwrap()
        };
        assert_eq!(called("milena", Some("me")), "me@milena borg serve");
        assert_eq!(called("milena:2222", None), "-p 2222 milena borg serve");
        assert_eq!(called("[::1]:2222", Some("me")), "-p 2222 me@::1 borg serve");
    }

    #[test]
    fn nobody_is_asked_but_at_a_terminal() {
        let route = route("milena", None);
        let text = |asks| route.rsh(asks).unwrap().into_string().unwrap();
        assert_eq!(text(false), format!("{} -o BatchMode=yes", text(true)));
        assert!(text(true).starts_with("ssh -o ServerAliveInterval=15 "));
    }

    #[test]
    fn a_qube_is_a_bridge_with_the_account_in_it() {
        let route = Route { qube: Some("backup".into()), account: Some("user".into()), ..route("h", None) };
        let text = route.rsh(true).unwrap().into_string().unwrap();
        assert!(text.starts_with("'/opt/our tools/bob' bridge --user user backup -- ssh -o "), "{text}");
    }

    #[test]
    fn the_users_own_rsh_is_used_as_it_is() {
        let own = |text: &str| Route { own: Some(text.into()), qube: Some("q".into()), ..route("h", None) };
        let words = own("my 'long ssh' -x");
        assert_eq!(words.rsh(false).unwrap(), "my 'long ssh' -x");
        assert_eq!(words.shell(false).unwrap(), ["my", "long ssh", "-x"]);
        assert_eq!(words.qube(), None);
        assert!(own("ssh 'x").shell(false).is_err());
    }

    #[test]
    fn only_an_account_that_we_can_become_is_taken() {
        let me = accounts::user_of(geteuid().as_raw()).unwrap().unwrap().name;
        assert!(other_account(&me).unwrap().is_none());
        let error = other_account("no-such-account").unwrap_err();
        assert!(error.to_string().contains("no account `no-such-account`"), "{error}");
        match geteuid().is_root() {
            true => assert_eq!(other_account("nobody").unwrap().unwrap().name, "nobody"),
            false => assert!(other_account("root").is_err()),
        }
    }

    #[test]
    fn another_account_and_a_qube_are_never_asked_since_they_have_no_terminal() {
        let text = |route: Route| route.rsh(true).unwrap().into_string().unwrap();
        let qube = Route { qube: Some("backup".into()), ..route("h", None) };
        assert!(!qube.can_ask() && text(qube).ends_with(" -o BatchMode=yes"));
        if geteuid().is_root() {
            let account = Route { account: Some("nobody".into()), ..route("h", None) };
            assert!(!account.can_ask());
            let text = text(account);
            assert!(text.starts_with("'/opt/our tools/bob' run-as nobody -- ssh -o "), "{text}");
            assert!(text.ends_with(" -o BatchMode=yes"), "{text}");
        }
    }

    #[test]
    fn quoted_words_come_out_of_a_shell_as_they_went_in() {
        let words: [&[u8]; 7] =
            [b"a", b"", b"two words", b"it's \"$HOME\" `x`", b"\xff\\", b"new\nline", b"*'"];
        let words = words.map(OsStr::from_bytes);
        let script = [b"printf '%s\\0' ".to_vec(), quote(&words).into_vec()].concat();
        let out = crate::process::Command::new("sh").arg("-c").arg(OsStr::from_bytes(&script)).output();
        let expected: Vec<u8> = words.iter().flat_map(|w| [w.as_bytes(), b"\0"].concat()).collect();
        assert_eq!(out.unwrap().stdout, expected);
        assert_eq!(
            shlex::bytes::split(quote(&words).as_bytes()).unwrap(),
            words.map(|w| w.as_bytes().to_vec())
        );
    }
}
