//! The text format of Prometheus. Pure.

use std::fmt::Write;
use std::time::Duration;

use super::super::archived::Statistics;
use super::run_history::{ArchiveRecord, Made, RunHistory};

/// All metrics are gauges: the newest run replaces the values of the one before.
struct Metric {
    name: &'static str,
    help: &'static str,
    samples: Vec<Sample>,
}

/// Labels and the value.
type Sample = (Vec<(&'static str, String)>, f64);

/// All metrics. Collecting them `took` this long.
pub fn render(history: &RunHistory, took: Duration) -> String {
    let mut text = String::new();
    for metric in metrics(history, took).into_iter().filter(|metric| !metric.samples.is_empty()) {
        let Metric { name, help, samples } = metric;
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
        for (labels, value) in samples {
            let labels: Vec<String> = labels.iter().map(|(k, v)| format!("{k}=\"{}\"", escaped(v))).collect();
            let _ = writeln!(text, "{name}{{{}}} {value}", labels.join(","));
        }
    }
    text
}

fn metrics(history: &RunHistory, took: Duration) -> Vec<Metric> {
    let dataset = || ("dataset", history.dataset.clone());
    let plain = |value: Option<f64>| value.map(|value| (vec![dataset()], value)).into_iter().collect();
    let each = |value: fn(&ArchiveRecord) -> Option<f64>| {
        let sample = |a: &ArchiveRecord| {
            Some((vec![("archive", a.name.clone()), ("dataset", a.dataset.clone())], value(a)?))
        };
        history.archives.iter().filter_map(sample).collect::<Vec<Sample>>()
    };
    let metric = |name, help, samples| Metric { name, help, samples };
    let run = history.last_run.as_ref();
    let phases = run.into_iter().flat_map(|run| &run.phases);
    vec![
        metric(
            "borg_repository_last_modified_timestamp_seconds",
            "When the repository last changed.",
            plain(history.modified),
        ),
        metric(
            "borg_archive_start_timestamp_seconds",
            "When the archive was begun.",
            each(|a| Some(a.start)),
        ),
        metric(
            "borg_archive_end_timestamp_seconds",
            "When the archive was complete.",
            each(|a| Some(a.made?.end)),
        ),
        metric(
            "borg_archive_duration",
            "How long it took to make the archive, in seconds.",
            each(|a| Some(a.made?.end - a.start)),
        ),
        metric(
            "borg_archive_original_size_bytes",
            "Size of all that is in the archive.",
            each(|a| size(a.made, |s| s.original_size)),
        ),
        metric(
            "borg_archive_compressed_size_bytes",
            "Size of the same, compressed.",
            each(|a| size(a.made, |s| s.compressed_size)),
        ),
        metric(
            "borg_archive_deduplicated_size_bytes",
            "Size of what no archive had before it.",
            each(|a| size(a.made, |s| s.deduplicated_size)),
        ),
        metric("borg_archive_files", "Regular files in the archive.", each(|a| size(a.made, |s| s.files))),
        metric(
            "borg_backup_last_success_timestamp_seconds",
            "When a backup was last complete; 0: never, as far as is history.",
            plain(Some(history.last_success.unwrap_or(0.0))),
        ),
        metric(
            "borg_backup_last_run_timestamp_seconds",
            "When a backup last ended, in whatever way.",
            plain(run.map(|run| run.ended)),
        ),
        metric(
            "borg_backup_last_exit_code",
            "How it ended: 0 done, 1 failed, 2 not tried, 3 something is missing or warned of, 75 busy.",
            plain(run.map(|run| run.exit_code.into())),
        ),
        metric(
            "borg_backup_warnings",
            "Warnings of borg in it, such as files that changed while they were read.",
            plain(run.map(|run| run.warnings as f64)),
        ),
        metric(
            "borg_backup_unread_files",
            "Files and directories in it that could not be read, and are missing in the archive.",
            plain(run.map(|run| run.unread as f64)),
        ),
        metric(
            "borg_backup_phase_duration_seconds",
            "How long each phase of it took.",
            phases.map(|(phase, time)| (vec![("phase", phase.clone()), dataset()], *time)).collect(),
        ),
        metric(
            "borg_collection_duration_seconds",
            "How long it took to find all this out.",
            plain(Some(took.as_secs_f64())),
        ),
    ]
}

fn size(made: Option<Made>, figure: fn(&Statistics) -> u64) -> Option<f64> {
    made.map(|made| figure(&made.statistics) as f64)
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
