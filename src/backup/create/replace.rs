//! The new archive of a day that has one already, and what is lost of the old one: nothing.

use std::sync::Arc;

use super::Run;
use crate::archive::name::{Archive, beside, in_the_making, is_in_the_making};
use crate::archive::origin::Listed;
use crate::backup::archiver::{Archived, Archiver};
use crate::backup::monitor::{Beside, Event, Monitor};
use crate::backup::reconnect::persistently;
use crate::backup::whose;
use crate::error::{Error, Result};
use crate::process::interrupt;
use crate::tools::borg::archive_argument;

impl Run<'_> {
    /// At every moment the old archive, the new one, or both stand. (`borg rename` would be one
    /// step less, but up to 1.2.4 it writes an archive that newer borgs refuse.)
    pub(super) fn archive(
        &mut self,
        archiver: &Archiver<'_>,
        before: &[Listed],
        there: Option<&Listed>,
    ) -> Result<Archived> {
        let name = self.report.name.clone();
        let Some(there) = there else {
            let archived = self.make(archiver, &name, self.monitor)?;
            self.delete_left(before, &archived)?;
            return Ok(archived);
        };
        let besides = there.origin.besides(&self.report.places);
        if !besides.is_empty() {
            return self.make_beside(archiver, before, Beside::Holds(&besides), self.monitor);
        }
        // What an earlier run left may be the only whole one, so it stays until this one is whole.
        let new = free(before, |n| in_the_making(&name, n));
        let archived = self.make(archiver, &new, self.monitor)?;
        let whole = Archive { name: new, id: archived.id.clone(), start: archived.start.clone() };
        interrupt::check()?;
        // Cheap: every chunk is there, and borg's files cache knows every file.
        let muted: Arc<dyn Monitor> = Arc::new(Muted);
        if archived.warnings.unread > 0 {
            let again = self.make_beside(archiver, before, Beside::Unread, &muted)?;
            self.delete_after(&whole)?;
            return Ok(archived.known_as(again));
        }
        self.delete(&there.archive)?;
        let again = self.make(archiver, &name, &muted).map_err(|e| {
            let new = &whole.name;
            e.hint(format!("the new backup stands as {new}; the next `create` of this day finishes the work"))
        })?;
        if again.warnings.unread > 0 {
            return self.keep_whole(archived, whole, &again);
        }
        self.delete_after(&whole)?;
        self.delete_left(before, &archived)?;
        Ok(archived.known_as(again))
    }

    /// Of two archives of one run the second could not read everything: the first stays.
    fn keep_whole(&mut self, archived: Archived, whole: Archive, again: &Archived) -> Result<Archived> {
        let name = std::mem::replace(&mut self.report.name, whole.name);
        self.delete_after(&Archive { name: name.clone(), id: again.id.clone(), start: again.start.clone() })?;
        self.tell(Event::Misnamed { name: &self.report.name, of: &name });
        self.report.misnamed = Some(name);
        Ok(archived)
    }

    /// Deletes what cut runs of this day left, once `archived` stands and holds all that they hold.
    fn delete_left(&mut self, before: &[Listed], archived: &Archived) -> Result<()> {
        if archived.warnings.unread > 0 {
            return Ok(());
        }
        let is_left = |listed: &&Listed| {
            is_in_the_making(&listed.archive.name) == Some(&self.report.name)
                && self.identity.made(&listed.origin)
                && listed.origin.besides(&self.report.places).is_empty()
        };
        let left: Vec<&Listed> = before.iter().filter(is_left).collect();
        left.into_iter().try_for_each(|left| self.delete_after(&left.archive))
    }

    /// Makes the archive under a name of its own; the one of today stays as it is.
    fn make_beside(
        &mut self,
        archiver: &Archiver<'_>,
        before: &[Listed],
        why: Beside<'_>,
        monitor: &Arc<dyn Monitor>,
    ) -> Result<Archived> {
        let of = self.report.name.clone();
        let name = free(before, |n| beside(&of, n));
        self.tell(Event::Beside { name: &name, of: &of, why });
        let archived = self.make(archiver, &name, monitor)?;
        (self.report.name, self.report.kept) = (name, Some(of));
        Ok(archived)
    }

    /// Deletes this archive, and no other that came to have its name.
    fn delete(&mut self, archive: &Archive) -> Result<()> {
        let (name, wait) = (&archive.name, self.options.lock_wait);
        self.tell(Event::Deleting { name });
        let now = persistently(&**self.monitor, || self.borg.listed(wait))?;
        match whose::find(&now, name) {
            None => {}
            Some(now) if now.archive.id == archive.id => self.delete_there(name)?,
            Some(_) => {
                let what = format!("cannot delete the archive {name}: it is another one than a moment ago");
                return Err(Error::failed(what).hint("somebody else works with this repository"));
            }
        }
        self.report.forget(std::slice::from_ref(name));
        self.deleted.push(name.clone());
        Ok(())
    }

    fn delete_there(&self, name: &str) -> Result<()> {
        let command = self.borg.command("delete", self.options.lock_wait)?.arg(archive_argument(name));
        self.borg.run(command.die_with_parent(), &format!("delete the archive {name}")).map(drop)
    }

    fn delete_after(&mut self, archive: &Archive) -> Result<()> {
        self.delete(archive).map_err(|e| self.complete(e))
    }
}

/// The first of these names, counted from 1, that no archive has.
fn free(before: &[Listed], name: impl Fn(usize) -> String) -> String {
    (1..).map(name).find(|name| whose::find(before, name).is_none()).unwrap_or_default()
}

/// For the second making of an archive, which would tell everything twice.
struct Muted;

impl Monitor for Muted {
    fn tell(&self, _: Event<'_>) {}
}
