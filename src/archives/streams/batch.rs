//! Reads many small files through one extract: borg outputs the files of a call one after the
//! other, in the order of the archive, and the listed sizes show where each ends.
//!
//! If a file were too short, all after it would be cut at the wrong place. So nothing of a batch is
//! used before the whole batch has exactly the listed number of bytes.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::context::Context;
use super::context::File;
use super::extract::Extract;
use crate::archive::tree::{ContentId, Tree};
use crate::archives::source::{FRAME, ReadError};
use crate::tools::borg;
use parking_lot::{Condvar, Mutex, MutexGuard};

/// Files up to this many bytes come in batches; a larger file has a stream of its own.
const SMALL: u64 = 1024 * 1024;
/// The most files in a batch.
const FILES: usize = 1000;
/// The most bytes in a batch; they stay in memory until it is complete.
const BYTES: u64 = 32 * 1024 * 1024;
/// The most bytes of paths on a command line (Linux takes about 2 MB, including the environment).
const ARGUMENTS: usize = 512 * 1024;
/// Reads this close to the last batch, counted in files of the archive, are a walk through the
/// tree.
const NEAR: ContentId = 5000;
/// How many files beyond its own directory the first batch of a walk has; each batch doubles it.
const STRIDE: usize = 16;

type Files = HashMap<ContentId, Arc<[u8]>>;

/// The batches of an archive.
pub struct Batches {
    context: Arc<Context>,
    directories: Directories,
    state: Mutex<BatchState>,
}

#[derive(Default)]
struct BatchState {
    /// The current batches, by each of their files.
    batches: HashMap<ContentId, Arc<Batch>>,
    /// Files that were wrong in a batch: each is fetched alone.
    alone: HashSet<ContentId>,
    walk: Walk,
}

/// A batch in progress; all readers of its files wait here.
struct Batch {
    done: Mutex<Option<Result<Arc<Files>, ReadError>>>,
    changed: Condvar,
}

/// Which small files are in the same directory.
struct Directories {
    /// The hash of a directory's path, and a content in it; sorted.
    by_directory: Vec<(u64, ContentId)>,
}

/// Whether the reader walks through the tree. Then a batch has more than one directory.
#[derive(Default)]
struct Walk {
    last: Option<ContentId>,
    ahead: usize,
}

impl Walk {
    fn step(&mut self, to: ContentId) -> usize {
        self.ahead = match self.last.replace(to) {
            Some(last) if last.abs_diff(to) < NEAR => (self.ahead * 2).clamp(STRIDE, FILES),
            _ => 0,
        };
        self.ahead
    }
}

impl Directories {
    fn new(tree: &Tree) -> Self {
        // A file that cannot be looked up now is fetched alone.
        let small = tree.contents().flatten().filter_map(|(id, _)| File::of(tree, id).ok().filter(is_small));
        let mut by_directory: Vec<_> = small.map(|file| (hash(&file.place.directory), file.id)).collect();
        by_directory.sort_unstable();
        Directories { by_directory }
    }

    /// The small files in the directory of `content`, in the order of the archive.
    fn siblings<'a>(&'a self, tree: &'a Tree, of: &'a File) -> impl Iterator<Item = ContentId> + 'a {
        let wanted = hash(&of.place.directory);
        let start = self.by_directory.partition_point(|(hash, _)| *hash < wanted);
        self.by_directory[start..]
            .iter()
            .take_while(move |(hash, _)| *hash == wanted)
            .map(|(_, id)| *id)
            .filter(move |id| {
                File::of(tree, *id).is_ok_and(|file| file.place.directory == of.place.directory)
            })
    }
}

impl Batches {
    pub fn new(context: Arc<Context>) -> Self {
        Batches { directories: Directories::new(&context.tree), context, state: Mutex::default() }
    }

    /// Whether this content comes in batches.
    pub fn takes(file: &File) -> bool {
        file.size <= SMALL && file.is_only_one()
    }

    /// All bytes of a small file.
    pub fn fetch(&self, id: ContentId) -> Result<Arc<[u8]>, ReadError> {
        let context = &self.context;
        let size = context.file(id)?.size;
        let (batch, members) = {
            let mut state = self.state();
            if let Some(batch) = state.batches.get(&id).cloned() {
                drop(state);
                return batch.wait(id);
            }
            // A batch may have ended after the reader looked into the cache.
            if let Some(bytes) = context.sink.get(id, 0..size) {
                return Ok(bytes.into());
            }
            let members = self.members(&mut state, id)?;
            let batch = Arc::new(Batch { done: Mutex::new(None), changed: Condvar::new() });
            for member in &members {
                state.batches.insert(*member, Arc::clone(&batch));
            }
            (batch, members)
        };
        let result = run(context, &members).map(Arc::new);
        self.note(&members, &result);
        batch.finish(result);
        match batch.wait(id) {
            // One bad file must not spoil its whole directory.
            Err(ReadError::Incomplete(_)) if members.len() > 1 => self.fetch(id),
            result => result,
        }
    }

    fn members(&self, state: &mut BatchState, id: ContentId) -> Result<Vec<ContentId>, ReadError> {
        let ahead = state.walk.step(id);
        if state.alone.contains(&id) {
            return Ok(vec![id]);
        }
        let mut members = choose(&self.context, &self.directories, id, ahead)?;
        members.retain(|m| *m == id || !(state.alone.contains(m) || state.batches.contains_key(m)));
        Ok(members)
    }

    /// Called when a batch of `members` has ended.
    fn note(&self, members: &[ContentId], result: &Result<Arc<Files>, ReadError>) {
        let mut state = self.state();
        for member in members {
            state.batches.remove(member);
        }
        let wrong = matches!(result, Err(ReadError::Incomplete(_) | ReadError::Failed(_)));
        if wrong && members.len() > 1 {
            state.alone.extend(members);
        }
    }

    fn state(&self) -> MutexGuard<'_, BatchState> {
        self.state.lock()
    }
}

/// The files of a batch for `id`, in the order of the archive: those of its directory, and `ahead`
/// files after it.
fn choose(
    context: &Context,
    directories: &Directories,
    id: ContentId,
    ahead: usize,
) -> Result<Vec<ContentId>, ReadError> {
    let file = context.file(id)?;
    let siblings: Vec<ContentId> = directories.siblings(&context.tree, &file).collect();
    let here = siblings.partition_point(|s| *s < id);
    let following = (id + 1..context.tree.archive().items()).take(4 * ahead);
    // First the files from this one on, then those before it in the directory, then those that
    // follow in the archive.
    let in_directory = siblings[here..].iter().chain(siblings[..here].iter().rev()).copied();
    let is_wanted = |c: &ContentId| {
        context.file(*c).is_ok_and(|file| is_small(&file) && !context.sink.has_all(*c, file.size))
    };
    let candidates = in_directory.chain(following).filter(is_wanted);
    let mut room =
        Room { files: siblings.len().max(ahead).clamp(1, FILES), bytes: BYTES, arguments: ARGUMENTS };
    let mut chosen = BTreeSet::new();
    for candidate in std::iter::once(id).chain(candidates) {
        if chosen.contains(&candidate) {
            continue;
        }
        if !room.take(&context.file(candidate)?) {
            break;
        }
        chosen.insert(candidate);
    }
    // A name that is longer than the limit is tried anyway.
    chosen.insert(id);
    Ok(chosen.into_iter().collect())
}

struct Room {
    files: usize,
    bytes: u64,
    arguments: usize,
}

impl Room {
    fn take(&mut self, file: &File) -> bool {
        let argument = borg::argument_length(&borg::exact_path(&file.place.path()));
        if self.files == 0 || self.bytes < file.size || self.arguments < argument {
            return false;
        }
        self.files -= 1;
        self.bytes -= file.size;
        self.arguments -= argument;
        true
    }
}

/// Streams the files and divides them.
fn run(context: &Context, members: &[ContentId]) -> Result<Files, ReadError> {
    let slot = context.slots.acquire()?;
    let wanted = members.iter().map(|m| context.file(*m)).collect::<Result<Vec<File>, _>>()?;
    let expected: u64 = wanted.iter().map(|c| c.size).sum();
    let mut extract = Extract::start(context, &wanted)?;
    // One byte more than expected would show an excess.
    let mut bytes = vec![0; expected as usize + 1];
    let mut got = 0;
    while got < bytes.len() {
        match extract.read(&mut bytes[got..], || slot.ending())? {
            0 => break,
            n => got += n,
        }
    }
    extract.judge(got as u64, expected)?;
    let mut files = Files::with_capacity(members.len());
    let mut rest = &bytes[..];
    for (member, content) in members.iter().zip(wanted) {
        let (file, after) = rest.split_at(content.size as usize);
        rest = after;
        for (at, frame) in (0..).step_by(FRAME as usize).zip(file.chunks(FRAME as usize)) {
            context.sink.put(*member, at, frame);
        }
        files.insert(*member, file.into());
    }
    Ok(files)
}

impl Batch {
    fn finish(&self, result: Result<Arc<Files>, ReadError>) {
        *self.done.lock() = Some(result);
        self.changed.notify_all();
    }

    /// Waits for the batch. Whoever runs it obeys the limits, so the wait ends.
    fn wait(&self, id: ContentId) -> Result<Arc<[u8]>, ReadError> {
        let mut done = self.done.lock();
        loop {
            match &*done {
                Some(Ok(files)) => {
                    let file = files.get(&id).cloned();
                    return file.ok_or_else(|| ReadError::Failed("the batch is without the file".into()));
                }
                Some(Err(e)) => return Err(e.clone()),
                None => self.changed.wait(&mut done),
            }
        }
    }
}

fn is_small(file: &File) -> bool {
    (1..=SMALL).contains(&file.size) && !file.damaged && file.is_only_one()
}

fn hash(bytes: &[u8]) -> u64 {
    use std::hash::{DefaultHasher, Hasher};
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::tree::{TreeBuilder, View};
    use borg_repository::{Item, ItemPath};

    fn tree(files: &[(&str, u64)]) -> Tree {
        let mut builder = TreeBuilder::new(View::default(), 0);
        for (path, size) in files {
            let path = ItemPath::new(path.as_bytes()).unwrap();
            builder.add(&Item { size: *size, ..Item::new(path, libc::S_IFREG | 0o644) });
        }
        builder.finish().unwrap()
    }

    #[test]
    fn siblings_are_those_of_the_same_directory_and_small() {
        let tree = tree(&[
            ("a/x", 5),
            ("ab/x", 5),
            ("a/b/x", 5),
            ("a/y", 5),
            ("a/big", SMALL + 1),
            ("a/empty", 0),
            ("top", 1),
        ]);
        let directories = Directories::new(&tree);
        let file = |id| File::of(&tree, id).unwrap();
        let siblings_of = |id| directories.siblings(&tree, &file(id)).collect::<Vec<_>>();
        assert_eq!(siblings_of(0), [0, 3]);
        assert_eq!(siblings_of(6), [6]);
    }

    #[test]
    fn only_a_walk_reads_ahead_of_the_directory() {
        let mut walk = Walk::default();
        assert_eq!(walk.step(10), 0);
        assert_eq!([walk.step(20), walk.step(15), walk.step(90)], [16, 32, 64]);
        assert_eq!(walk.step(90 + NEAR), 0);
    }
}
