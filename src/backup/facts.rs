//! A run as JSON, for hooks and for `create --json`.

use serde_json::{Map, Value, json};

use super::archived::Statistics;
use super::report::{Outcome, Report};
use crate::error::{Error, Result};

/// The names and numbers of the backup, as far as they are known.
pub(super) fn numbers(report: &Report) -> Map<String, Value> {
    let seconds = report.phases().map(|(phase, time)| (phase.to_owned(), time.as_secs_f64().into()));
    let answer = json!({
        "host": nix::unistd::gethostname().unwrap_or_default().to_string_lossy(),
        "repository": report.repository,
        "archive": report.name,
        "warnings": report.warnings,
        "changed": report.changed,
        "caches": report.caches,
        "unread": report.unread,
        "missing": report.missing,
        "kept": report.kept,
        "seconds": Map::from_iter(seconds),
    });
    let mut answer = match answer {
        Value::Object(answer) => answer,
        _ => Map::new(),
    };
    answer.extend(Statistics::members(Some(report.statistics)));
    answer
}

/// The outcome of the backup: `outcome`, and `error` with its hints if there is one.
pub(super) fn outcome(outcome: &Result<Outcome>) -> [(String, Value); 4] {
    let (name, error) = match outcome {
        Ok(Outcome::Made(retention)) => ("made", retention.as_ref().err()),
        Ok(Outcome::Skipped(retention)) => ("skipped", retention.as_ref().err()),
        Ok(Outcome::Rehearsed) => ("rehearsed", None),
        Err(error) => ("failed", Some(error)),
    };
    [
        ("outcome".into(), name.into()),
        ("error".into(), error.map(Error::chain).into()),
        ("code".into(), error.map(|error| error.kind().code()).into()),
        ("hints".into(), error.map(Error::hints).unwrap_or_default().into()),
    ]
}

impl Report {
    /// Everything, as `create --json` prints it.
    pub fn json(&self, exit_code: u8) -> Value {
        let pruned = match &self.outcome {
            Ok(Outcome::Made(Ok(retention)) | Outcome::Skipped(Ok(retention))) => retention.removed(),
            _ => &[],
        };
        let mut answer = numbers(self);
        answer.extend(outcome(&self.outcome));
        answer.insert("pruned".into(), pruned.into());
        answer.insert("exit_code".into(), exit_code.into());
        Value::Object(answer)
    }
}
