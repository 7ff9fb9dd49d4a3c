//! The command line as clap reads it; help, man pages and completions come from here.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::{check_config, cleanup, create, mount, umount};

/// Restore-first backups of ZFS machines and plain file systems, around BorgBackup.
#[derive(Parser)]
#[command(name = "borg-offsite-backup", version, disable_help_subcommand = true, args_override_self = true)]
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
    #[arg(long, value_name = "FILE", default_value = "/etc/borg-offsite-backup.conf")]
    pub config: PathBuf,
    /// Say nothing unless something failed or warned (also QUIET=yes).
    #[arg(short, long)]
    pub quiet: bool,
    /// Say more; twice: everything.
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// How log lines look.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Subcommand)]
pub enum Command {
    Create(create::Create),
    Mount(mount::Mount),
    Umount(umount::Umount),
    Cleanup(cleanup::Cleanup),
    CheckConfig(check_config::CheckConfig),
    /// Every other command is borg's own, passed through (list, extract, init, info, …).
    #[command(external_subcommand)]
    Borg(Vec<OsString>),
}
