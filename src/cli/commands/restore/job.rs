//! Which job a request is, as the archive decides.

use std::path::Path;

use borg_repository::ItemPath;

use super::options::Kind;
use super::request::Request;
use crate::archives::open_archive::{Found, Image, OpenArchive};
use crate::archives::places::Place;
use crate::error::{Error, Result};
use crate::restore::request;
use crate::tools::borg::{Borg, Preflight};

/// What is to be done, with what it needs.
pub enum Job<'a> {
    List(Vec<Place>),
    Copy(Vec<Place>, &'a Path),
    Files(Opened, &'a Path),
    Image(Opened, Image, &'a Path),
}

/// An archive that can be read as long as this is held.
pub struct Opened {
    pub archived: OpenArchive,
    _preflight: Preflight,
}

/// Asks the archive what the paths are.
///
/// # Errors
/// When the archive cannot be read, a path names nothing, or an option does not apply to the job.
pub fn decide<'a>(request: &Request<'a>, borg: &Borg) -> Result<Job<'a>> {
    let options = request.options;
    options.refuse_unless_for(&possible(request))?;
    if request.may_be_in_volume() {
        let words: Vec<Vec<u8>> = request.paths.iter().map(|path| path.to_vec()).collect();
        let places = request::places(borg, &request.archive, options.source.into(), &words)?;
        if places.iter().any(|place| matches!(place, Place::Volume { .. })) {
            options.refuse_unless_for(&[in_volume(request)])?;
            return Ok(match request.to {
                Some(to) => Job::Copy(places, to),
                None => Job::List(places),
            });
        }
    }
    let Some(to) = request.to else {
        options.refuse_unless_for(&[Kind::Files, Kind::Image])?;
        return Err(Error::usage("`--to` is missing"));
    };
    let reached = borg.reach(request::DOING)?;
    let archived = OpenArchive::open(borg, &request.archive, options.source.into(), request::DOING)?;
    let opened = Opened { archived, _preflight: reached };
    let found = match request.paths.as_slice() {
        [path] if !request.is_for_directory() && !to.is_dir() => Some(match options.salvage {
            true => opened.archived.find_to_salvage(path)?,
            false => opened.archived.find(path)?,
        }),
        _ => None,
    };
    match found {
        Some(Found::Image(image)) => {
            options.refuse_unless_for(&[Kind::Image])?;
            Ok(Job::Image(opened, image, to))
        }
        Some(Found::Other(path)) => Err(is_no_target(&path, to)),
        Some(Found::Directory(_)) | None => {
            options.refuse_unless_for(&[Kind::Files])?;
            Ok(Job::Files(opened, to))
        }
    }
}

/// What the request can be before the archive is asked.
fn possible(request: &Request<'_>) -> Vec<Kind> {
    let mut kinds = vec![Kind::Files];
    if !request.is_for_directory() {
        kinds.insert(0, Kind::Image);
    }
    if request.may_be_in_volume() {
        kinds.push(in_volume(request));
    }
    kinds
}

fn in_volume(request: &Request<'_>) -> Kind {
    if request.to.is_some() { Kind::VolumeFiles } else { Kind::VolumeList }
}

/// A link or a device keeps its name.
fn is_no_target(path: &ItemPath, to: &Path) -> Error {
    Error::usage(format!("{path} is neither a file nor a directory, so it goes into a directory only"))
        .hint(format!("create the directory, or write `--to {}/`", to.display()))
}
