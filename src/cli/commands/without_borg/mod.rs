//! Those of borg's commands that work on a machine without borg.

mod info;
mod list;
mod opened;
mod output;

use std::ffi::OsString;

use clap::{Args, Command};

use crate::cli::exit::Exit;
use crate::cli::globals::Globals;
use crate::error::{Error, Result};

/// Runs `command` with `args`; `None` if it needs borg.
pub fn run(globals: &Globals, command: &str, args: &[OsString]) -> Option<Result<Exit>> {
    match command {
        "list" => Some(with::<list::List>(command, args, |list| list.run(globals))),
        "info" => Some(with::<info::Info>(command, args, |info| info.run(globals))),
        _ => None,
    }
}

/// Parses `args`, and runs.
fn with<T: Args>(command: &str, args: &[OsString], run: impl FnOnce(T) -> Result<Exit>) -> Result<Exit> {
    let name = format!("borg-offsite-backup {command}");
    let parser = T::augment_args(Command::new("borg-offsite-backup").bin_name(&name).infer_long_args(true))
        .after_help("This is what works without borg. Where borg is installed, the command is borg's own.");
    let parsed = parser.try_get_matches_from(std::iter::once(&OsString::from(&name)).chain(args));
    match parsed.and_then(|matches| T::from_arg_matches(&matches)) {
        Ok(parsed) => run(parsed),
        Err(e) if !e.use_stderr() => {
            let _ = e.print();
            Ok(Exit::Done)
        }
        Err(e) => {
            let text = e.to_string();
            let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
            Err(Error::usage(format!("cannot {command} without borg: {first}"))
                .hint(format!("`borg-offsite-backup {command} --help` shows what works without borg")))
        }
    }
}
