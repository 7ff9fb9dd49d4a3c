//! What restoring an image would take: `--dry-run`.

use std::time::Duration;

use serde_json::json;

use super::answer::about;
use super::known::since;
use super::options::Options;
use crate::archives::archived::{Archived, Image};
use crate::cli::console::{self, Console};
use crate::cli::exit::Exit;
use crate::cli::progress::Display;
use crate::cli::units::{self, size};
use crate::error::Result;
use crate::restore::estimate::{self, Bill};
use crate::tools::target::open::Kept;
use crate::tools::target::place::Place;

/// Prints the estimate. Nothing is written.
pub fn run(
    archived: &Archived,
    image: &Image,
    place: Place,
    options: &Options,
    console: Console,
) -> Result<Exit> {
    let target = place.shown().to_owned();
    let full = options.full;
    let may_differ = match place.kept {
        Kept::Device if !full => since(archived, image, &place.open_to_read()?, console)?.may_differ,
        _ => None,
    };
    let display = Display::new(console);
    let bill = estimate::bill(image, place, may_differ.as_deref(), full, &display);
    display.clear();
    let bill = bill?;
    console::print(&match options.json {
        true => {
            let mut result = about(archived, image, &target);
            result["estimate"] = json!(bill);
            result.to_string()
        }
        false => text(image, &target, &bill),
    })?;
    Ok(Exit::Done)
}

fn text(image: &Image, target: &str, bill: &Bill) -> String {
    let mut lines =
        vec![format!("{} onto {target}, {}; nothing was written:", image.name(), size(bill.size))];
    let mut line = |label: &str, text: String| lines.push(format!("  {label:<13}  {text}"));
    match bill.right {
        Some(right) => line("right already", size(right)),
        None => line("right already", "only a stream of all bytes would tell".to_owned()),
    }
    let chunks = match bill.chunks_to_fetch {
        0 => String::new(),
        n => format!(", {} chunks", units::count(n)),
    };
    line("to fetch", format!("{}{chunks}", size(bill.to_fetch)));
    line("to write", format!("at most {}", size(bill.to_write)));
    line("to make zeros", size(bill.to_zero));
    line("space", format!("at most {} more", size(bill.space)));
    if let Some(seconds) = bill.seconds {
        let rate = bill.rate.map(|rate| format!(" (fetching {}/s, as just measured)", size(rate)));
        let about = units::duration(Duration::from_secs(seconds));
        line("time", format!("about {about}{}", rate.unwrap_or_default()));
    }
    lines.join("\n")
}
