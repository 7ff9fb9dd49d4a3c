//! A repository in a directory, read without its lock.
//!
//! Segments are only appended to, and compaction commits the copy of an object before it removes
//! the original. So an object that is not where the index says is looked up once more in the newest
//! state of the repository. If it is not there either, it was deleted.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use lru::LruCache;
use nix::sys::resource::{Resource, getrlimit};
use zeroize::Zeroizing;

use super::config::Config;
use super::error::{Error, Result};
use super::id::Id;
use super::index::{Index, Place};
use super::segment::{self, Change, Fault, Header, PUT_HEADER, Tag};
use super::store::{Object, Pending, Store};

/// The number of segments that are kept open, if the system allows so many.
const OPEN_SEGMENTS: usize = 90;
/// The operation in errors of the index.
const INDEX: &str = "read the index";
/// How often the state is read again if it changes meanwhile.
const ATTEMPTS: u32 = 10;

/// A repository in a directory.
pub struct Local {
    files: Files,
    config: Config,
    state: Mutex<Arc<RepositoryState>>,
    open: Mutex<LruCache<u32, Arc<File>>>,
}

/// The places of objects in one state of the repository.
struct RepositoryState {
    index: Option<Index>,
    /// What was written after the index; `None` for deleted objects.
    since: HashMap<Id, Option<Place>>,
    seen: Seen,
}

/// While this is the same, nothing was committed, and no writer that had committed before removed a
/// segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    index: Option<u32>,
    last_segment: Option<u32>,
    last_length: u64,
}

impl Local {
    /// Opens the repository in `dir`.
    ///
    /// # Errors
    /// `NoRepository` when there is none, `Unsupported` when it is not of borg 1.x.
    pub fn open(dir: &Path) -> Result<Self> {
        let path = dir.join("config");
        let text = match std::fs::read_to_string(&path) {
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Err(Error::NoRepository(format!("no config in {}", dir.display())));
            }
            text => Zeroizing::new(text.map_err(Error::io(format!("read {}", path.display())))?),
        };
        let config = Config::parse(&text)?;
        let files = Files { dir: dir.to_owned(), per_dir: config.segments_per_dir };
        let state = Mutex::new(Arc::new(files.state(Trust::Index)?));
        Ok(Local { files, config, state, open: Mutex::new(LruCache::new(open_segments())) })
    }

    fn state(&self) -> Arc<RepositoryState> {
        Arc::clone(&self.state.lock().unwrap_or_else(|e| e.into_inner()))
    }

    /// Reads the state again if it is no longer `old`, or if `cannot_be_read` is set. Returns false
    /// if nothing has changed.
    fn renew(&self, old: &Arc<RepositoryState>, cannot_be_read: bool) -> Result<bool> {
        let mut state = self.state.lock().unwrap_or_else(|e| e.into_inner());
        if !Arc::ptr_eq(&state, old) {
            return Ok(true);
        }
        if !cannot_be_read && self.files.seen().map_err(Error::io(self.files.listing()))? == old.seen {
            return Ok(false);
        }
        self.open_segments().clear();
        *state = Arc::new(self.files.state(Trust::Index)?);
        Ok(true)
    }

    fn open_segments(&self) -> MutexGuard<'_, LruCache<u32, Arc<File>>> {
        self.open.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Replaces the index by what the segments say if it is damaged. Returns false if it is not.
    fn replace_damaged_index(&self, old: &Arc<RepositoryState>) -> Result<bool> {
        let mut state = self.state.lock().unwrap_or_else(|e| e.into_inner());
        if !Arc::ptr_eq(&state, old) {
            return Ok(true);
        }
        match &old.index {
            Some(index) if !index.is_whole().map_err(Error::io(INDEX))? => {
                *state = Arc::new(self.files.state(Trust::Segments)?);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn get(&self, id: Id, length: Option<u32>, mut buffer: Vec<u8>) -> Result<Object> {
        let (mut renewed, mut doubted) = (false, false);
        loop {
            let state = self.state();
            let error = match self.get_from(&state, id, length, &mut buffer) {
                Ok(length) => return Ok(Object { buffer, range: PUT_HEADER..PUT_HEADER + length }),
                Err(error) => error,
            };
            let stale = matches!(&error, Error::Io { what, .. } if what == INDEX);
            if !renewed && self.renew(&state, stale)? {
                renewed = true;
            } else if !doubted && error.is_damage() && self.replace_damaged_index(&state)? {
                doubted = true;
            } else {
                return Err(error);
            }
        }
    }

    /// Reads the entry of `id` into `buffer`, which only grows. Returns the length of the object.
    fn get_from(
        &self,
        state: &RepositoryState,
        id: Id,
        length: Option<u32>,
        buffer: &mut Vec<u8>,
    ) -> Result<usize> {
        let place = state.find(&id).map_err(Error::io(INDEX))?.ok_or(Error::NotFound(id))?;
        let at = || format!("object {id}, segment {}, offset {}", place.segment, place.offset);
        let thought = length.unwrap_or(0).min(segment::LARGEST_OBJECT as u32) as usize + PUT_HEADER;
        let entry = match self.entry(place, thought, buffer) {
            // After a file system was away, its files must be opened again; and after too many open
            // files, there are fewer now.
            Err(e) if e.kind() != ErrorKind::NotFound => {
                self.open_segments().clear();
                self.entry(place, thought, buffer)
            }
            entry => entry,
        };
        let (filled, header) = match entry {
            Err(e) if e.kind() == ErrorKind::NotFound => return Err(Error::NotFound(id)),
            entry => entry.map_err(Error::io(format!("read {}", at())))?,
        };
        let header = header.map_err(|why| Error::integrity(format!("{}: {why}", at())))?;
        let size = header.size as usize;
        if filled < size {
            return Err(Error::integrity(format!("{}: a truncated entry", at())));
        }
        let entry = &buffer[..size];
        if header.tag != Tag::Put || entry[segment::HEADER..PUT_HEADER] != id.0 {
            return Err(Error::integrity(format!("{}: another object is there", at())));
        }
        if !header.fits(entry) {
            return Err(Error::integrity(format!("{}: wrong checksum", at())));
        }
        Ok(size - PUT_HEADER)
    }

    /// Reads the entry at `place`, which may have this length, into `buffer`. Returns how many
    /// bytes there were, and the header.
    fn entry(
        &self,
        place: Place,
        thought: usize,
        buffer: &mut Vec<u8>,
    ) -> io::Result<(usize, Result<Header, &'static str>)> {
        let file = self.segment(place.segment)?;
        let mut filled = fill(&file, place, buffer, 0, thought)?;
        let header = match buffer[..filled].first_chunk() {
            Some(bytes) => Header::parse(bytes),
            None => Err("a truncated entry"),
        };
        if let Ok(header) = &header
            && filled < header.size as usize
            && filled == thought
        {
            filled = fill(&file, place, buffer, filled, header.size as usize)?;
        }
        Ok((filled, header))
    }

    fn segment(&self, number: u32) -> io::Result<Arc<File>> {
        if let Some(file) = self.open_segments().get(&number) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(File::open(self.files.segment(number))?);
        self.open_segments().put(number, Arc::clone(&file));
        Ok(file)
    }
}

impl Store for Local {
    fn id(&self) -> Id {
        self.config.id
    }

    fn key(&self) -> Result<Zeroizing<String>> {
        Ok(self.config.key.clone().unwrap_or_default())
    }

    fn request(self: Arc<Self>, id: Id, length: Option<u32>) -> Box<dyn Pending> {
        Box::new(Lookup { local: self, id, length })
    }

    fn refresh(&self) -> Result<()> {
        self.renew(&self.state(), false).map(drop)
    }
}

/// A request that is read when somebody waits for it.
struct Lookup {
    local: Arc<Local>,
    id: Id,
    length: Option<u32>,
}

impl Pending for Lookup {
    fn wait(self: Box<Self>, buffer: Vec<u8>) -> Result<Object> {
        self.local.get(self.id, self.length, buffer)
    }
}

/// Reads the bytes `from..to` of the entry at `place` to the same positions in `buffer`. Returns
/// where they end: before `to` only at the end of the file.
fn fill(file: &File, place: Place, buffer: &mut Vec<u8>, from: usize, to: usize) -> io::Result<usize> {
    if buffer.len() < to {
        buffer.resize(to, 0);
    }
    let mut at = from;
    while at < to {
        match file.read_at(&mut buffer[at..to], u64::from(place.offset) + at as u64) {
            Ok(0) => break,
            Ok(n) => at += n,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(at)
}

impl RepositoryState {
    fn find(&self, id: &Id) -> io::Result<Option<Place>> {
        match (self.since.get(id), &self.index) {
            (Some(place), _) => Ok(*place),
            (None, Some(index)) => index.find(id),
            (None, None) => Ok(None),
        }
    }
}

/// Where the places of objects are taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// The index, and the segments after it.
    Index,
    /// All segments, because the index is damaged.
    Segments,
}

/// The reason why the state could not be read.
enum Interrupted {
    /// A file disappeared meanwhile.
    Changed,
    Failed(Error),
}

impl From<Error> for Interrupted {
    fn from(error: Error) -> Self {
        match &error {
            Error::Io { cause, .. } if cause.kind() == ErrorKind::NotFound => Interrupted::Changed,
            _ => Interrupted::Failed(error),
        }
    }
}

/// The files of a repository.
struct Files {
    dir: PathBuf,
    per_dir: u32,
}

impl Files {
    fn listing(&self) -> String {
        format!("list {}", self.dir.display())
    }

    fn segment(&self, number: u32) -> PathBuf {
        self.dir.join("data").join((number / self.per_dir).to_string()).join(number.to_string())
    }

    fn seen(&self) -> io::Result<Seen> {
        let prefixed = |name: &str| name.strip_prefix("index.").and_then(|n| n.parse().ok());
        let index = numbers(&self.dir, prefixed)?.into_iter().max();
        let last_segment = self.segments_from(0, 1)?.pop();
        let last_length = match last_segment {
            Some(n) => std::fs::metadata(self.segment(n)).map_or(0, |m| m.len()),
            None => 0,
        };
        Ok(Seen { index, last_segment, last_length })
    }

    /// The numbers of the segments from `first` on, sorted; at least the last `wanted` of them.
    fn segments_from(&self, first: u32, wanted: usize) -> io::Result<Vec<u32>> {
        let data = self.dir.join("data");
        let mut directories = numbers(&data, |name| name.parse::<u32>().ok())?;
        directories.sort_unstable();
        let mut segments = Vec::new();
        while let Some(directory) = directories.pop() {
            if directory < first / self.per_dir || segments.len() >= wanted {
                break;
            }
            let mut found = match numbers(&data.join(directory.to_string()), |name| name.parse::<u32>().ok())
            {
                Err(e) if e.kind() == ErrorKind::NotFound => Vec::new(),
                found => found?,
            };
            found.retain(|n| *n >= first && n / self.per_dir == directory);
            segments.append(&mut found);
        }
        segments.sort_unstable();
        Ok(segments)
    }

    fn state(&self, trust: Trust) -> Result<RepositoryState> {
        for _ in 0..ATTEMPTS {
            match self.try_state(trust) {
                Ok(state) => return Ok(state),
                Err(Interrupted::Changed) => {}
                Err(Interrupted::Failed(error)) => return Err(error),
            }
        }
        Err(Error::NoRepository(format!("{} changes while it is read", self.dir.display())))
    }

    fn try_state(&self, trust: Trust) -> Result<RepositoryState, Interrupted> {
        let seen = self.seen().map_err(Error::io(self.listing()))?;
        let index = match seen.index.filter(|_| trust == Trust::Index) {
            Some(n) => Index::open(&self.dir, n).map_err(Error::io(format!("read index.{n}")))?,
            None => None,
        };
        let first = match (&index, seen.index) {
            (Some(_), Some(n)) => n.saturating_add(1),
            _ => 0,
        };
        let since = self.replay(first)?;
        Ok(RepositoryState { index, since, seen })
    }

    /// What the committed segments from `first` on wrote and deleted.
    fn replay(&self, first: u32) -> Result<HashMap<Id, Option<Place>>> {
        let mut segments = self.segments_from(first, usize::MAX).map_err(Error::io(self.listing()))?;
        while let Some(last) = segments.last()
            && !is_committed(&self.segment(*last)).map_err(Error::io(format!("read segment {last}")))?
        {
            segments.pop();
        }
        let mut since = HashMap::new();
        for number in segments {
            let file =
                File::open(self.segment(number)).map_err(Error::io(format!("open segment {number}")))?;
            let walked = segment::walk(file, |change| match change {
                Change::Put { id, offset } => {
                    since.insert(id, Some(Place { segment: number, offset }));
                }
                Change::Delete { id } => {
                    since.insert(id, None);
                }
            });
            walked.map_err(|fault| unwalkable(number, fault))?;
        }
        Ok(since)
    }
}

/// At most a quarter of the files that the system allows.
fn open_segments() -> NonZeroUsize {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(OPEN_SEGMENTS, |(soft, _)| soft as usize / 4);
    NonZeroUsize::new(limit.min(OPEN_SEGMENTS)).unwrap_or(NonZeroUsize::MIN)
}

fn unwalkable(number: u32, fault: Fault) -> Error {
    match fault {
        Fault::Io(cause) => Error::Io { what: format!("read segment {number}"), cause },
        Fault::Broken(why) => Error::integrity(format!("segment {number}: {why}")),
        Fault::Attic => Error::unsupported("a repository of Attic"),
    }
}

/// Whether the segment ends with a commit.
fn is_committed(path: &Path) -> io::Result<bool> {
    let file = File::open(path)?;
    let mut end = [0; segment::COMMIT.len()];
    match file.metadata()?.len().checked_sub(end.len() as u64) {
        None => return Ok(false),
        Some(at) => file.read_exact_at(&mut end, at)?,
    }
    Ok(end == segment::COMMIT)
}

/// The numbers that `number` returns for the names in `dir`.
fn numbers(dir: &Path, number: impl Fn(&str) -> Option<u32>) -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        found.extend(entry?.file_name().to_str().and_then(&number));
    }
    Ok(found)
}
