//! The tree that borg reads, from its mounts to the archive.

use std::cell::Cell;
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;

use super::archived::{Archived, Placed, Warnings};
use super::archiver::Archiver;
use super::events::Event;
use super::existing::Existing;
use super::frozen::{self, Frozen};
use super::placing::Placing;
use super::plan::borg_argument;
use super::planned::Planned;
use super::stage::{self, Stage};
use super::totals::Totals;
use crate::error::Result;

/// What borg will read: the staged tree, or without root the live one. Dropping it takes the tree
/// down.
pub struct Staged<'a> {
    planned: &'a Planned<'a>,
    // The stage must go before what it shows.
    stage: Option<Stage>,
    frozen: Option<Frozen<'a>>,
}

impl<'a> Staged<'a> {
    /// Without `frozen`, datasets are read from where they are mounted.
    ///
    /// # Errors
    /// As [`Stage::new`].
    pub fn new(planned: &'a Planned<'a>, mut frozen: Option<Frozen<'a>>) -> Result<Staged<'a>> {
        if !nix::unistd::geteuid().is_root() {
            planned.job.tell(Event::Live);
            return Ok(Staged { planned, stage: None, frozen });
        }
        let begun = Instant::now();
        let stage = match &mut frozen {
            Some(frozen) => {
                let volumes = frozen.tree();
                Stage::new(&planned.plan, Some(frozen.snapshots()), volumes)?
            }
            None => Stage::new(&planned.plan, None, frozen::rehearsed(&planned.plan))?,
        };
        planned.job.tell(Event::Staged { took: begun.elapsed() });
        Ok(Staged { planned, stage: Some(stage), frozen })
    }

    /// Lists what would be archived as `name`, and takes the tree down.
    ///
    /// # Errors
    /// The failure of borg, explained.
    pub fn rehearse(self, name: &str) -> Result<Warnings> {
        let warnings = self.archiver().rehearse(name, self.planned.job.listener.clone())?;
        self.release(name).map(|()| warnings)
    }

    /// Makes the archive `name`, or one beside it, and takes the tree down. [`Placed`] has the
    /// changes of names in the repository, even if the archive failed.
    pub fn archive(self, existing: &Existing, name: &str) -> (Placed, Result<Archived>) {
        let (planned, begun) = (self.planned, Instant::now());
        let totals = Totals::load();
        let repository = planned.borg.repository();
        planned.job.tell(Event::Archiving { name, expected: totals.expected(repository) });
        let archiver = self.archiver();
        let (mut placed, archived) = Placing::new(&archiver, existing, name).archive();
        let Ok(archived) = archived else { return (placed, archived) };
        if let Some(statistics) = archived.statistics {
            totals.remember(repository, statistics.original_size);
        }
        placed.took = begun.elapsed();
        let released = self.release(&placed.name).map_err(|e| planned.after_archive(&placed.name, e));
        (placed, released.map(|()| archived))
    }

    fn archiver(&self) -> Archiver<'a> {
        let (plan, is_staged) = (&self.planned.plan, self.stage.is_some());
        let device = |p: &Path| std::fs::symlink_metadata(p).ok().map(|m| m.dev());
        let roots = if is_staged { plan.roots() } else { plan.live_roots(device) };
        let paths: Vec<OsString> = roots.into_iter().map(|root| borg_argument(root).to_owned()).collect();
        Archiver {
            planned: self.planned,
            tree: Path::new(if is_staged { stage::ROOT } else { "/" }),
            paths,
            one_file_system: !is_staged,
            tried: Cell::default(),
        }
    }

    /// Takes the tree down. Each dataset keeps only the bookmark for `archive`.
    fn release(self, archive: &str) -> Result<()> {
        self.stage.map_or(Ok(()), Stage::close)?;
        self.frozen.map_or(Ok(()), |frozen| frozen.thaw(archive))
    }
}
