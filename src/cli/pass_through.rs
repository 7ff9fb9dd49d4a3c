//! Every command that is borg's own.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;

use chrono::{Days, Local, NaiveDate};
use clap::CommandFactory;

use super::args::{Cli, Globals};
use super::{Exit, init};
use crate::archive::filter::ArchiveFilter;
use crate::archive::name::{Wanted, date_name};
use crate::config::nearest;
use crate::error::{Error, Result};
use crate::mount::native;
use crate::process::Command;
use crate::tools::borg::{Borg, Need, archive_argument};

/// The commands of borg 1.x, without those that are ours.
pub(super) const BORG_COMMANDS: [&str; 23] = [
    "init",
    "list",
    "info",
    "extract",
    "delete",
    "rename",
    "prune",
    "compact",
    "check",
    "key",
    "config",
    "diff",
    "export-tar",
    "import-tar",
    "recreate",
    "break-lock",
    "benchmark",
    "debug",
    "serve",
    "upgrade",
    "with-lock",
    "change-passphrase",
    "help",
];
/// How long the look for the latest archive waits for a lock.
const LOCK_WAIT: Duration = Duration::from_secs(60);
/// How long the look for the right passphrase bears a silent server.
const STALL: Duration = Duration::from_secs(60);

/// Becomes borg; returns only when it cannot, and after `init`, which has an afterword.
pub fn run(globals: &Globals, args: &[OsString]) -> Result<Exit> {
    let command = args.first().and_then(|c| c.to_str()).filter(|c| BORG_COMMANDS.contains(c));
    let Some(command) = command else {
        return Err(unknown(&args.first().map(|c| c.to_string_lossy()).unwrap_or_default()));
    };
    let config = match globals.config() {
        // A beginner who asks for help does not have one yet.
        Err(_) if asks_for_help(args) => return Err(Command::new("borg").args(args).replace()),
        config => config?,
    };
    let mut borg = Borg::new(&config)?;
    if names_another_repository(args) {
        borg.forget_stored_passphrase();
    }
    let reached = match need(command, args) {
        Some(need) => Some(borg.reach(&format!("run `borg {command}`"), need, is_attended())?),
        None => None,
    };
    if needs_key(command, args) && borg.passphrase_is_open() {
        native::find_passphrase(&borg, STALL)?;
    }
    let args = resolve(command, args, Local::now().date_naive(), || {
        let archives = borg.archives(&ArchiveFilter::default(), LOCK_WAIT)?;
        Ok(Wanted::Latest.find(&archives, borg.repository(), NaiveDate::MIN)?.name.clone())
    })?;
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

/// What the command needs of the server, as far as we know what it is going to do.
fn need(command: &str, args: &[OsString]) -> Option<Need> {
    let is = |arg: &OsString, option: &str| arg.as_encoded_bytes().starts_with(option.as_bytes());
    let elsewhere = |arg: &OsString| ["--rsh", "--remote-path"].iter().any(|option| is(arg, option));
    match command {
        "help" | "serve" | "upgrade" => None,
        _ if asks_for_help(args) || args.iter().any(elsewhere) => None,
        "init" => Some(Need::Place),
        _ => Some(Need::Repository),
    }
}

/// Whether borg opens the key for it, and there is one.
fn needs_key(command: &str, args: &[OsString]) -> bool {
    let imports = command == "key" && args.get(1).is_some_and(|sub| sub == "import");
    !imports && command != "break-lock" && need(command, args) == Some(Need::Repository)
}

/// Whether borg is going to work on another repository than the configured one, which it takes for an archive
/// without a name before it: then it must not be handed what opens ours.
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

/// Whether somebody sits at the terminal whom ssh can ask.
fn is_attended() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

fn asks_for_help(args: &[OsString]) -> bool {
    let mut options = args.iter().take_while(|a| *a != "--");
    args.first().is_some_and(|c| c == "help") || options.any(|a| a == "--help" || a == "-h")
}

/// Puts names of archives for `::today`, `::yesterday` and `::latest` (which `latest` looks up, at
/// most once); every other argument stays as it is, byte by byte.
fn resolve(
    command: &str,
    args: &[OsString],
    today: NaiveDate,
    mut latest: impl FnMut() -> Result<String>,
) -> Result<Vec<OsString>> {
    let mut found: Option<String> = None;
    let mut located = false;
    let mut resolved = Vec::with_capacity(args.len());
    for arg in args {
        let name = match arg.to_str() {
            Some("::today") => date_name(today),
            Some("::yesterday") => date_name(today - Days::new(1)),
            Some("::latest") => match &found {
                Some(name) => name.clone(),
                None => found.insert(latest()?).clone(),
            },
            other => {
                located |= other.is_some_and(|a| a.starts_with("::"));
                resolved.push(arg.clone());
                continue;
            }
        };
        // After the first archive these two take bare names: `diff ::A B`.
        let bare = located && matches!(command, "diff" | "delete");
        resolved.push(if bare { name.into() } else { archive_argument(&name).into() });
        located = true;
    }
    Ok(resolved)
}

fn unknown(word: &str) -> Error {
    let error = Error::usage(format!("there is no command `{word}`"));
    let cli = Cli::command();
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

    fn resolved(args: &[&str]) -> Vec<String> {
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        let today = NaiveDate::from_ymd_opt(2026, 3, 1).unwrap();
        let command = args[0].to_str().unwrap().to_owned();
        let args = resolve(&command, &args, today, || Ok("newest".into())).unwrap();
        args.into_iter().map(|a| a.into_string().unwrap()).collect()
    }

    #[test]
    fn words_for_archives_become_their_names() {
        assert_eq!(resolved(&["list", "::today"]), ["list", "::2026-03-01"]);
        assert_eq!(resolved(&["list", "::yesterday"]), ["list", "::2026-02-28"]);
        assert_eq!(resolved(&["extract", "::latest", "a"]), ["extract", "::newest", "a"]);
    }

    #[test]
    fn only_a_whole_argument_is_such_a_word() {
        for arg in ["today", "::today2", "x::today", "--comment=::latest", "::", ":latest"] {
            assert_eq!(resolved(&["list", arg]), ["list", arg]);
        }
    }

    #[test]
    fn the_second_archive_of_diff_and_delete_is_a_bare_name() {
        assert_eq!(resolved(&["diff", "::yesterday", "::today"]), ["diff", "::2026-02-28", "2026-03-01"]);
        assert_eq!(resolved(&["delete", "::a", "::latest"]), ["delete", "::a", "newest"]);
        assert_eq!(resolved(&["rename", "::latest", "::today"]), ["rename", "::newest", "::2026-03-01"]);
    }

    #[test]
    fn the_latest_archive_is_looked_up_once_and_only_when_needed() {
        let mut calls = 0;
        let today = NaiveDate::from_ymd_opt(2026, 3, 1).unwrap();
        let mut run = |args: &[&str]| {
            let args: Vec<OsString> = args.iter().map(OsString::from).collect();
            resolve("diff", &args, today, || {
                calls += 1;
                Ok("x".into())
            })
            .unwrap();
            calls
        };
        assert_eq!(run(&["diff", "::today", "::yesterday"]), 0);
        assert_eq!(run(&["diff", "::latest", "::latest"]), 1);
    }

    #[test]
    fn raw_bytes_stay_as_they_are() {
        let raw = OsString::from_vec(b"pf:\xff\xfe".to_vec());
        let args = ["extract".into(), "::today".into(), raw.clone()];
        let today = NaiveDate::from_ymd_opt(2026, 3, 1).unwrap();
        assert_eq!(resolve("extract", &args, today, || unreachable!()).unwrap()[2], raw);
    }

    #[test]
    fn only_who_needs_the_configured_repository_is_made_to_reach_it() {
        let of = |args: &[&str]| need(args[0], &args.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(of(&["list", "::a"]), Some(Need::Repository));
        assert_eq!(of(&["init", "-e", "none"]), Some(Need::Place));
        for args in [&["help", "patterns"][..], &["list", "--help"], &["list", "--rsh=my ssh"], &["serve"]] {
            assert_eq!(of(args), None, "{args:?}");
        }
    }

    #[test]
    fn help_is_asked_for_before_a_double_dash_only() {
        let asks = |args: &[&str]| asks_for_help(&args.iter().map(OsString::from).collect::<Vec<_>>());
        assert!(asks(&["help", "patterns"]) && asks(&["list", "-h"]) && asks(&["init", "--help"]));
        assert!(!asks(&["list"]) && !asks(&["extract", "::a", "--", "-h"]));
    }
}
