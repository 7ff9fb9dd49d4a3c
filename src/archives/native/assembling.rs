//! Makes the list of an archive's files of its metadata. What a piece of metadata holds is parsed once:
//! archives that were made one after the other share most pieces, and the leaves that were made of them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use borg_repository::{
    Chunk, Error as Unreadable, Id, Item, ItemParser, ItemSink, LARGE, ListKind, Repository,
};
use crossbeam_channel::{Receiver, Sender, bounded};

use crate::archive::tree::{
    Assembler, Assembly, BlobWriter, Built, LeafBuilder, LeafKey, Part, PartName, PathHasher, Run,
};
use crate::archives::workers;
use crate::error::{Error, Result};
use crate::process::memory::Budget;
use crate::progress::{Monitor, Progress};

/// Leaves that are built at once, for each thread.
const AHEAD: usize = 4;
/// So few pieces of metadata are parsed without other threads.
const FEW: usize = 4;
/// The most parts of earlier archives that one refers to. Leaves of others are copied.
const PARTS: usize = 8;

/// What an archive is assembled of.
pub struct Source<'a> {
    pub repository: &'a Repository,
    pub archive: &'a borg_repository::Archive,
    /// Archives whose leaves may be used.
    pub earlier: &'a [Arc<Assembly>],
    /// Lists before `borg check --repair` are used where there are any.
    pub salvage: bool,
    /// The name of the new part.
    pub name: PartName,
    pub monitor: &'a dyn Monitor,
}

/// A piece of metadata whose leaf is wanted.
struct Job {
    /// Complete items.
    bytes: Vec<u8>,
    /// Where they end.
    end: usize,
    done: Sender<Result<Built, &'static str>>,
}

/// A leaf that comes next.
enum Next {
    Building {
        built: Receiver<Result<Built, &'static str>>,
        key: LeafKey,
        after: [u8; 16],
    },
    Known {
        part: Arc<Part>,
        leaf: u32,
        key: LeafKey,
        copy: bool,
    },
    /// One that came before in this archive.
    Again {
        key: LeafKey,
    },
}

/// What the last piece of metadata ended with.
enum Rest {
    Bytes(Vec<u8>),
    /// It is kept with this leaf.
    Of(Arc<Part>, u32),
}

impl Source<'_> {
    /// Puts the archive together with `assembler`.
    ///
    /// # Errors
    /// When the metadata cannot be read, are none, or the list cannot be written.
    pub fn assemble(&self, assembler: Assembler) -> Result<(Assembly, Box<dyn BlobWriter>)> {
        let pieces = self.archive.metadata();
        let known = Known::of(self.earlier, pieces);
        let unknown = pieces.iter().filter(|id| !known.pieces.contains(&id.0)).take(FEW + 1).count();
        std::thread::scope(|scope| {
            let jobs = (unknown > FEW).then(|| {
                let (jobs, queue) = bounded::<Job>(AHEAD * workers::count());
                for _ in 0..workers::count() {
                    let (queue, hasher) = (queue.clone(), assembler.hasher());
                    scope.spawn(move || queue.into_iter().for_each(|job| self.work(job, &hasher)));
                }
                jobs
            });
            let mut assembling = Assembling {
                source: self,
                assembler,
                jobs,
                next: VecDeque::new(),
                rest: Rest::Bytes(Vec::new()),
                before: digest(&[]),
                nothing: digest(&[]),
                used: HashMap::new(),
                runs: HashMap::new(),
                large: None,
                last: None,
                memory: Budget::of_free_memory(),
            };
            assembling.all(&known)?;
            assembling.assembler.finish(self.earlier, self.name)
        })
    }

    fn work(&self, Job { bytes, end, done }: Job, hasher: &PathHasher) {
        let built = self.build(&bytes[..end]);
        let _ = done.send(built.map(|leaf| leaf.finish(&bytes[end..], hasher)));
    }

    fn sink(&self) -> LeafSink<'_> {
        let (repository, salvage) = (self.repository, self.salvage);
        LeafSink {
            repository,
            salvage,
            leaf: LeafBuilder::default(),
            content: Vec::new(),
            healthy: Vec::new(),
        }
    }

    fn build(&self, items: &[u8]) -> Result<LeafBuilder, &'static str> {
        let mut sink = self.sink();
        borg_repository::parse_items(items, &mut sink)?;
        Ok(sink.leaf)
    }

    fn broken(&self, why: &str) -> Error {
        Unreadable::integrity(format!("the items of the archive {}: {why}", self.archive.id)).into()
    }
}

/// Leaves of earlier archives.
struct Known {
    leaves: HashMap<LeafKey, (Arc<Part>, u32, bool)>,
    /// The pieces of metadata that they were made of.
    pieces: HashSet<[u8; 32]>,
}

impl Known {
    /// Those that the metadata `pieces` may have. The leaves of a part of which little is used are copied.
    fn of(earlier: &[Arc<Assembly>], pieces: &[Id]) -> Self {
        let wanted: HashSet<[u8; 32]> = pieces.iter().map(|id| id.0).collect();
        let mut parts: Vec<&Arc<Part>> = Vec::new();
        for part in earlier.iter().flat_map(|archive| &archive.parts) {
            if !parts.iter().any(|known| Arc::ptr_eq(known, part)) {
                parts.push(part);
            }
        }
        let matching = |part: &Part| part.leaves.iter().filter(|leaf| wanted.contains(&leaf.key.id)).count();
        let mut parts: Vec<_> = parts.into_iter().map(|part| (matching(part), part)).collect();
        parts.sort_by_key(|(matching, _)| std::cmp::Reverse(*matching));
        let mut known = Known { leaves: HashMap::new(), pieces: HashSet::new() };
        for (rank, (matching, part)) in parts.into_iter().enumerate() {
            let copy = rank >= PARTS || matching < part.leaves.len() / 2;
            for (number, leaf) in (0..).zip(&part.leaves).filter(|(_, leaf)| wanted.contains(&leaf.key.id)) {
                known.leaves.entry(leaf.key).or_insert_with(|| (Arc::clone(part), number, copy));
                known.pieces.insert(leaf.key.id);
            }
        }
        known
    }
}

struct Assembling<'a> {
    source: &'a Source<'a>,
    assembler: Assembler,
    /// `None` if there is too little to do for several threads.
    jobs: Option<Sender<Job>>,
    next: VecDeque<Next>,
    rest: Rest,
    /// The digest of the rest.
    before: [u8; 16],
    /// The digest of no rest.
    nothing: [u8; 16],
    /// The leaves of this archive, with what the piece of metadata ends with.
    used: HashMap<LeafKey, [u8; 16]>,
    /// Their runs, as far as they were added.
    runs: HashMap<LeafKey, Run>,
    /// An item that is longer than a piece.
    large: Option<(ItemParser, LeafSink<'a>)>,
    /// The last piece of a large item: an image that is mostly empty has many equal ones.
    last: Option<(Id, Vec<u8>)>,
    memory: Budget,
}

impl Assembling<'_> {
    fn all(&mut self, known: &Known) -> Result<()> {
        let pieces = self.source.archive.metadata();
        let mut at = 0;
        while at < pieces.len() {
            if self.reuse(&pieces[at], known)? || self.is_same_again(&pieces[at])? {
                at += 1;
                continue;
            }
            let mut wanted = HashSet::from([pieces[at]]);
            let unknown = |id: &&Id| !known.pieces.contains(&id.0) && wanted.insert(**id);
            let more = pieces[at + 1..].iter().take_while(unknown).count();
            self.read(&pieces[at..=at + more])?;
            at += 1 + more;
        }
        if self.large.is_some() || self.before != self.nothing {
            return Err(self.source.broken("the last item is truncated"));
        }
        self.take(0)
    }

    /// Uses the leaf of an earlier archive, if there is one.
    fn reuse(&mut self, id: &Id, known: &Known) -> Result<bool> {
        let key = LeafKey { id: id.0, before: self.before };
        if self.large.is_some() {
            return Ok(false);
        }
        // After it comes what came after it before, and with the same beginning only if that is empty.
        if let Some(after) = self.used.get(&key).filter(|after| **after == self.nothing) {
            self.before = *after;
            self.rest = Rest::Bytes(Vec::new());
            self.push(Next::Again { key })?;
            return Ok(true);
        }
        let Some((part, leaf, copy)) = known.leaves.get(&key).filter(|_| !self.used.contains_key(&key))
        else {
            return Ok(false);
        };
        let Some(record) = part.leaves.get(*leaf as usize) else { return Ok(false) };
        self.used.insert(key, record.after);
        self.before = record.after;
        self.rest = Rest::Of(Arc::clone(part), *leaf);
        self.push(Next::Known { part: Arc::clone(part), leaf: *leaf, key, copy: *copy })?;
        Ok(true)
    }

    /// Parses the last piece of a large item once more, if it comes again.
    fn is_same_again(&mut self, id: &Id) -> Result<bool> {
        match self.last.take().filter(|(last, _)| last == id && self.large.is_some()) {
            Some((id, piece)) => {
                self.go_on(&piece)?;
                self.last = Some((id, piece));
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// Reads pieces of metadata, and builds their leaves.
    fn read(&mut self, pieces: &[Id]) -> Result<()> {
        let repository = self.source.repository;
        let (mut failed, mut ids) = (None, pieces.iter());
        let read = repository.read_metadata(pieces, |bytes| {
            let Some(id) = ids.next() else { return Ok(()) };
            self.piece(id, bytes).map_err(|error| {
                failed = Some(error);
                Unreadable::integrity("the list of files was given up")
            })
        });
        match failed {
            Some(error) => Err(error),
            None => read.map_err(Error::from),
        }
    }

    fn piece(&mut self, id: &Id, piece: Vec<u8>) -> Result<()> {
        self.memory.check().map_err(|e| {
            Error::failed(format!("cannot read all items of the archive {}", self.source.archive.id))
                .because(e)
        })?;
        if self.large.is_some() {
            self.go_on(&piece)?;
            self.last = Some((*id, piece));
            return Ok(());
        }
        let mut bytes = match std::mem::replace(&mut self.rest, Rest::Bytes(Vec::new())) {
            Rest::Bytes(rest) => rest,
            Rest::Of(part, leaf) => part.leaf(leaf)?.rest.clone(),
        };
        bytes.extend_from_slice(&piece);
        let end = borg_repository::length_of_items(&bytes).map_err(|why| self.source.broken(why))?;
        if bytes.len() - end > LARGE {
            self.take(0)?;
            self.large = Some((ItemParser::default(), self.source.sink()));
            return self.go_on(&bytes);
        }
        let rest = bytes[end..].to_vec();
        let (before, after) = (self.before, digest(&rest));
        let mut key = LeafKey { id: id.0, before };
        if self.used.insert(key, after).is_some() {
            key = LeafKey::default();
        }
        self.rest = Rest::Bytes(rest);
        self.before = after;
        let (done, built) = bounded(1);
        let job = Job { bytes, end, done };
        match &self.jobs {
            Some(jobs) => {
                let gone = |_| self.source.broken("a thread that reads them panicked");
                jobs.send(job).map_err(gone)?;
            }
            None => self.source.work(job, &self.assembler.hasher()),
        }
        self.push(Next::Building { built, key, after })
    }

    /// Parses the next piece of a large item.
    fn go_on(&mut self, piece: &[u8]) -> Result<()> {
        let Some((mut parser, mut sink)) = self.large.take() else { return Ok(()) };
        parser.feed_to(piece, &mut sink).map_err(|why| self.source.broken(why))?;
        self.assembler.add_chunks(sink.leaf.take_full())?;
        if parser.is_in_large_item() {
            self.large = Some((parser, sink));
            return Ok(());
        }
        let rest = parser.into_pending();
        let after = digest(&rest);
        let built = sink.leaf.finish(&rest, &self.assembler.hasher());
        self.assembler.add(built, LeafKey::default(), after)?;
        self.rest = Rest::Bytes(rest);
        self.before = after;
        Ok(())
    }

    fn push(&mut self, next: Next) -> Result<()> {
        self.next.push_back(next);
        self.take(AHEAD * workers::count())
    }

    /// Takes leaves as they come, until `left` are on their way.
    fn take(&mut self, left: usize) -> Result<()> {
        while self.next.len() > left {
            match self.next.pop_front() {
                Some(Next::Building { built, key, after }) => {
                    let panicked = |_| self.source.broken("a thread that reads them panicked");
                    let built = built.recv().map_err(panicked)?.map_err(|why| self.source.broken(why))?;
                    self.assembler.add(built, key, after)?;
                    self.runs.extend(self.assembler.last_run().map(|run| (key, run)));
                }
                Some(Next::Known { part, leaf, key, copy }) => {
                    match copy {
                        true => self.assembler.copy(&part, leaf)?,
                        false => self.assembler.reuse(&part, leaf)?,
                    }
                    self.runs.extend(self.assembler.last_run().map(|run| (key, run)));
                }
                Some(Next::Again { key }) => {
                    if let Some(run) = self.runs.get(&key) {
                        self.assembler.again(*run);
                    }
                }
                None => return Ok(()),
            }
            self.source.monitor.progress(Progress::entries("files", self.assembler.items()));
        }
        Ok(())
    }
}

/// Gives items to the builder of a leaf.
struct LeafSink<'a> {
    repository: &'a Repository,
    salvage: bool,
    leaf: LeafBuilder,
    /// The two lists of an item, only for a salvage.
    content: Vec<Chunk>,
    healthy: Vec<Chunk>,
}

impl LeafSink<'_> {
    fn take(&mut self, chunk: &Chunk) -> Result<(), &'static str> {
        let zeros = self.repository.is_zero(chunk);
        self.leaf.chunk(chunk, zeros).ok_or("more chunks than can be counted")
    }
}

impl ItemSink for LeafSink<'_> {
    fn chunk(&mut self, chunk: Chunk, list: ListKind) -> Result<(), &'static str> {
        match (self.salvage, list) {
            (true, ListKind::Content) => self.content.push(chunk),
            (true, ListKind::Healthy) => self.healthy.push(chunk),
            (false, ListKind::Content) => return self.take(&chunk),
            (false, ListKind::Healthy) => {}
        }
        Ok(())
    }

    fn item(&mut self, item: Item) -> Result<(), &'static str> {
        let (content, healthy) = (std::mem::take(&mut self.content), std::mem::take(&mut self.healthy));
        let chunks = if healthy.is_empty() { content } else { healthy };
        chunks.iter().try_for_each(|chunk| self.take(chunk))?;
        self.leaf.add(&item);
        Ok(())
    }
}

fn digest(bytes: &[u8]) -> [u8; 16] {
    let mut digest = [0; 16];
    digest.copy_from_slice(&ring::digest::digest(&ring::digest::SHA256, bytes).as_ref()[..16]);
    digest
}
