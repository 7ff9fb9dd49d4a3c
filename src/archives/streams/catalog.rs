//! The archives of a repository, read by `borg list` and `borg debug dump-archive-items`.
//!
//! `borg list --json-lines` loses bytes that are not UTF-8, nanoseconds, device numbers, extended
//! attributes and ACLs, and `borg debug dump-archive` fails on some extended attributes; both take
//! a second for 40,000 items. The chunks of the archive's metadata, as borg decrypts them, lose
//! nothing. borg writes them to files, in a private directory in memory; each file is removed once
//! it is read.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use borg_repository::{Item, ItemParser};
use parking_lot::Mutex;

use super::context::Context;
use super::limits::Limits;
use super::pin::Pin;
use super::slots::Slots;
use super::source::Streams;
use crate::archive::filter::ArchiveFilter;
use crate::archive::name::Archive;
use crate::archive::origin::Origin;
use crate::archive::tree::{Tree, View};
use crate::archives::load;
use crate::archives::pace::Pace;
use crate::archives::reader::Frames;
use crate::archives::source::{CacheSink, Catalog, ContentSource, Layout};
use crate::directories;
use crate::error::{Error, Kind, Result};
use crate::process::memory::Budget;
use crate::process::{Child, Command, Ended, TimedPipe};
use crate::progress::Monitor;
use crate::tools::borg::{self, Borg, Line, Origins};

/// How long nothing may arrive between two chunks of metadata: borg may first have to read all of a
/// slow repository.
const STALL: Duration = Duration::from_secs(300);
/// The message that borg prints before it writes a chunk of metadata.
const DUMPING: &str = "Dumping ";

/// A repository, read through borg.
pub struct BorgCatalog {
    borg: Borg,
    filter: ArchiveFilter,
    limits: Limits,
    slots: Arc<Slots>,
    seen: Mutex<Seen>,
    /// The known origins of the archives.
    origins: Mutex<Option<Origins>>,
    pace: Pace,
}

/// The newest list.
#[derive(Default)]
struct Seen {
    /// The repository's transaction before the list was read.
    transaction: Option<u64>,
    /// The id that belongs to each name.
    ids: HashMap<String, String>,
}

impl Seen {
    /// The transaction at which the archive was seen; `None` if the archive is no longer listed.
    fn of(&self, archive: &Archive) -> Option<u64> {
        self.transaction.filter(|_| self.ids.get(&archive.name) == Some(&archive.id))
    }
}

impl BorgCatalog {
    pub fn new(borg: Borg, filter: ArchiveFilter, limits: Limits) -> Self {
        let slots = Slots::new(limits.processes);
        let pace = Pace::new(&borg, limits.look);
        let (seen, origins) = (Mutex::default(), Mutex::default());
        BorgCatalog { borg, filter, limits, slots, seen, origins, pace }
    }

    fn pin(&self, archive: &Archive) -> Pin {
        let seen = self.seen.lock().of(archive);
        Pin::new(archive.clone(), seen)
    }

    /// Lets borg open the archive as for a restore. This checks what a dump does not: that someone
    /// with the key wrote the archive's metadata.
    fn authenticate(&self, archive: &Archive) -> Result<()> {
        let command = self
            .borg
            .command("list --short", self.limits.lock_wait)?
            .arg(borg::archive_argument(&archive.name))
            // No file has this path, so borg lists nothing.
            .arg("pf:\u{1}\u{1}");
        let mut running = Running::start(self, command, archive)?;
        std::io::copy(&mut running.output, &mut std::io::sink()).map_err(|e| running.unreadable(e))?;
        let ended = running.child.wait_or_interrupt()?;
        if borg::warned(ended).is_none() { Err(running.explain(ended)) } else { Ok(()) }
    }

    /// Passes every item of `archive` to `each`, once, in the order of the archive.
    fn items(&self, archive: &Archive, each: &mut dyn FnMut(Item)) -> Result<()> {
        std::thread::scope(|scope| {
            let authentic = scope.spawn(|| self.authenticate(archive));
            let dumped = self.dump(archive, each);
            let panicked = |_| Err(Error::failed(format!("cannot check the archive {}", archive.name)));
            authentic.join().unwrap_or_else(panicked).and(dumped)
        })
    }

    fn dump(&self, archive: &Archive, each: &mut dyn FnMut(Item)) -> Result<()> {
        let directory = directories::in_memory()?;
        let command = self
            .borg
            .command("debug dump-archive-items", self.limits.lock_wait)?
            .arg(borg::archive_argument(&archive.name))
            .current_dir(directory.path())
            // So that we read a chunk while borg decrypts the next.
            .env("PYTHONUNBUFFERED", "1");
        let mut running = Running::start(self, command, archive)?;
        let mut parser = ItemParser::default();
        let mut written: Option<PathBuf> = None;
        let mut line = String::new();
        loop {
            line.clear();
            if running.output.read_line(&mut line).map_err(|e| running.unreadable(e))? == 0 {
                break;
            }
            let Some(name) = line.trim_end().strip_prefix(DUMPING).filter(|n| !n.contains('/')) else {
                continue;
            };
            // borg names a chunk before it writes it, so the one before is complete.
            if let Some(complete) = written.replace(directory.path().join(name)) {
                running.take(&complete, &mut parser, each)?;
            }
        }
        let ended = running.child.wait_or_interrupt()?;
        if ended != Ended::Code(0) {
            return Err(running.explain(ended));
        }
        if let Some(last) = written {
            running.take(&last, &mut parser, each)?;
        }
        parser.finish().map_err(|e| running.unreadable(e))?;
        let confirmed = self.pin(archive).confirm(&self.borg, self.limits.lock_wait);
        confirmed.map_err(|e| {
            Error::new(Kind::NotFound, format!("cannot show the archive {}", archive.name)).because(e)
        })
    }
}

impl Catalog for BorgCatalog {
    fn archives(&self) -> Result<Vec<Archive>> {
        let transaction = self.borg.transaction();
        let archives = self.borg.archives(&self.filter, self.limits.lock_wait)?;
        let ids = archives.iter().map(|a| (a.name.clone(), a.id.clone())).collect();
        *self.seen.lock() = Seen { transaction, ids };
        Ok(archives)
    }

    fn origin(&self, archive: &Archive) -> Result<Origin> {
        let mut origins = self.origins.lock();
        let origins = origins.get_or_insert_with(|| Origins::load(self.borg.repository()));
        self.borg.origin(archive, origins, self.limits.lock_wait)
    }

    fn is_stale(&self) -> bool {
        self.pace.is_due()
    }

    fn look_again(&self) -> Result<Option<Vec<Archive>>> {
        self.pace.look(&self.borg, || self.archives().map(Some))
    }

    fn tree(&self, archive: &Archive, view: &View, monitor: &dyn Monitor) -> Result<Tree> {
        load::tree_of_items(archive, view, monitor, |each| self.items(archive, each))
    }

    fn layout(&self, _archive: &Archive, number: u32, tree: &Arc<Tree>) -> Arc<dyn Layout> {
        Arc::new(Frames::new(Arc::clone(tree), number))
    }

    fn contents(
        &self,
        archive: &Archive,
        tree: Arc<Tree>,
        sink: Arc<dyn CacheSink>,
    ) -> Arc<dyn ContentSource> {
        Arc::new(Streams::new(Context {
            borg: self.borg.clone(),
            archive: archive.clone(),
            tree,
            sink,
            slots: Arc::clone(&self.slots),
            limits: self.limits.clone(),
            pin: self.pin(archive),
        }))
    }

    fn shut_down(&self) {
        self.slots.shut_down();
    }
}

/// A borg that reads an archive, and its messages.
struct Running<'a> {
    catalog: &'a BorgCatalog,
    archive: &'a Archive,
    child: Child,
    output: BufReader<TimedPipe>,
    log: Arc<Mutex<Vec<Line>>>,
    memory: Budget,
}

impl<'a> Running<'a> {
    const KEPT_LINES: usize = 64;

    fn start(catalog: &'a BorgCatalog, command: Command, archive: &'a Archive) -> Result<Self> {
        let log = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&log);
        let mut child = command.spawn(move |line| {
            let mut lines = sink.lock();
            if lines.len() < Self::KEPT_LINES {
                lines.push(Line::parse(line));
            }
        })?;
        let stdout = child.stdout().ok_or_else(|| Error::failed("borg has no output"))?;
        let output = BufReader::new(TimedPipe::new(stdout, STALL));
        Ok(Running { catalog, archive, child, output, log, memory: Budget::of_free_memory() })
    }

    /// Reads a chunk of the metadata and removes it.
    fn take(&self, file: &Path, parser: &mut ItemParser, each: &mut dyn FnMut(Item)) -> Result<()> {
        let chunk = std::fs::read(file).map_err(|e| self.unreadable(e))?;
        std::fs::remove_file(file).map_err(|e| self.unreadable(e))?;
        parser.feed(&chunk, each).map_err(|e| self.unreadable(e))?;
        self.memory.check().map_err(|e| self.unreadable(e))
    }

    fn explain(&self, ended: Ended) -> Error {
        let doing = format!("read the archive {}", self.archive.name);
        let lines = self.log.lock();
        borg::explain(&self.catalog.borg, &doing, ended, &lines)
    }

    fn unreadable(&self, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::failed(format!("cannot read the list of files of the archive {}", self.archive.name))
            .because(why)
    }
}
