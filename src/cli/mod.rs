//! The command line: the one place that prints and picks exit codes. One file per command.

mod args;
mod check_config;
mod cleanup;
mod create;
mod exit;
mod mount;
mod pass_through;
mod report;
mod umount;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use crate::error::Result;
use args::{Cli, Command};
pub use exit::Exit;

/// Runs one command line (the program's name first) and says how it went.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(e) => {
            // --help and --version come this way too: clap knows which stream and code they want.
            let _ = e.print();
            return if e.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() };
        }
    };
    match dispatch(&cli) {
        Ok(exit) => exit.into(),
        Err(error) => {
            report::error(&error);
            Exit::from(&error).into()
        }
    }
}

fn dispatch(cli: &Cli) -> Result<Exit> {
    match &cli.command {
        Command::Create(create) => create.run(&cli.globals),
        Command::Mount(mount) => mount.run(&cli.globals),
        Command::Umount(umount) => umount.run(),
        Command::Cleanup(cleanup) => cleanup.run(&cli.globals),
        Command::CheckConfig(check) => check.run(&cli.globals),
        Command::Borg(args) => pass_through::run(&cli.globals, args),
    }
}
