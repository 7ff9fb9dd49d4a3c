//! Puts the new archive of a day in its place. Nothing of an older archive of that day is lost.

use std::sync::Arc;

use super::archived::{Archived, Placed};
use super::archiver::Archiver;
use super::events::{Beside, Event, Listener};
use super::existing::Existing;
use super::make::make;
use super::planned::Planned;
use super::whose;
use crate::archive::name::{Archive, beside, in_the_making, is_in_the_making};
use crate::archive::origin::Listed;
use crate::error::{Error, Result};
use crate::process::interrupt;
use crate::tools::borg::archive_argument;

/// Gives the new archive of a day its name.
pub struct Placing<'a> {
    archiver: &'a Archiver<'a>,
    existing: &'a Existing,
    placed: Placed,
}

impl<'a> Placing<'a> {
    /// `name` is that of the day.
    pub fn new(archiver: &'a Archiver<'a>, existing: &'a Existing, name: &str) -> Placing<'a> {
        Placing { archiver, existing, placed: Placed { name: name.to_owned(), ..Placed::default() } }
    }

    /// Makes the archive, and deletes what it replaces.
    pub fn archive(mut self) -> (Placed, Result<Archived>) {
        let archived = match &self.existing.today {
            None => self.first(),
            Some(today) => self.replace(today),
        };
        (self.placed, archived)
    }

    fn first(&mut self) -> Result<Archived> {
        let archived = self.make(&self.placed.name)?;
        self.delete_left(&archived)?;
        Ok(archived)
    }

    /// At every moment, the old archive, the new one, or both exist. (`borg rename` would save a
    /// step, but up to 1.2.4 it writes an archive that newer versions refuse.)
    fn replace(&mut self, today: &Listed) -> Result<Archived> {
        let name = self.placed.name.clone();
        let besides = today.origin.besides(&self.planned().places);
        if !besides.is_empty() {
            return self.make_beside(Beside::Holds(&besides), self.listener());
        }
        // What an earlier run left may be the only complete archive, so it stays until this one is
        // complete.
        let new = self.existing.free(|n| in_the_making(&name, n));
        let archived = self.make(&new)?;
        let whole = Archive { name: new, id: archived.id.clone(), start: archived.start.clone() };
        interrupt::check()?;
        // This is cheap: all chunks exist, and borg's files cache knows all files.
        let muted: Arc<dyn Listener> = Arc::new(Muted);
        if archived.warnings.unread > 0 {
            let again = self.make_beside(Beside::Unread, &muted)?;
            self.delete_after(&whole)?;
            return Ok(archived.known_as(again));
        }
        self.delete(&today.archive)?;
        let again = make(self.archiver, &name, &muted).map_err(|e| {
            let new = &whole.name;
            e.hint(format!("the new backup is {new}; the next `create` of this day gives it its name"))
        })?;
        if again.warnings.unread > 0 {
            return self.keep_whole(archived, whole, &again);
        }
        self.delete_after(&whole)?;
        self.delete_left(&archived)?;
        Ok(archived.known_as(again))
    }

    /// The second of two archives of this run could not read everything, so the first stays.
    fn keep_whole(&mut self, archived: Archived, whole: Archive, again: &Archived) -> Result<Archived> {
        let name = std::mem::replace(&mut self.placed.name, whole.name);
        self.delete_after(&Archive { name: name.clone(), id: again.id.clone(), start: again.start.clone() })?;
        self.tell(Event::Misnamed { name: &self.placed.name, due: &name });
        self.placed.misnamed = Some(name);
        Ok(archived)
    }

    /// Deletes what interrupted runs of this day left, after `archived` is complete and holds
    /// everything that they hold.
    fn delete_left(&mut self, archived: &Archived) -> Result<()> {
        if archived.warnings.unread > 0 {
            return Ok(());
        }
        let is_left = |listed: &&Listed| {
            is_in_the_making(&listed.archive.name) == Some(&self.placed.name)
                && self.planned().job.identity.made(&listed.origin)
                && listed.origin.besides(&self.planned().places).is_empty()
        };
        let left: Vec<&Listed> = self.existing.listed.iter().filter(is_left).collect();
        left.into_iter().try_for_each(|left| self.delete_after(&left.archive))
    }

    /// Makes the archive under another name; that of today stays unchanged.
    fn make_beside(&mut self, why: Beside<'_>, listener: &Arc<dyn Listener>) -> Result<Archived> {
        let existing = self.placed.name.clone();
        let name = self.existing.free(|n| beside(&existing, n));
        self.tell(Event::Beside { name: &name, existing: &existing, why });
        let archived = make(self.archiver, &name, listener)?;
        (self.placed.name, self.placed.kept) = (name, Some(existing));
        Ok(archived)
    }

    /// Deletes this archive, but not another one that has taken its name.
    fn delete(&mut self, archive: &Archive) -> Result<()> {
        let (name, wait) = (&archive.name, self.planned().job.options.lock_wait);
        self.tell(Event::Deleting { name });
        let now = self.planned().job.retry(|| self.planned().borg.listed(wait))?;
        match whose::find(&now, name) {
            None => {}
            Some(now) if now.archive.id == archive.id => self.delete_there(name)?,
            Some(_) => {
                let what = format!("cannot delete the archive {name}: another archive has taken its name");
                return Err(Error::failed(what).hint("another process is using this repository"));
            }
        }
        self.placed.deleted.push(name.clone());
        Ok(())
    }

    fn delete_there(&self, name: &str) -> Result<()> {
        let Planned { job, borg, .. } = self.planned();
        let command = borg.command("delete", job.options.lock_wait)?.arg(archive_argument(name));
        borg.run(command.die_with_parent(), &format!("delete the archive {name}")).map(drop)
    }

    fn delete_after(&mut self, archive: &Archive) -> Result<()> {
        self.delete(archive).map_err(|e| self.planned().after_archive(&self.placed.name, e))
    }

    fn make(&self, name: &str) -> Result<Archived> {
        make(self.archiver, name, self.listener())
    }

    fn planned(&self) -> &'a Planned<'a> {
        self.archiver.planned
    }

    fn listener(&self) -> &'a Arc<dyn Listener> {
        self.planned().job.listener
    }

    fn tell(&self, event: Event<'_>) {
        self.planned().job.tell(event);
    }
}

/// For making an archive a second time: its events would all be repetitions.
struct Muted;

impl Listener for Muted {
    fn tell(&self, _: Event<'_>) {}
}
