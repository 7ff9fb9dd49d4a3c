//! Makes one archive, and tries again when the connection drops.

use std::sync::Arc;

use super::archived::Archived;
use super::archiver::Archiver;
use super::events::{Event, Listener};
use super::planned::Planned;
use super::whose;
use crate::error::{Error, Kind, Result};

/// Makes the archive `name`. If the connection drops, borg continues from its last checkpoint,
/// because the tree is still the same. (The next prune removes what a checkpoint left.) The
/// connection may also drop after the archive is complete.
///
/// # Errors
/// The failure of borg, explained.
pub fn make(archiver: &Archiver<'_>, name: &str, listener: &Arc<dyn Listener>) -> Result<Archived> {
    let mut tries = 0;
    let made = archiver.planned.job.retry(|| {
        tries += 1;
        match archiver.archive(name, Arc::clone(listener)) {
            Err(error) if tries > 1 && error.kind() == Kind::Exists => archiver.find(name),
            Err(error) if matches!(error.kind(), Kind::Failed | Kind::Damaged) => {
                whole_all_the_same(archiver, name, error)
            }
            archived => archived,
        }
    });
    match made {
        Err(error) if error.kind() == Kind::Exists => Err(came_between(archiver.planned, name, error)),
        made => made,
    }
}

/// The archive after `error`, which may have come when the archive was complete: at the end, borg
/// writes its cache, to a disk that may be full, and reads all archives for its statistics, and one
/// of them may be damaged.
fn whole_all_the_same(archiver: &Archiver<'_>, name: &str, error: Error) -> Result<Archived> {
    let Ok(mut archived) = archiver.find_in_list(name) else { return Err(error) };
    let (job, why) = (archiver.planned.job, error.chain());
    job.tell(Event::Warning(&format!(
        "the archive {name} is complete, but a later step of borg failed: {why}"
    )));
    error.hints().iter().for_each(|hint| job.tell(Event::Warning(hint)));
    archived.warnings.all += 1;
    Ok(archived)
}

/// The error for an archive that somebody else made in the meantime; `error` is that of borg.
fn came_between(planned: &Planned<'_>, name: &str, error: Error) -> Error {
    let listed = planned.borg.listed(planned.job.options.lock_wait).unwrap_or_default();
    let there = whose::find(&listed, name);
    match there.map(|there| whose::check(planned.job.identity, there, planned.borg.repository())) {
        Some(Err(foreign)) => foreign,
        _ => error,
    }
}
