//! The command line, as clap parses it; help, man pages and completions come from here.

use std::ffi::OsString;

use clap::{CommandFactory, Parser, Subcommand};

use super::commands::{
    attach, attached, bridge, check_config, cleanup, create, detach, generate, mount, pass_through, restore,
    run_as, telemetry, umount, verify,
};
use super::exit::Exit;
use super::globals::Globals;
use crate::error::Result;

const EXAMPLES: &str = "\
Get data back:
  borg-offsite-backup mount ::yesterday /mnt/restore    browse and copy
  borg-offsite-backup umount /mnt/restore
  borg-offsite-backup attach ::latest tank/work --mount /mnt/disk
  borg-offsite-backup detach /mnt/disk                  a disk image as a block device
  borg-offsite-backup list                              list the archives
  borg-offsite-backup extract ::latest home/me/letter   into this directory
  borg-offsite-backup restore ::2026-11-23 tank/work --to /dev/zvol/tank/work

Back up:
  borg-offsite-backup check-config                      check the configuration
  borg-offsite-backup init -v -e keyfile-blake2         once; then save the key
  borg-offsite-backup create                            make today's archive

An archive is ::yyyy-mm-dd, ::today, ::yesterday, ::latest or ::latest~2. Commands that change
the repository take exact names only.

Every other command is Borg's own and works on the configured repository: list,
extract, info, diff, check, compact, delete, rename, key, and the rest.
`borg-offsite-backup list --help` shows Borg's help for one.";

/// Restore files, directories and disk images from Borg backups by date, and make the backups.
#[derive(Parser)]
#[command(
    name = "borg-offsite-backup",
    version,
    disable_help_subcommand = true,
    args_override_self = true,
    max_term_width = 100,
    after_help = EXAMPLES
)]
pub struct Cli {
    #[command(flatten)]
    pub globals: Globals,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    Mount(mount::Mount),
    Umount(umount::Umount),
    Attach(attach::Attach),
    Detach(detach::Detach),
    Attached(attached::Attached),
    Restore(restore::Restore),
    Verify(verify::Verify),
    Create(create::Create),
    Cleanup(cleanup::Cleanup),
    CheckConfig(check_config::CheckConfig),
    Telemetry(telemetry::Telemetry),
    Generate(generate::Generate),
    #[command(hide = true)]
    Bridge(bridge::Bridge),
    #[command(hide = true)]
    RunAs(run_as::RunAs),
    /// Every other command is Borg's own, passed through (list, extract, init, info, …).
    #[command(external_subcommand)]
    Borg(Vec<OsString>),
}

impl Cli {
    /// Runs the command.
    ///
    /// # Errors
    /// Those of the command.
    pub fn run(&self) -> Result<Exit> {
        let globals = &self.globals;
        match &self.command {
            Command::Create(create) => create.run(globals),
            Command::Mount(mount) => mount.run(globals),
            Command::Umount(umount) => umount.run(),
            Command::Attach(attach) => attach.run(globals),
            Command::Detach(detach) => detach.run(globals),
            Command::Attached(attached) => attached.run(globals),
            Command::Restore(restore) => restore.run(globals),
            Command::Verify(verify) => verify.run(globals),
            Command::Cleanup(cleanup) => cleanup.run(globals),
            Command::CheckConfig(check) => check.run(globals),
            Command::Telemetry(telemetry) => telemetry.run(globals),
            Command::Generate(generate) => generate.run(globals, Cli::command()),
            Command::Bridge(bridge) => bridge.run(globals),
            Command::RunAs(run_as) => run_as.run(globals),
            Command::Borg(args) => pass_through::run(globals, args, &Cli::command()),
        }
    }
}
