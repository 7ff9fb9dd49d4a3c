//! The command line as clap reads it; help, man pages and completions come from here.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::console::Console;
use super::{
    attach, attached, bridge, check_config, cleanup, create, detach, generate, mount, restore, telemetry,
    umount, verify,
};
use crate::config::Config;
use crate::error::Result;

const EXAMPLES: &str = "\
Get data back:
  borg-offsite-backup mount ::yesterday /mnt/restore    look around, copy from it
  borg-offsite-backup umount /mnt/restore
  borg-offsite-backup attach ::latest tank/work --mount /mnt/disk
  borg-offsite-backup detach /mnt/disk                  a disk image, as a disk
  borg-offsite-backup list                              which days there are
  borg-offsite-backup extract ::latest home/me/letter   into this folder
  borg-offsite-backup restore ::2026-11-23 tank/work --to /dev/zvol/tank/work

Back up:
  borg-offsite-backup check-config                      is all set up well?
  borg-offsite-backup init -v -e keyfile-blake2         once; then save the key
  borg-offsite-backup create                            today's archive

An archive is ::yyyy-mm-dd, ::today, ::yesterday, ::latest or ::latest~2. What changes
the repository takes exact names only.

Every other command is borg's own and works on the configured repository: list,
extract, info, diff, check, compact, delete, rename, key, and the rest. Borg
tells about one with `borg-offsite-backup list --help`.";

/// Get files, folders and disk images back from borg's backups by their date, and make the backups.
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

/// What every command knows.
#[derive(Args, Clone)]
pub struct Globals {
    /// The configuration.
    #[arg(long, global = true, value_name = "FILE", default_value = "/etc/borg-offsite-backup.conf")]
    pub config: PathBuf,
    /// Say nothing unless something failed or warned (also QUIET=yes).
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Say more; twice: everything.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// How errors, warnings and log lines look.
    #[arg(long, global = true, value_enum, value_name = "FORMAT", default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
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
    RunAs(bridge::RunAs),
    /// Every other command is borg's own, passed through (list, extract, init, info, …).
    #[command(external_subcommand)]
    Borg(Vec<OsString>),
}

impl Globals {
    /// Reads and checks the configuration.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn config(&self) -> Result<Config> {
        Config::load(&self.config)
    }

    /// The same for `create`, which reads all of it.
    ///
    /// # Errors
    /// As [`Config::load_to_create`].
    pub fn config_to_create(&self) -> Result<Config> {
        Config::load_to_create(&self.config)
    }

    /// Whether only errors and warnings are wanted: `--quiet` or QUIET.
    pub fn is_quiet(&self) -> bool {
        self.quiet || quiet_variable() == Some(true)
    }

    pub fn console(&self) -> Console {
        Console::new(self.is_quiet(), self.log_format)
    }

    /// Tells of variables of ours that are set to what nobody understands.
    pub fn warn_of_variables(&self) {
        if quiet_variable().is_none() {
            self.console().warn("QUIET is neither `yes` nor `no`; taken as `no`");
        }
    }
}

/// What QUIET says; `None` when that cannot be understood.
fn quiet_variable() -> Option<bool> {
    let value = std::env::var_os("QUIET").unwrap_or_default();
    match value.to_str()?.to_ascii_lowercase().as_str() {
        "yes" | "1" | "true" => Some(true),
        "" | "no" | "0" | "false" => Some(false),
        _ => None,
    }
}
