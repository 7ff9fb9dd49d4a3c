//! The commands that are borg's own.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;

use chrono::Local;

use super::{init, without_borg};
use crate::archive::choice::{Shelf, Wanted};
use crate::archive::filter::ArchiveFilter;
use crate::archive::name::{Archive, as_date};
use crate::archives::native;
use crate::cli::borg_commands::BORG_COMMANDS;
use crate::cli::exit::Exit;
use crate::cli::globals::Globals;
use crate::config::nearest;
use crate::error::{Error, Result};
use crate::process::{Command, is_program};
use crate::tools::borg::{Borg, Need, Origins, archive_argument, locking_reader};

/// Commands that only read archives (`check` unless it repairs): they accept dates and words as
/// names.
const READERS: [&str; 7] = ["list", "info", "extract", "diff", "export-tar", "check", "debug"];
/// How long finding the latest archive waits for a lock.
const LOCK_WAIT: Duration = Duration::from_secs(60);
/// How long finding the right passphrase tolerates a silent server.
const STALL: Duration = Duration::from_secs(60);

/// Replaces this process by borg, or suggests a command of `cli`. Returns only on an error, and
/// after `init`, which has an afterword.
pub fn run(globals: &Globals, args: &[OsString], cli: &clap::Command) -> Result<Exit> {
    let command = args.first().and_then(|c| c.to_str()).filter(|c| BORG_COMMANDS.contains(c));
    let Some(command) = command else {
        return Err(unknown(&args.first().map(|c| c.to_string_lossy()).unwrap_or_default(), cli));
    };
    if !is_program("borg")
        && let Some(result) = without_borg::run(globals, command, &args[1..])
    {
        return result;
    }
    let config = match globals.config() {
        // A beginner who asks for help has no configuration yet.
        Err(_) if asks_for_help(args) => return Err(Command::new("borg").args(args).replace()),
        config => config?,
    };
    let mut borg = Borg::new(&config)?;
    if names_another_repository(args) {
        borg.forget_stored_passphrase();
    }
    let reached = match need(command, args) {
        Some(need) => Some(borg.preflight(&format!("run `borg {command}`"), need, is_attended())?),
        None => None,
    };
    if needs_key(command, args) && borg.passphrase_is_open() {
        native::find_passphrase(&borg, STALL)?;
    }
    let args = resolve(command, args, &mut InRepository::of(&borg))?;
    let becomes = borg.pass_through(&args)?;
    if command == "init" && !asks_for_help(&args) {
        return init::run(becomes, globals, &config, &borg, &args);
    }
    Err(match reached {
        Some(reached) => reached.hand_over(becomes)?,
        None => becomes,
    }
    .replace())
}

/// What the command needs from the server, as far as we can tell.
fn need(command: &str, args: &[OsString]) -> Option<Need> {
    let is = |arg: &OsString, option: &str| arg.as_encoded_bytes().starts_with(option.as_bytes());
    let elsewhere = |arg: &OsString| ["--rsh", "--remote-path"].iter().any(|option| is(arg, option));
    match command {
        "help" | "serve" | "upgrade" => None,
        _ if asks_for_help(args) || args.iter().any(elsewhere) => None,
        "init" => Some(Need::Place),
        _ if locking_reader(args).is_some() => Some(Need::Reading),
        _ => Some(Need::Repository),
    }
}

/// Whether borg opens the key for this command, and there is one.
fn needs_key(command: &str, args: &[OsString]) -> bool {
    let imports = command == "key" && args.get(1).is_some_and(|sub| sub == "import");
    let uses = matches!(need(command, args), Some(Need::Repository | Need::Reading));
    !imports && command != "break-lock" && uses
}

/// Whether borg will work on another repository than the configured one: borg takes the repository
/// from an argument before an archive without a name. It must not get the secrets of ours.
fn names_another_repository(args: &[OsString]) -> bool {
    args.iter().skip(1).take_while(|arg| *arg != "--").any(|arg| {
        let text = arg.to_string_lossy();
        let has_place = text.split_once("::").is_some_and(|(place, _)| !place.is_empty());
        !text.starts_with('-')
            && (has_place || text.starts_with("ssh://") || text.starts_with("file://") || is_repository(arg))
    })
}

fn is_repository(path: &OsString) -> bool {
    let path = Path::new(path);
    path.join("config").is_file() && path.join("data").is_dir()
}

/// Whether there is a person at the terminal whom ssh can ask.
fn is_attended() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

fn asks_for_help(args: &[OsString]) -> bool {
    let mut options = args.iter().take_while(|a| *a != "--");
    args.first().is_some_and(|c| c == "help") || options.any(|a| a == "--help" || a == "-h")
}

/// The archives that there are.
trait Archives {
    /// The name of the archive that is meant.
    fn find(&mut self, wanted: &Wanted) -> Result<String>;

    fn has(&mut self, name: &str) -> Result<bool>;
}

/// The archives of the repository, which are listed at most once, and only if needed.
struct InRepository<'a> {
    borg: &'a Borg,
    archives: Option<Vec<Archive>>,
}

impl<'a> InRepository<'a> {
    fn of(borg: &'a Borg) -> Self {
        InRepository { borg, archives: None }
    }

    fn all(&mut self) -> Result<&[Archive]> {
        let archives = match self.archives.take() {
            Some(archives) => archives,
            None => {
                let filter = ArchiveFilter { consider_checkpoints: true, ..ArchiveFilter::default() };
                self.borg.archives(&filter, LOCK_WAIT)?
            }
        };
        Ok(self.archives.insert(archives))
    }
}

impl Archives for InRepository<'_> {
    fn find(&mut self, wanted: &Wanted) -> Result<String> {
        let borg = self.borg;
        let archives = self.all()?;
        let (repository, identity) = (borg.repository(), borg.identity());
        let shelf = Shelf { archives, repository, identity, today: Local::now().date_naive() };
        let mut origins = Origins::load(repository);
        let chosen = wanted.find(&shelf, &mut |archive| borg.origin(archive, &mut origins, LOCK_WAIT))?;
        if let Some(note) = chosen.note {
            tracing::warn!("{note}");
        }
        Ok(chosen.archive.name)
    }

    fn has(&mut self, name: &str) -> Result<bool> {
        Ok(self.all()?.iter().any(|archive| archive.name == name))
    }
}

/// Replaces dates and `::today`, `::yesterday`, `::latest` and `::latest~2` by names of archives.
/// All other arguments stay the same, byte by byte.
fn resolve(command: &str, args: &[OsString], archives: &mut dyn Archives) -> Result<Vec<OsString>> {
    // borg also accepts abbreviated options.
    let is_repair = |arg: &str| arg.len() > "--re".len() && "--repair".starts_with(arg);
    let repairs = args.iter().filter_map(|arg| arg.to_str()).any(is_repair);
    let reads = READERS.contains(&command) && !repairs;
    let mut located = false;
    let mut resolved = Vec::with_capacity(args.len());
    for arg in args {
        let Some(name) = arg.to_str().and_then(|arg| arg.strip_prefix("::")) else {
            resolved.push(arg.clone());
            continue;
        };
        let name = match Wanted::word(name) {
            Some(word) if reads => archives.find(&word)?,
            Some(word) if !archives.has(name)? => return Err(exact_only(command, name, &word, archives)),
            None if reads && as_date(name).is_some() => archives.find(&Wanted::Named(name.to_owned()))?,
            _ => {
                located = true;
                resolved.push(arg.clone());
                continue;
            }
        };
        // After the first archive, this command takes bare names: `diff ::A B`.
        let bare = located && command == "diff";
        resolved.push(if bare { name.into() } else { archive_argument(&name).into() });
        located = true;
    }
    Ok(resolved)
}

/// The error for a word if an archive is to be changed.
fn exact_only(command: &str, name: &str, word: &Wanted, archives: &mut dyn Archives) -> Error {
    let error = Error::usage(format!("`{command}` changes the repository: it takes an archive's exact name"));
    match archives.find(word) {
        Ok(meant) => error.hint(format!("::{name} is ::{meant} now; write that")),
        Err(_) => error.hint("`borg-offsite-backup list` shows the names"),
    }
}

fn unknown(word: &str, cli: &clap::Command) -> Error {
    let error = Error::usage(format!("there is no command `{word}`"));
    let ours = cli.get_subcommands().filter(|c| !c.is_hide_set()).map(|c| c.get_name());
    let known: Vec<&str> = ours.chain(BORG_COMMANDS).collect();
    let error = match nearest(word, &known) {
        Some(guess) => error.hint(format!("did you mean `{guess}`?")),
        None => error,
    };
    error.hint("`borg-offsite-backup --help` shows all")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    /// A repository with the archive `newest`, besides those named here. Counts how often it is
    /// asked.
    struct Few(&'static [&'static str], usize);

    impl Archives for Few {
        fn find(&mut self, wanted: &Wanted) -> Result<String> {
            self.1 += 1;
            Ok(match wanted {
                Wanted::Latest(0) => "newest".to_owned(),
                wanted => format!("{wanted:?}"),
            })
        }

        fn has(&mut self, name: &str) -> Result<bool> {
            Ok(self.0.contains(&name))
        }
    }

    fn resolved_among(args: &[&str], few: &mut Few) -> Result<Vec<String>> {
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        let command = args[0].to_str().unwrap().to_owned();
        let args = resolve(&command, &args, few)?;
        Ok(args.into_iter().map(|a| a.into_string().unwrap()).collect())
    }

    fn resolved(args: &[&str]) -> Vec<String> {
        resolved_among(args, &mut Few(&[], 0)).unwrap()
    }

    #[test]
    fn words_and_dates_become_names_where_archives_are_read() {
        assert_eq!(resolved(&["list", "::today"]), ["list", "::Today"]);
        assert_eq!(resolved(&["info", "::latest~2"]), ["info", "::Latest(2)"]);
        assert_eq!(resolved(&["extract", "::latest", "a"]), ["extract", "::newest", "a"]);
        assert_eq!(resolved(&["list", "::2026-11-23"]), ["list", "::Named(\"2026-11-23\")"]);
        assert_eq!(resolved(&["check", "::latest"]), ["check", "::newest"]);
    }

    #[test]
    fn what_changes_the_repository_takes_exact_names_only() {
        for args in [
            &["delete", "::a", "::latest"][..],
            &["rename", "::latest", "b"],
            &["recreate", "::today"],
            &["check", "--repair", "::latest"],
            &["check", "--repa", "::latest"],
            &["import-tar", "::yesterday", "x.tar"],
        ] {
            let error = resolved_among(args, &mut Few(&[], 0)).unwrap_err();
            assert_eq!(error.kind(), crate::error::Kind::Usage, "{args:?}");
            assert!(error.hints()[0].starts_with("::"), "{:?}", error.hints());
        }
        assert_eq!(resolved(&["delete", "::2026-11-23"]), ["delete", "::2026-11-23"]);
        let named_so = resolved_among(&["delete", "::latest"], &mut Few(&["latest"], 0)).unwrap();
        assert_eq!(named_so, ["delete", "::latest"]);
    }

    #[test]
    fn only_a_whole_argument_is_such_a_word() {
        for arg in ["today", "::today2", "x::today", "--comment=::latest", "::", ":latest", "::a"] {
            let mut few = Few(&[], 0);
            assert_eq!(resolved_among(&["list", arg], &mut few).unwrap(), ["list", arg]);
            assert_eq!(few.1, 0, "the repository is not asked for {arg}");
        }
    }

    #[test]
    fn the_second_archive_of_diff_is_a_bare_name() {
        assert_eq!(resolved(&["diff", "::yesterday", "::today"]), ["diff", "::Yesterday", "Today"]);
        assert_eq!(resolved(&["diff", "::a", "::latest"]), ["diff", "::a", "newest"]);
    }

    #[test]
    fn raw_bytes_stay_as_they_are() {
        let raw = OsString::from_vec(b"pf:\xff\xfe".to_vec());
        let args = ["extract".into(), "::latest".into(), raw.clone()];
        assert_eq!(resolve("extract", &args, &mut Few(&[], 0)).unwrap()[2], raw);
    }

    #[test]
    fn only_who_needs_the_configured_repository_is_made_to_reach_it() {
        let need_of = |args: &[&str]| need(args[0], &args.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(need_of(&["list", "::a"]), Some(Need::Reading));
        assert_eq!(need_of(&["list", "--bypass-lock", "::a"]), Some(Need::Repository));
        assert_eq!(need_of(&["delete", "::a"]), Some(Need::Repository));
        assert_eq!(need_of(&["init", "-e", "none"]), Some(Need::Place));
        for args in [&["help", "patterns"][..], &["list", "--help"], &["list", "--rsh=my ssh"], &["serve"]] {
            assert_eq!(need_of(args), None, "{args:?}");
        }
    }

    #[test]
    fn help_is_asked_for_before_a_double_dash_only() {
        let asks = |args: &[&str]| asks_for_help(&args.iter().map(OsString::from).collect::<Vec<_>>());
        assert!(asks(&["help", "patterns"]) && asks(&["list", "-h"]) && asks(&["init", "--help"]));
        assert!(!asks(&["list"]) && !asks(&["extract", "::a", "--", "-h"]));
    }
}
