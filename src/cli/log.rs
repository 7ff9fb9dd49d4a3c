//! The log of the library, on standard error.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::stat::{SFlag, fstat};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::console::{paint, stderr_line};
use super::log_format::LogFormat;
use crate::escape;

/// Prints the library's log from now on: warnings; with `verbose` 1 what it does, with 2 how, with
/// 3 everything.
pub fn init(verbose: u8, format: LogFormat) {
    let level = match verbose {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let builder = tracing_subscriber::fmt().with_max_level(level).with_writer(bounded);
    // This fails only if a log has been set up before.
    let _ = match format {
        LogFormat::Text => builder.event_format(Lines).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_writer(|| Harmless(bounded())).try_init(),
    };
}

/// The most events that a process writes: a job that reads a broken archive all night must not fill
/// the memory that holds a mount's log.
const LIMIT: u64 = 10_000;

/// Standard error, up to the limit.
fn bounded() -> Box<dyn std::io::Write> {
    static WRITTEN: AtomicU64 = AtomicU64::new(0);
    match WRITTEN.fetch_add(1, Ordering::Relaxed) {
        0..LIMIT => Box::new(std::io::stderr()),
        LIMIT => {
            stderr_line("the log is full: later messages are dropped");
            Box::new(std::io::sink())
        }
        _ => Box::new(std::io::sink()),
    }
}

/// JSON without control characters. Each call has one event.
struct Harmless(Box<dyn std::io::Write>);

impl std::io::Write for Harmless {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write_all(escape::json(&String::from_utf8_lossy(bytes)).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// `warning: text name=value`; in a file, preceded by the time.
struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if is_a_file() {
            write!(writer, "{} ", chrono::Local::now().format("%Y-%m-%d %H:%M:%S"))?;
        }
        let label = match *event.metadata().level() {
            Level::ERROR => paint("error:", "31"),
            Level::WARN => paint("warning:", "33"),
            Level::INFO => "info:".into(),
            Level::DEBUG => "debug:".into(),
            Level::TRACE => "trace:".into(),
        };
        let mut fields = Fields::default();
        event.record(&mut fields);
        writeln!(writer, "{label} {}{}", escape::line(&fields.message), escape::line(&fields.others))
    }
}

/// Checked for each line, because a daemon's standard error becomes a file while it runs.
fn is_a_file() -> bool {
    fstat(std::io::stderr())
        .is_ok_and(|stat| SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG)
}

#[derive(Default)]
struct Fields {
    message: String,
    others: String,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.others.push_str(&format!(" {}={value:?}", field.name()));
        }
    }
}
