//! The new archive of a day that has one already, and what is lost of the old one: nothing.

use std::sync::Arc;

use super::Run;
use crate::archive::name::{Archive, beside};
use crate::archive::origin::Listed;
use crate::backup::archiver::{Archived, Archiver};
use crate::backup::monitor::{Beside, Event, Monitor};
use crate::backup::reconnect::persistently;
use crate::backup::report::in_the_making;
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
        let new = in_the_making(&name);
        let left = whose::find(before, &new);
        let Some(there) = there else {
            let archived = self.make(archiver, &name, self.monitor)?;
            // It holds what this one lacks.
            let is_needed = archived.warnings.unread > 0;
            if let Some(left) = left.filter(|left| !is_needed && self.identity.made(&left.origin)) {
                self.delete_after(&left.archive)?;
            }
            return Ok(archived);
        };
        let places: Vec<Vec<u8>> = self.plan.held().into_iter().map(|(place, _)| place).collect();
        let besides = there.origin.besides(&places);
        if !besides.is_empty() {
            return self.make_beside(archiver, before, Beside::Holds(&besides), self.monitor);
        }
        if let Some(left) = left {
            whose::check(self.identity, left, self.borg.repository())?;
            self.delete(&left.archive)?;
        }
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
        Ok(archived.known_as(again))
    }

    /// Of two archives of one run the second could not read everything: the first stays.
    fn keep_whole(&mut self, archived: Archived, whole: Archive, again: &Archived) -> Result<Archived> {
        let name = std::mem::replace(&mut self.report.name, whole.name);
        self.delete_after(&Archive { name: name.clone(), id: again.id.clone(), start: again.start.clone() })?;
        self.tell(Event::Beside { name: &self.report.name, of: &name, why: Beside::Unread });
        self.report.kept = Some(name);
        Ok(archived)
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
        let free = |name: &String| whose::find(before, name).is_none();
        let name = (1..).map(|n| beside(&of, n)).find(free).unwrap_or_default();
        self.tell(Event::Beside { name: &name, of: &of, why });
        let archived = self.make(archiver, &name, monitor)?;
        (self.report.name, self.report.kept) = (name, Some(of));
        Ok(archived)
    }

    /// Deletes this archive, and no other that came to have its name.
    pub(super) fn delete(&self, archive: &Archive) -> Result<()> {
        let (name, wait) = (&archive.name, self.options.lock_wait);
        self.tell(Event::Deleting { name });
        let now = persistently(&**self.monitor, || self.borg.listed(wait))?;
        match whose::find(&now, name) {
            None => return Ok(()),
            Some(now) if now.archive.id == archive.id => {}
            Some(_) => {
                let what = format!("cannot delete the archive {name}: it is another one than a moment ago");
                return Err(Error::failed(what).hint("somebody else works with this repository"));
            }
        }
        let command = self.borg.command("delete", wait)?.arg(archive_argument(name));
        self.borg.run(command.die_with_parent(), &format!("delete the archive {name}")).map(drop)
    }
}

/// For the second making of an archive, which would tell everything twice.
struct Muted;

impl Monitor for Muted {
    fn tell(&self, _: Event<'_>) {}
}
