//! The exit codes, as listed in the man page.

use std::process::ExitCode;

use crate::error::{Error, Kind};

/// How a command of ours ended. A command that is passed through ends like borg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Success (with or without warnings, unless `fail_on_warnings` is set).
    Done = 0,
    /// The command tried and failed.
    Failed = 1,
    /// The command line or the configuration cannot be used. Nothing was tried.
    Usage = 2,
    /// Done, but something that was asked for is missing; or with warnings if `fail_on_warnings` is
    /// set.
    Warned = 3,
    /// `verify` succeeded in looking, but data differ or are damaged.
    Differs = 4,
    /// The repository is locked, or another run is active. Try again later.
    Busy = 75,
}

impl Exit {
    pub const ALL: [Exit; 6] =
        [Exit::Done, Exit::Failed, Exit::Usage, Exit::Warned, Exit::Differs, Exit::Busy];

    /// The meaning, for the man page.
    pub fn meaning(self) -> &'static str {
        match self {
            Exit::Done => "Done. Warnings do not change this, unless fail_on_warnings is set.",
            Exit::Failed => "The command tried and failed.",
            Exit::Usage => "The command line or the configuration cannot be used. Nothing was tried.",
            Exit::Warned => {
                "Done, but something that was asked for is missing; or there were warnings and fail_on_warnings is set."
            }
            Exit::Differs => "verify found differences or damage. (1: it could not look.)",
            Exit::Busy => "The repository is locked, or another run is active. Try again later.",
        }
    }
}

impl Exit {
    /// The exit of another process of ours.
    pub fn from_code(code: i32) -> Exit {
        let all = [Exit::Done, Exit::Usage, Exit::Warned, Exit::Differs, Exit::Busy];
        all.into_iter().find(|exit| *exit as i32 == code).unwrap_or(Exit::Failed)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

impl From<&Error> for Exit {
    fn from(error: &Error) -> Self {
        match error.kind() {
            Kind::Usage => Exit::Usage,
            Kind::Busy => Exit::Busy,
            Kind::Differs => Exit::Differs,
            Kind::Failed
            | Kind::NotFound
            | Kind::Damaged
            | Kind::Exists
            | Kind::Disconnected
            | Kind::Interrupted => Exit::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../docs/ERRORS.md");
    const SCHEMA: &str = include_str!("../../docs/json.schema.json");

    #[test]
    fn the_page_has_each_code_with_its_exit_code_and_no_other() {
        for kind in Kind::ALL {
            let exit = Exit::from(&Error::new(kind, "x")) as u8;
            assert!(PAGE.contains(&format!("\n| `{}` | {exit} | ", kind.code())), "{kind:?}");
        }
        assert_eq!(PAGE.matches("\n| `").count(), Kind::ALL.len());
        let (_, exits) = PAGE.split_once("\n## Exit codes").unwrap();
        for exit in Exit::ALL {
            assert!(exits.contains(&format!("\n| {} | ", exit as u8)), "{exit:?}");
        }
    }

    #[test]
    fn the_schema_has_each_code() {
        let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
        let codes: Vec<&str> = Kind::ALL.iter().map(|kind| kind.code()).collect();
        assert_eq!(schema["$defs"]["code"]["enum"], serde_json::json!(codes));
    }
}
