//! Prints errors on standard error.

use std::error::Error as StdError;

use serde_json::{Map, Value, json};

use super::console::{Console, paint, stderr_line};
use super::log_format::LogFormat;
use crate::config::Diagnosis;
use crate::error::Error;
use crate::escape;

/// Prints the error, its causes and its hints; mistakes of a configuration with their lines.
pub fn error(console: Console, error: &Error) {
    let diagnosis = error.source().and_then(|cause| cause.downcast_ref::<Diagnosis>());
    match (console.format(), diagnosis) {
        (LogFormat::Json, _) => {
            console.line("ERROR", "", &error.to_string(), fields(error, diagnosis));
        }
        (LogFormat::Text, Some(diagnosis)) => mistakes(diagnosis),
        (LogFormat::Text, None) => plain(error),
    }
}

/// Prints an error that does not stop the work.
pub fn warning(console: Console, error: &Error) {
    console.warn(&error.chain());
    error.hints().iter().for_each(|hint| console.warn(hint));
}

fn plain(error: &Error) {
    stderr_line(&format!("{} {}", paint("error:", "31"), escape::line(&headline(error))));
    for cause in causes(error) {
        stderr_line(&format!("  because: {}", escape::line(&cause)));
    }
    for hint in error.hints() {
        stderr_line(&format!("  {}", escape::line(hint)));
    }
}

/// `cannot read x [failed]`
fn headline(error: &Error) -> String {
    format!("{error} [{}]", error.kind().code())
}

fn mistakes(diagnosis: &Diagnosis) {
    for place in diagnosis.places() {
        stderr_line(&paint(&escape::line(&diagnosis.headline(&place)), "31"));
        for line in diagnosis.excerpt(&place) {
            stderr_line(&line);
        }
    }
}

fn causes(error: &Error) -> Vec<String> {
    let chain = std::iter::successors(error.source(), |cause: &&dyn StdError| (*cause).source());
    chain.map(ToString::to_string).collect()
}

fn fields(error: &Error, diagnosis: Option<&Diagnosis>) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("code".into(), error.kind().code().into());
    fields.insert("hints".into(), error.hints().into());
    if let Some(diagnosis) = diagnosis {
        let mistakes = diagnosis.places().map(|place| {
            json!({
                "file": diagnosis.file().to_string_lossy(),
                "line": place.line,
                "column": place.column,
                "expected": place.mistake.expected,
                "note": place.mistake.note,
            })
        });
        fields.insert("mistakes".into(), mistakes.collect());
    } else {
        fields.insert("causes".into(), causes(error).into());
    }
    fields
}
