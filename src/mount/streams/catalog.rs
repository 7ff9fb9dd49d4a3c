//! What is in the repository, by `borg list` and `borg debug dump-archive`.

use std::io::BufReader;
use std::sync::{Arc, Mutex};

use super::pin::Pin;
use super::slots::Slots;
use super::{Limits, Shared, State, Streams};
use crate::archive::item::Item;
use crate::archive::name::Archive;
use crate::archive::tree::Tree;
use crate::error::{Error, Result};
use crate::mount::source::{Catalog, ContentSource, Kept};
use crate::process::{Child, Ended, TimedPipe};
use crate::tools::borg::{self, ArchiveFilter, Borg, Line};

/// A repository as borg tells it.
pub struct BorgCatalog {
    borg: Borg,
    filter: ArchiveFilter,
    limits: Limits,
    slots: Arc<Slots>,
    /// The repository's transaction from before the first list.
    seen: Mutex<Option<u64>>,
}

impl BorgCatalog {
    pub fn new(borg: Borg, filter: ArchiveFilter, limits: Limits) -> Self {
        let slots = Slots::new(limits.processes);
        BorgCatalog { borg, filter, limits, slots, seen: Mutex::new(None) }
    }

    fn start(&self, subcommand: &str, archive: &Archive, more: &[&str]) -> Result<(Child, Log)> {
        let log = Log::default();
        let sink = log.clone();
        let command = self
            .borg
            .command(subcommand, self.limits.lock_wait)?
            .arg(borg::archive_argument(&archive.name))
            .args(more);
        Ok((command.spawn(move |line| sink.add(line))?, log))
    }

    fn explain(&self, ended: Ended, log: &Log, archive: &Archive) -> Error {
        borg::explain(&self.borg, &format!("read the archive {}", archive.name), ended, &log.lines())
    }

    /// Lets borg open the archive as it does for an extract, which checks what a dump does not: that
    /// the archive's metadata was written by someone who has the key.
    fn authenticate(&self, archive: &Archive) -> Result<()> {
        // No path has this name, so nothing is extracted.
        let (mut child, log) = self.start("extract --dry-run", archive, &["pf:\u{1}\u{1}"])?;
        let out = child.stdout().ok_or_else(|| no_output(archive))?;
        std::io::copy(&mut TimedPipe::new(out, self.limits.stall), &mut std::io::sink())
            .map_err(|e| no_output(archive).because(e))?;
        let ended = child.wait_or_interrupt()?;
        if borg::warned(ended).is_none() { Err(self.explain(ended, &log, archive)) } else { Ok(()) }
    }

    fn dump(&self, archive: &Archive, each: &mut dyn FnMut(Item)) -> Result<()> {
        let (mut child, log) = self.start("debug dump-archive", archive, &["-"])?;
        let stdout = child.stdout().ok_or_else(|| no_output(archive))?;
        let mut stdout = BufReader::with_capacity(1 << 20, TimedPipe::new(stdout, self.limits.stall));
        let same = |id: &str| match id == archive.id {
            true => Ok(()),
            false => Err(format!("{} was replaced by another archive of the same name", archive.name)),
        };
        let read = borg::read_items(&mut stdout, same, each);
        // Drained, since borg would fail on a pipe that nobody reads; what it says counts first.
        let _ = std::io::copy(&mut stdout, &mut std::io::sink());
        drop(stdout);
        let ended = child.wait_or_interrupt()?;
        if ended != Ended::Code(0) {
            return Err(self.explain(ended, &log, archive));
        }
        let refused = read.map_err(|e| {
            Error::failed(format!("cannot read the list of files of the archive {}", archive.name)).because(e)
        })?;
        if refused > 0 {
            tracing::warn!("{}: {refused} items with unusable paths are not shown", archive.name);
        }
        Ok(())
    }
}

impl Catalog for BorgCatalog {
    fn archives(&self) -> Result<Vec<Archive>> {
        let seen = self.borg.transaction();
        let archives = self.borg.archives(&self.filter, self.limits.lock_wait)?;
        *self.seen.lock().unwrap_or_else(|e| e.into_inner()) = seen;
        Ok(archives)
    }

    fn items(&self, archive: &Archive, each: &mut dyn FnMut(Item)) -> Result<()> {
        std::thread::scope(|scope| {
            let authentic = scope.spawn(|| self.authenticate(archive));
            let dumped = self.dump(archive, each);
            let authentic = authentic.join().unwrap_or_else(|_| Err(no_output(archive)));
            authentic.and(dumped)
        })
    }

    fn contents(&self, archive: &Archive, tree: Arc<Tree>, kept: Arc<dyn Kept>) -> Arc<dyn ContentSource> {
        let seen = *self.seen.lock().unwrap_or_else(|e| e.into_inner());
        Arc::new(Streams::new(Shared {
            borg: self.borg.clone(),
            archive: archive.clone(),
            tree,
            kept,
            slots: Arc::clone(&self.slots),
            limits: self.limits.clone(),
            pin: Pin::new(archive.clone(), seen),
            state: Mutex::new(State::default()),
        }))
    }

    fn shut_down(&self) {
        self.slots.shut_down();
    }
}

fn no_output(archive: &Archive) -> Error {
    Error::failed(format!("cannot read the archive {}", archive.name))
}

/// What borg said, the first lines of it.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Line>>>);

impl Log {
    const KEPT: usize = 64;

    fn add(&self, line: &[u8]) {
        let mut lines = self.0.lock().unwrap_or_else(|e| e.into_inner());
        if lines.len() < Log::KEPT {
            lines.push(Line::parse(line));
        }
    }

    fn lines(&self) -> Vec<Line> {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }
}
