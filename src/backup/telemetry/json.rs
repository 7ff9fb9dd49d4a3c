//! The metrics as JSON, for `telemetry --json`. Times are in UTC, as in RFC 3339.

use chrono::{DateTime, SecondsFormat};
use serde_json::{Map, Value, json};

use super::super::archived::Statistics;
use super::run_history::{ArchiveRecord, LastRun, RunHistory};

impl RunHistory {
    pub fn json(&self) -> Value {
        json!({
            "repository": self.repository(),
            "dataset": self.dataset,
            "last_modified": self.modified.map(time),
            "last_success": self.last_success.map(time),
            "last_run": self.last_run.as_ref().map(run),
            "archives": self.archives.iter().map(archive).collect::<Vec<_>>(),
        })
    }
}

fn run(run: &LastRun) -> Value {
    let seconds = run.phases.iter().map(|(phase, seconds)| (phase.clone(), (*seconds).into()));
    json!({
        "end": time(run.ended),
        "exit_code": run.exit_code,
        "warnings": run.warnings,
        "seconds": Map::from_iter(seconds),
    })
}

fn archive(entry: &ArchiveRecord) -> Value {
    let members = [
        ("archive".to_owned(), entry.name.clone().into()),
        ("id".to_owned(), entry.id.clone().into()),
        ("start".to_owned(), time(entry.start).into()),
        ("end".to_owned(), entry.made.map(|made| time(made.end)).into()),
    ];
    let statistics = Statistics::members(entry.made.map(|made| made.statistics));
    members.into_iter().chain(statistics).collect()
}

/// From seconds since 1970.
fn time(seconds: f64) -> String {
    let time = DateTime::from_timestamp_millis((seconds * 1000.0) as i64).unwrap_or_default();
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}
