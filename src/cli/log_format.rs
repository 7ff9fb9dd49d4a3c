//! `--log-format`

use clap::ValueEnum;

/// The format of errors, warnings and log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}
