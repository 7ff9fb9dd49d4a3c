//! What restoring an image would take: `--dry-run`.

use std::time::Duration;

use serde_json::json;

use super::answer::about;
use super::known::since;
use super::options::Options;
use crate::archives::open_archive::{Image, OpenArchive};
use crate::cli::console::{self, Console};
use crate::cli::exit::Exit;
use crate::cli::progress::Display;
use crate::cli::units::{self, size};
use crate::error::Result;
use crate::restore::estimate::{self, Estimate};
use crate::restore::image_seeds::ImageSeeds;
use crate::tools::target::open::TargetKind;
use crate::tools::target::place::Place;

/// Prints the estimate. Nothing is written.
pub fn run(
    archived: &OpenArchive,
    image: &Image,
    place: Place,
    options: &Options,
    seeds: &ImageSeeds,
    console: Console,
) -> Result<Exit> {
    let target = place.label().to_owned();
    let full = options.full;
    let may_differ = match place.kind {
        TargetKind::Device if !full => since(archived, image, &place.open_to_read()?, console)?.may_differ,
        _ => None,
    };
    let display = Display::new(console);
    let estimated = estimate::estimate(image, place, may_differ.as_deref(), full, seeds, &display);
    display.clear();
    let estimated = estimated?;
    console::print(&match options.json {
        true => {
            let mut result = about(archived, image, &target);
            result["estimate"] = json!(estimated);
            result.to_string()
        }
        false => text(image, &target, &estimated),
    })?;
    Ok(Exit::Done)
}

fn text(image: &Image, target: &str, estimated: &Estimate) -> String {
    let mut lines =
        vec![format!("{} onto {target}, {}; nothing was written:", image.name(), size(estimated.size))];
    let mut line = |label: &str, text: String| lines.push(format!("  {label:<13}  {text}"));
    match estimated.right {
        Some(right) => line("right already", size(right)),
        None => line("right already", "only a stream of all bytes would tell".to_owned()),
    }
    if estimated.local > 0 {
        line("in a seed", size(estimated.local));
    }
    let chunks = match estimated.chunks_to_fetch {
        0 => String::new(),
        n => format!(", {} chunks", units::count(n)),
    };
    line("to fetch", format!("{}{chunks}", size(estimated.to_fetch)));
    line("to write", format!("at most {}", size(estimated.to_write)));
    line("to make zeros", size(estimated.to_zero));
    line("space", format!("at most {} more", size(estimated.space)));
    if let Some(seconds) = estimated.seconds {
        let rate = estimated.rate.map(|rate| format!(" (fetching {}/s, as just measured)", size(rate)));
        let about = units::duration(Duration::from_secs(seconds));
        line("time", format!("about {about}{}", rate.unwrap_or_default()));
    }
    lines.join("\n")
}
