//! What ZFS knows of the target of an image.

use std::ops::Range;

use crate::archive::ranges;
use crate::archives::open_archive::{Image, OpenArchive};
use crate::cli::console::Console;
use crate::cli::units::size;
use crate::error::Result;
use crate::restore::bookmark::{self, Since};
use crate::tools::target::open::Target;

/// What ZFS knows of the target. Bytes.
#[derive(Default)]
pub struct Known {
    pub may_differ: Option<Vec<Range<u64>>>,
    /// Read to tell.
    pub read: u64,
    /// Read to see whether ZFS is right, and still to be.
    pub sampled: u64,
    pub witnesses: Vec<Range<u64>>,
}

/// Asks ZFS, and says what it knows.
pub fn since(archived: &OpenArchive, image: &Image, target: &Target, console: Console) -> Result<Known> {
    let label = target.label();
    match bookmark::changed_since(archived, image, target)? {
        Since::MayDiffer { ranges, read, sampled, witnesses } => {
            let changed = size(ranges::length(&ranges));
            let looked = if sampled > 0 {
                format!("; {} of the rest were compared", size(sampled))
            } else {
                String::new()
            };
            console.say(&format!("ZFS knows what changed on {label} since then: {changed} at most{looked}"));
            Ok(Known { may_differ: Some(ranges), read, sampled, witnesses })
        }
        Since::NotProven(why) => {
            console
                .say(&format!("All of {label} is read, since ZFS cannot tell what changed: {}", why.chain()));
            Ok(Known::default())
        }
        Since::NoVolume => Ok(Known::default()),
    }
}
