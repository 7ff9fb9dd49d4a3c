//! `--log-format`

use clap::ValueEnum;

/// How errors, warnings and log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}
