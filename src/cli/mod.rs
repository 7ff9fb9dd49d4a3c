//! The command line: the only place that prints and chooses exit codes.
//!
//! [`args`] has the enum of all commands, at the top of everything. [`commands`] has one file for
//! each command. A command uses the files beside `args` (globals, console, progress, report, exit,
//! …), which know no command.

mod archive_mount;
mod args;
mod attachments;
mod backup_events;
mod borg_commands;
mod commands;
mod config_page;
mod confirm;
mod console;
mod exit;
mod globals;
mod leftovers;
mod log;
mod log_format;
mod mount_helper;
mod mount_options;
mod process_end;
mod progress;
mod report;
mod source;
mod telemetry_file;
mod units;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use crate::error::Error;
use crate::process::daemon;
use crate::secret;
use args::Cli;
use console::Console;
use exit::Exit;
use log_format::LogFormat;
use mount_helper::Call;

/// Runs a command line, including the program's name, and returns how it ended.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    daemon::forbid_core_dumps();
    guard_passphrases();
    mount_helper::search_programs();
    let args = match mount_helper::translate(args.collect()) {
        Ok(Call::Command(args)) => args,
        Ok(Call::Rehearsal) => return Exit::Done.into(),
        Ok(Call::Remount { dir, options }) => match mount_helper::remount(&dir, &options) {
            Ok(()) => return Exit::Done.into(),
            Err(error) => return failed(&error),
        },
        Err(error) => return failed(&error),
    };
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(e) => return not_parsed(&args, &e).into(),
    };
    log::init(cli.globals.verbose, cli.globals.log_format);
    cli.globals.warn_of_variables();
    match cli.run() {
        Ok(exit) => exit.into(),
        Err(error) => {
            report::error(cli.globals.console(), &error);
            Exit::from(&error).into()
        }
    }
}

/// Keeps secrets from the environment out of swap.
fn guard_passphrases() {
    for name in [c"BORG_PASSPHRASE", c"BORG_NEW_PASSPHRASE"] {
        secret::guard_variable(name);
    }
}

/// Without a command line of ours.
fn failed(error: &Error) -> ExitCode {
    report::error(Console::new(false, LogFormat::Text), error);
    Exit::from(error).into()
}

/// --help and --version also come this way: clap knows which stream they need.
fn not_parsed(args: &[OsString], e: &clap::Error) -> Exit {
    if !e.use_stderr() {
        let _ = e.print();
        return Exit::Done;
    }
    let json = args.windows(2).any(|a| a[0] == "--log-format" && a[1] == "json")
        || args.iter().any(|a| a == "--log-format=json");
    if json {
        let text = e.to_string();
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let error = Error::usage(lines.next().unwrap_or_default().trim_start_matches("error: "));
        report::error(Console::new(false, LogFormat::Json), &lines.fold(error, Error::hint));
    } else {
        let _ = e.print();
    }
    Exit::Usage
}
