//! The options that every command has.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;

use super::console::Console;
use super::log_format::LogFormat;
use crate::config::Config;
use crate::error::{Error, Result};

/// The options that every command has.
#[derive(Args, Clone)]
pub struct Globals {
    /// The configuration file.
    #[arg(long, global = true, value_name = "FILE", default_value = "/etc/borg-offsite-backup.conf")]
    pub config: PathBuf,
    /// Use this repository instead of a configuration: `ssh://user@host:port/path`, `user@host:path`, or a
    /// directory.
    #[arg(long, global = true, value_name = "URL", conflicts_with = "config")]
    pub repository: Option<OsString>,
    /// With --repository: the file with its key, if the key is not in the repository.
    #[arg(long, global = true, value_name = "FILE", requires = "repository")]
    pub key_file: Option<PathBuf>,
    /// Print only errors and warnings (also QUIET=yes).
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Print more; twice for debugging.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// The format of errors, warnings and log lines.
    #[arg(long, global = true, value_enum, value_name = "FORMAT", default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

impl Globals {
    /// Reads and checks the configuration, or makes one of `--repository`.
    ///
    /// # Errors
    /// As [`Config::load`] and [`Config::of_repository`].
    pub fn config(&self) -> Result<Config> {
        match &self.repository {
            Some(address) => Config::of_repository(address, self.key_file.as_deref()),
            None => Config::load(&self.config),
        }
    }

    /// The same for `create`, which reads all keys.
    ///
    /// # Errors
    /// As [`Config::load_to_create`]; [`crate::error::Kind::Usage`] with `--repository`.
    pub fn config_to_create(&self) -> Result<Config> {
        Config::load_to_create(self.file()?)
    }

    /// The configuration's file, for commands that cannot do without one.
    ///
    /// # Errors
    /// [`crate::error::Kind::Usage`] with `--repository`.
    pub fn file(&self) -> Result<&Path> {
        match &self.repository {
            Some(_) => Err(Error::usage("this command needs a configuration, not `--repository`")
                .hint("`--repository` is for commands that read a repository, and for those of borg")),
            None => Ok(&self.config),
        }
    }

    /// Whether only errors and warnings are wanted: `--quiet` or QUIET.
    pub fn is_quiet(&self) -> bool {
        self.quiet || quiet_variable() == Some(true)
    }

    pub fn console(&self) -> Console {
        Console::new(self.is_quiet(), self.log_format)
    }

    /// Warns of variables with values that this program does not understand.
    pub fn warn_of_variables(&self) {
        if quiet_variable().is_none() {
            self.console().warn("QUIET is neither `yes` nor `no`, and is ignored");
        }
    }
}

/// The value of QUIET; `None` if it is neither yes nor no.
fn quiet_variable() -> Option<bool> {
    let value = std::env::var_os("QUIET").unwrap_or_default();
    match value.to_str()?.to_ascii_lowercase().as_str() {
        "yes" | "1" | "true" => Some(true),
        "" | "no" | "0" | "false" => Some(false),
        _ => None,
    }
}
