//! Files out of a volume: `VOLUME:/PATH`.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use chrono::{DateTime, Local};

use super::request::Request;
use crate::archive::choice::Wanted;
use crate::archives::places::Place;
use crate::archives::salvage::Salvage;
use crate::cli::archive_mount;
use crate::cli::console::{self, Console};
use crate::cli::exit::Exit;
use crate::cli::progress::Display;
use crate::cli::units::size;
use crate::device::inside::{Inside, Volume, VolumeEntry};
use crate::error::{Error, Result};
use crate::listing::mode;
use crate::progress::{Monitor, Progress, Silent, Total};
use crate::restore::volume_files::{self, Copied};
use crate::tools::borg::Borg;

/// Prints what is at `places`, all in one volume of the archive.
pub fn list(borg: &Borg, request: &Request<'_>, places: Vec<Place>) -> Result<Exit> {
    let (inside, paths) = open(borg, request, places)?;
    for path in &paths {
        inside.list(path)?.iter().try_for_each(|entry| console::print(&line(entry)))?;
    }
    inside.close()?;
    Ok(Exit::Done)
}

/// Copies what is at `places`, all in one volume of the archive, into the directory `to`.
pub fn copy(
    borg: &Borg,
    console: Console,
    request: &Request<'_>,
    places: Vec<Place>,
    to: &Path,
) -> Result<Exit> {
    let (inside, paths) = open(borg, request, places)?;
    let mut exit = Exit::Done;
    for path in &paths {
        let Copied { missing, damaged } = copy_one(&inside, path, to, request, console)?;
        if let Some(missing) = &missing {
            console.warn(&format!("not all of {} was copied: {missing}", path.escape_ascii()));
        }
        damaged.iter().for_each(|file| console.warn(&format!("damaged: {}", file.message())));
        if missing.is_some() || !damaged.is_empty() {
            exit = Exit::Warned;
        }
    }
    inside.close()?;
    Ok(exit)
}

fn open(borg: &Borg, request: &Request<'_>, places: Vec<Place>) -> Result<(Inside, Vec<Vec<u8>>)> {
    let (image, paths) = same_volume(places)?;
    let volume = Volume {
        archive: request.archive.clone(),
        archive_argument: request.said.to_owned(),
        image,
        partition: request.options.partition,
        in_host: request.options.in_host,
    };
    let salvage = request.options.salvage.then_some(Salvage::Errors);
    let find = |borg: &Borg, wanted: &Wanted| archive_mount::find(borg, wanted, salvage);
    Ok((Inside::open(borg, &volume, &find, &Silent)?, paths))
}

/// The volume, and the paths in it.
fn same_volume(places: Vec<Place>) -> Result<(Vec<u8>, Vec<Vec<u8>>)> {
    let mut found: Option<Vec<u8>> = None;
    let mut paths = Vec::new();
    for place in places {
        let Place::Volume { volume, path } = place else {
            return Err(Error::usage("some of the paths are in the archive, some in a volume of it")
                .hint("take them one after the other"));
        };
        if *found.get_or_insert_with(|| volume.clone()) != volume {
            return Err(Error::usage("the paths are in several volumes").hint("take one volume at a time"));
        }
        paths.push(path);
    }
    Ok((found.unwrap_or_default(), paths))
}

/// What did not come of it.
fn copy_one(
    inside: &Inside,
    path: &[u8],
    to: &Path,
    request: &Request<'_>,
    console: Console,
) -> Result<Copied> {
    let label = path.escape_ascii();
    let total = inside.size(path)?;
    let (overwrite, salvage) = (request.options.overwrite, request.options.salvage);
    let display = Display::new(console);
    let (from, name) = inside.place(path)?;
    let copied = volume_files::copy(&from, &name, to, overwrite, salvage, &mut |done| {
        let report = Progress::bytes("copied", done.min(total), Total::Exactly(total));
        display.progress(report.with_subject(&label.to_string()));
    });
    display.clear();
    let copied = copied?;
    if copied.missing.is_none() {
        console.say(&format!("{label} is in {} ({})", to.display(), size(total)));
    }
    Ok(copied)
}

/// `-rw-r--r--  1000:1000   3000000  2026-03-14 07:00  letter`
fn line(entry: &VolumeEntry) -> String {
    let m = &entry.metadata;
    let time = DateTime::from_timestamp(m.mtime(), 0).unwrap_or_default().with_timezone(&Local);
    let name = entry.name.as_bytes().escape_ascii();
    format!(
        "{}  {:>5}:{:<5} {:>14}  {}  {name}",
        mode::text(m.mode(), mode::letter(m.mode())),
        m.uid(),
        m.gid(),
        m.size(),
        time.format("%Y-%m-%d %H:%M")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_paths_must_be_in_one_volume() {
        let place = |volume: &str, path: &str| Place::Volume { volume: volume.into(), path: path.into() };
        let (volume, paths) = same_volume(vec![place("tank/v", "/a"), place("tank/v", "/b c")]).unwrap();
        assert_eq!((&volume[..], paths.len(), &paths[1][..]), (&b"tank/v"[..], 2, &b"/b c"[..]));
        assert!(same_volume(vec![place("tank/v", "/a"), place("tank/w", "/a")]).is_err());
        assert!(same_volume(vec![place("tank/v", "/a"), Place::Archive]).is_err());
    }
}
