//! borg: the repository it works on, the environment it gets, and the calls that we make of it.

mod address;
mod failure;
mod foreign;
mod lock;
mod log;
mod origins;
mod passphrase;
mod places;
mod preflight;
mod remote_path;
mod serve;
mod unlocked;

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Deserialize;

use crate::archive::filter::ArchiveFilter;
use crate::archive::identity::Identity;
use crate::archive::name::{Archive, is_checkpoint};
use crate::config::{Config, compression};
use crate::error::{Error, Result};
use crate::process::{Command, Ended, Output};
use crate::tools::identity;
use crate::tools::ssh::Route;

pub use failure::{
    RELOCATED, UNKNOWN_UNENCRYPTED, connection_closed, explain, no_key, no_repository, not_allowed,
    not_authentic, unanswered, wrong_passphrase,
};
pub use lock::holders;
pub use log::{Level, Line, Progress};
pub use origins::Origins;
use passphrase::Passphrase;
pub use places::{answered_yes, has_workaround};
pub use preflight::{Need, Preflight};
pub use serve::{Server, Serving};
pub use unlocked::locking_reader;

/// The borg whose client we behave like towards servers.
const CLIENT_VERSION: &str = "1.4.5";

const CONSIDER_CHECKPOINTS: &str = "--consider-checkpoints";
/// borg 1.1 does not know the option, and always lists checkpoints.
static LISTS_CHECKPOINTS: AtomicBool = AtomicBool::new(false);

const KEY_CREDENTIAL: &str = "borg-offsite-backup.key";
const PASSPHRASE_CREDENTIAL: &str = "borg-offsite-backup.passphrase";

/// borg with the repository, key and passphrase that it works with.
#[derive(Clone)]
pub struct Borg {
    repository: String,
    local: Option<PathBuf>,
    /// To the server, where there is one, and what the server knows the repository as.
    route: Option<Route>,
    path: String,
    /// What borg is called on the server, as borg takes it.
    remote_path: Option<OsString>,
    key_file: PathBuf,
    /// The user says that the key is there, and nowhere else.
    key_file_is_set: bool,
    passphrase: Passphrase,
    stall_limit: Duration,
    identity: Identity,
    /// Nothing can be written in the repository there.
    server_cannot_lock: Arc<AtomicBool>,
    /// Ids of archives that borg could not read.
    unreadable: Arc<Mutex<HashSet<String>>>,
}

impl Borg {
    /// Takes the repository from `config`, everything else from the environment of this process.
    /// Reads BORG_PASSPHRASE_FD, so it is to be called once.
    ///
    /// # Errors
    /// When there is no home directory to find the key in, or BORG_PASSPHRASE_FD cannot be read.
    pub fn new(config: &Config) -> Result<Self> {
        let (repository, path, local) = location(config);
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let remote_path = set("BORG_REMOTE_PATH").or_else(|| config.remote_path.clone().map(OsString::from));
        let key_file_is_set = set("BORG_KEY_FILE").is_some();
        let key_file = match set("BORG_KEY_FILE") {
            Some(path) => PathBuf::from(path),
            None => match credential(KEY_CREDENTIAL) {
                Some(path) => path,
                None => home()?.join(".borg-offsite-backup.key"),
            },
        };
        let (route, passphrase) = (Route::new(config), Passphrase::from_environment()?);
        let (stall_limit, identity) = (config.stall_limit, identity::of(config));
        Ok(Borg {
            repository,
            local,
            route,
            path,
            remote_path,
            key_file,
            key_file_is_set,
            passphrase,
            stall_limit,
            identity,
            server_cannot_lock: Arc::default(),
            unreadable: Arc::default(),
        })
    }

    /// How long a borg of ours may do nothing at all, as one does whose server went silent.
    pub fn stall_limit(&self) -> Duration {
        self.stall_limit
    }

    /// How the server is reached; `None` where the repository is on this machine.
    pub fn route(&self) -> Option<&Route> {
        self.route.as_ref()
    }

    /// The repository's path as the server is asked for it.
    pub fn path_on_server(&self) -> &str {
        &self.path
    }

    /// The repository as a person knows it: a path, or an `ssh://` address.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Who we are among those who use the repository.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The directory of a local repository.
    pub fn local(&self) -> Option<&Path> {
        self.local.as_deref()
    }

    pub fn key_file(&self) -> &Path {
        &self.key_file
    }

    /// `borg SUBCOMMAND` for our own use: its log comes as JSON lines, it asks nothing, times are
    /// UTC, and it waits `lock_wait` for a lock.
    ///
    /// # Errors
    /// When the passphrase cannot be handed over.
    pub fn command(&self, subcommand: &str, lock_wait: Duration) -> Result<Command> {
        let mut words = subcommand.split(' ');
        let first = words.next().unwrap_or_default();
        let command = Command::new("borg")
            .arg(first)
            .args(self.bypass(first))
            .args(words)
            .args(["--log-json", "--lock-wait", &lock_wait.as_secs().to_string()])
            .env("TZ", "UTC")
            // Waiting for a lock it does nothing either.
            .stalls_after(
                self.stall_limit + lock_wait,
                match self.local {
                    Some(_) => "see whether the disks that it reads and writes answer at all",
                    None => {
                        "the server may hang; `stall_limit` in the configuration says how long that is borne"
                    }
                },
            );
        self.environment(command, false)
    }

    /// `borg ARGS…` as the user wrote them. Nothing is added but what a repository that cannot be
    /// written needs, terminal and locale are the user's.
    ///
    /// # Errors
    /// When the passphrase cannot be handed over.
    pub fn pass_through(&self, args: &[OsString]) -> Result<Command> {
        let command = Command::new("borg").args(self.bypassing(args));
        let command = match std::env::var_os("LC_ALL") {
            Some(locale) => command.env("LC_ALL", locale),
            None => command.env_remove("LC_ALL"),
        };
        // A new key has the passphrase that is given, and else none.
        let is_new = args.first().is_some_and(|command| command == "init");
        let command = if is_new { command.env("BORG_KEY_FILE", &self.key_file) } else { command };
        match is_new && self.passphrase_is_unsaid() {
            true => Ok(self.environment(command, true)?.env("BORG_PASSPHRASE", "")),
            false => self.environment(command, true),
        }
    }

    /// With `asks` ssh and borg may ask the person at the terminal.
    fn environment(&self, command: Command, asks: bool) -> Result<Command> {
        let mut command = command.env("BORG_REPO", &self.repository);
        // Else borg looks for the key in its own directory.
        if self.key_file_is_set || self.key_file.exists() {
            command = command.env("BORG_KEY_FILE", &self.key_file);
        }
        if let Some(route) = &self.route {
            command = command.env("BORG_RSH", route.rsh(asks)?);
        }
        if let Some(program) = &self.remote_path {
            command = command.env("BORG_REMOTE_PATH", program);
        }
        match &self.passphrase {
            Passphrase::Inherited => Ok(command),
            Passphrase::Read(secret) => command.secret_fd("BORG_PASSPHRASE_FD", secret),
            Passphrase::Guessed(_) => {
                let secret = self.passphrase()?;
                // Without the variable borg tries the empty one too, and then asks or says that it was given none.
                match secret.is_empty() {
                    true if asks && self.passphrase_is_unsaid() => Ok(command),
                    true => Ok(command.env("BORG_PASSPHRASE", "")),
                    false => command.secret_fd("BORG_PASSPHRASE_FD", &secret),
                }
            }
        }
    }

    /// Runs a command that is expected to end with exit code 0, or 1 with nothing but warnings.
    ///
    /// # Errors
    /// What borg said, explained ([`explain`]).
    pub fn run(&self, command: Command, doing: &str) -> Result<Output> {
        let output = command.output()?;
        match lines_of_failure(&output) {
            None => Ok(output),
            Some(lines) => Err(explain(self, doing, output.ended, &lines)),
        }
    }

    /// The same; where no passphrase was given, this finds the one that opens the key.
    fn run_trying(&self, command: impl Fn() -> Result<Command>, doing: &str) -> Result<Output> {
        loop {
            let tried = self.passphrase_tried();
            let output = command()?.output()?;
            match lines_of_failure(&output) {
                None => return Ok(output),
                Some(lines) if failure::is_wrong_passphrase(&lines) && self.passphrase_failed(tried)? => {}
                // The next try is without the option.
                Some(lines)
                    if failure::knows_no(CONSIDER_CHECKPOINTS, &lines)
                        && !LISTS_CHECKPOINTS.swap(true, Relaxed) => {}
                Some(lines) => return Err(explain(self, doing, output.ended, &lines)),
            }
        }
    }

    /// The archives that `filter` takes, in borg's order. Checks the manifest as borg does:
    /// authenticity, and features that this borg does not know.
    ///
    /// # Errors
    /// What borg said, explained.
    pub fn archives(&self, filter: &ArchiveFilter, lock_wait: Duration) -> Result<Vec<Archive>> {
        let list = || Ok(filter_arguments(self.command("list --json", lock_wait)?, filter));
        let output = self.run_trying(list, "list the archives")?;
        let mut archives = archives_of(&output.stdout).map_err(|e| {
            Error::failed(format!("cannot read borg's list of the archives in {}", self.repository))
                .because(e)
        })?;
        archives.retain(|archive| filter.consider_checkpoints || !is_checkpoint(&archive.name));
        Ok(archives)
    }

    /// What `borg list --json` with these arguments says of all archives, checkpoints too.
    ///
    /// # Errors
    /// What borg said, explained.
    pub fn list_all(&self, arguments: &[&str], doing: &str, lock_wait: Duration) -> Result<Output> {
        let all = ArchiveFilter { consider_checkpoints: true, ..ArchiveFilter::default() };
        let list = || Ok(filter_arguments(self.command("list --json", lock_wait)?, &all).args(arguments));
        self.run_trying(list, doing)
    }

    /// The highest transaction of a local repository: as long as it stays the same, nothing in the
    /// repository changed. `None` for a remote one, or when it is unknown.
    pub fn transaction(&self) -> Option<u64> {
        let entries = std::fs::read_dir(self.local.as_deref()?).ok()?;
        entries.flatten().filter_map(|e| e.file_name().to_str()?.strip_prefix("index.")?.parse().ok()).max()
    }

    /// Asks borg whether it takes the compression; those that every borg takes cost no question.
    ///
    /// # Errors
    /// [`crate::error::Kind::Usage`] when it does not.
    pub fn judge_compression(spec: &str) -> Result<()> {
        if compression::is_known(spec) {
            return Ok(());
        }
        // It looks at its arguments before it shows its help, and does nothing else.
        let asked = Command::new("borg").args(["create", "--compression", spec, "--help"]).output()?;
        if asked.ended == Ended::Code(0) {
            return Ok(());
        }
        let borg = Borg::version().unwrap_or_else(|_| "borg".into());
        Err(Error::usage(format!("{borg} does not take the compression `{spec}`"))
            .hint(format!("`compression` in the configuration is one of {}", compression::SYNTAX)))
    }

    /// `borg` and its version, as `borg 1.2.4`.
    ///
    /// # Errors
    /// When there is no borg.
    pub fn version() -> Result<String> {
        let output = Command::new("borg").arg("--version").output()?;
        String::from_utf8(output.stdout.trim_ascii().to_vec())
            .map_err(|e| Error::failed("cannot read the version of borg").because(e))
    }
}

/// What a borg that failed said; `None` if it did not.
fn lines_of_failure(output: &Output) -> Option<Vec<Line>> {
    match output.ended {
        Ended::Code(code) if code < 2 || is_warning(code) => None,
        _ => Some(output.stderr.iter().map(|l| Line::parse(l)).collect()),
    }
}

/// Exit codes of borg that mean "done, with warnings" in its modern scheme (BORG_EXIT_CODES).
fn is_warning(code: i32) -> bool {
    (100..=127).contains(&code)
}

/// Whether borg did its work: exit code 0, or only warnings. `None` when it failed.
pub fn warned(ended: Ended) -> Option<bool> {
    match ended {
        Ended::Code(0) => Some(false),
        Ended::Code(code) if code == 1 || is_warning(code) => Some(true),
        _ => None,
    }
}

fn filter_arguments(mut command: Command, filter: &ArchiveFilter) -> Command {
    if let Some(n) = filter.first {
        command = command.args(["--first", &n.to_string()]);
    }
    if let Some(n) = filter.last {
        command = command.args(["--last", &n.to_string()]);
    }
    if let Some(glob) = &filter.glob {
        command = command.args(["--glob-archives", glob]);
    }
    if let Some(keys) = &filter.sort_by {
        command = command.args(["--sort-by", keys]);
    }
    if filter.consider_checkpoints && !LISTS_CHECKPOINTS.load(Relaxed) {
        command = command.arg(CONSIDER_CHECKPOINTS);
    }
    command
}

fn archives_of(json: &[u8]) -> serde_json::Result<Vec<Archive>> {
    #[derive(Deserialize)]
    struct List {
        archives: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        name: String,
        id: String,
        start: String,
    }
    let list: List = serde_json::from_slice(json)?;
    Ok(list.archives.into_iter().map(|e| Archive { name: e.name, id: e.id, start: e.start }).collect())
}

/// BORG_REPO for `config`, the path in it, and the directory when the repository is on this machine. A
/// path that does not begin with `/` is relative to the server's home, as with scp.
fn location(config: &Config) -> (String, String, Option<PathBuf>) {
    let path = &config.backup_path;
    let Some(server) = &config.backup_server else {
        return (path.clone(), path.clone(), Some(PathBuf::from(path)));
    };
    let user = config.backup_user.as_ref().map(|u| format!("{u}@")).unwrap_or_default();
    let path = match path.strip_prefix("~/") {
        Some(rest) => format!("/~/{rest}"),
        None if path.starts_with('/') => path.clone(),
        None => format!("/./{path}"),
    };
    (format!("ssh://{user}{server}{path}"), path, None)
}

fn home() -> Result<PathBuf> {
    if let Some(home) = std::env::var_os("HOME").filter(|h| !h.is_empty()) {
        return Ok(home.into());
    }
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten();
    user.map(|u| u.dir).ok_or_else(|| {
        Error::usage("cannot find the home directory, where the key is").hint("set HOME, or BORG_KEY_FILE")
    })
}

/// What systemd hands to its services (`LoadCredential=`): a file that only they see.
fn credential(name: &str) -> Option<PathBuf> {
    let path = Path::new(&std::env::var_os("CREDENTIALS_DIRECTORY")?).join(name);
    path.exists().then_some(path)
}

/// `::NAME` as an argument of borg.
pub fn archive_argument(name: &str) -> String {
    format!("::{name}")
}

/// `pf:PATH`: exactly this path, whatever bytes are in it.
pub fn exact_path(path: &[u8]) -> OsString {
    let mut bytes = b"pf:".to_vec();
    bytes.extend_from_slice(path);
    OsString::from_vec(bytes)
}

/// `pp:PATH`: this path and all that is below it, whatever bytes are in it.
pub fn path_and_below(path: &[u8]) -> OsString {
    OsString::from_vec([b"pp:", path].concat())
}

/// The same where the archive has names with `./` before them, as those of a tar do: borg takes `./` away from
/// what a person asks for, but not from what it has.
pub fn dotted_path_and_below(path: &[u8]) -> OsString {
    let mut pattern = b"re:^(?:\\./+)*".to_vec();
    for byte in path {
        if byte.is_ascii_punctuation() && *byte != b'/' || byte.is_ascii_whitespace() {
            pattern.push(b'\\');
        }
        pattern.push(*byte);
    }
    pattern.extend(b"(?:/|\\Z)");
    OsString::from_vec(pattern)
}

/// The bytes of an argument, for limits on the length of a command line.
pub fn argument_length(argument: &OsStr) -> usize {
    argument.as_bytes().len() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(server: Option<&str>, user: Option<&str>, path: &str) -> Config {
        Config {
            file: "x".into(),
            backup_server: server.map(str::to_owned),
            backup_user: user.map(str::to_owned),
            backup_path: path.to_owned(),
            remote_path: None,
            bridge_vm: None,
            ssh_from: None,
            datasets_to_backup: vec![],
            filesystems_to_backup: vec![],
            exclude_patterns: vec![],
            keep_daily: 7,
            keep_weekly: 4,
            keep_monthly: 12,
            compression: "auto,zstd".into(),
            prune_on_days: None,
            compact_after_prune: false,
            keep_bookmarks: true,
            fail_on_warnings: false,
            exclude_caches: true,
            stall_limit: Duration::from_secs(3600),
            archive_suffix: None,
            earlier_host_names: vec![],
            hooks: crate::config::Hooks::default(),
        }
    }

    #[test]
    fn the_repository_is_a_path_or_an_ssh_address() {
        let text = |c: &Config| location(c).0;
        assert_eq!(text(&config(None, None, "/srv/backup")), "/srv/backup");
        assert_eq!(text(&config(Some("milena"), Some("me"), "/srv/b")), "ssh://me@milena/srv/b");
        assert_eq!(text(&config(Some("milena"), None, "backup")), "ssh://milena/./backup");
        assert_eq!(text(&config(Some("milena:2222"), Some("me"), "~/b")), "ssh://me@milena:2222/~/b");
        assert_eq!(text(&config(Some("[2001:db8::1]"), Some("me"), "/b")), "ssh://me@[2001:db8::1]/b");
    }

    #[test]
    fn the_list_of_archives_is_read_from_borgs_json() {
        let json = br#"{"archives": [{"archive": "a", "barchive": "a", "id": "00ff", "name": "a",
            "start": "2026-11-24T07:06:54.000000", "time": "2026-11-24T07:06:54.000000"}], "encryption": {}}"#;
        let list = archives_of(json).unwrap();
        assert_eq!(
            list,
            [Archive { name: "a".into(), id: "00ff".into(), start: "2026-11-24T07:06:54.000000".into() }]
        );
    }

    #[test]
    fn exit_codes_tell_done_warned_and_failed_apart() {
        assert_eq!(warned(Ended::Code(0)), Some(false));
        assert_eq!(warned(Ended::Code(1)), Some(true));
        assert_eq!(warned(Ended::Code(105)), Some(true));
        for ended in [Ended::Code(2), Ended::Code(73), Ended::Code(128), Ended::Signal(9)] {
            assert_eq!(warned(ended), None, "{ended}");
        }
    }
}
