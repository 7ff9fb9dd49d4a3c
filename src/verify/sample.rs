//! Chooses the part of a repository's chunks that is checked this time, so that all are checked in
//! time.
//!
//! Chunks are checked in the order of their ids, whatever the archive: an archive shares most
//! chunks with the one of the day before, and those need not be checked again. So only the end of
//! the last check must be remembered. New chunks with lower ids are checked in the next round.

use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use borg_repository::{Chunk, Id};

use crate::directories;
use crate::error::{Error, Result};

/// A subdirectory of the cache directory.
const DIRECTORY: &str = "verified";

/// Where the last check of some paths of a repository ended.
pub struct Mark {
    file: PathBuf,
    /// `None` if a round begins.
    after: Option<Id>,
}

/// The chunks of one check.
pub struct Sample {
    pub chunks: Vec<Chunk>,
    /// They are the last of the round.
    pub is_last: bool,
}

impl Mark {
    /// The mark for `what` (such as a hash of the paths) in the repository with this id.
    ///
    /// # Errors
    /// When there is no cache directory, or the mark cannot be read.
    pub fn load(repository: &Id, what: &str) -> Result<Self> {
        Self::in_directory(directories::cache_dir()?.join(DIRECTORY), repository, what)
    }

    fn in_directory(directory: PathBuf, repository: &Id, what: &str) -> Result<Self> {
        let file = directory.join(format!("{repository}{what}"));
        let after = match std::fs::read_to_string(&file) {
            // An invalid mark begins a round, which does no harm.
            Ok(text) => Id::from_hex(text.trim()),
            Err(e) if e.kind() == ErrorKind::NotFound => None,
            Err(e) => return Err(Error::failed(format!("cannot read {}", file.display())).because(e)),
        };
        Ok(Mark { file, after })
    }

    /// The next of `chunks`, which are sorted by id, after the mark: `percent` of the bytes of all,
    /// but at least one chunk.
    pub fn sample(&self, chunks: &[Chunk], percent: f64) -> Sample {
        let total: u64 = chunks.iter().map(|chunk| u64::from(chunk.size)).sum();
        let wanted = total as f64 * percent / 100.0;
        let first = self.after.map_or(0, |after| chunks.partition_point(|chunk| chunk.id <= after));
        // All chunks that the last round missed are new: a new round begins with them.
        let first = if first == chunks.len() { 0 } else { first };
        let mut bytes = 0;
        let taken = chunks[first..].iter().take_while(|chunk| {
            let more = bytes == 0 || (bytes as f64) < wanted;
            bytes += u64::from(chunk.size);
            more
        });
        let chunks_taken: Vec<Chunk> = taken.copied().collect();
        let is_last = first + chunks_taken.len() == chunks.len();
        Sample { chunks: chunks_taken, is_last }
    }

    /// Saves that `sample` was checked, and was correct.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn advance(&self, sample: &Sample) -> Result<()> {
        let after = sample.chunks.last().filter(|_| !sample.is_last).map(|chunk| chunk.id);
        let to_error =
            |e: io::Error| Error::failed(format!("cannot write {}", self.file.display())).because(e);
        let Some(after) = after else {
            return match std::fs::remove_file(&self.file) {
                Err(e) if e.kind() != ErrorKind::NotFound => Err(to_error(e)),
                _ => Ok(()),
            };
        };
        self.file.parent().map_or(Ok(()), directories::make_private)?;
        let new = self.file.with_extension("new");
        let mut options = std::fs::File::options();
        let written = options.write(true).create(true).truncate(true).mode(0o600).open(&new);
        written.and_then(|mut file| writeln!(file, "{after}")).map_err(to_error)?;
        std::fs::rename(&new, &self.file).map_err(to_error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn chunk(first: u8, size: u32) -> Chunk {
        let mut id = [0; 32];
        id[0] = first;
        Chunk { id: Id(id), size, stored: size }
    }

    fn mark(dir: &tempfile::TempDir) -> Mark {
        Mark::in_directory(dir.path().join("verified"), &Id([7; 32]), "").unwrap()
    }

    #[test]
    fn no_chunk_is_looked_at_twice_until_all_were_and_then_it_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let chunks: Vec<Chunk> = (0..50).map(|n| chunk(n * 5, 1 + u32::from(n % 7))).collect();
        for percent in [0.01, 7.0, 30.0, 100.0] {
            for _ in 0..2 {
                let mut seen: HashMap<Id, u32> = HashMap::new();
                loop {
                    let mark = mark(&dir);
                    let sample = mark.sample(&chunks, percent);
                    assert!(!sample.chunks.is_empty());
                    sample.chunks.iter().for_each(|chunk| *seen.entry(chunk.id).or_default() += 1);
                    mark.advance(&sample).unwrap();
                    if sample.is_last {
                        break;
                    }
                }
                assert_eq!((seen.len(), seen.values().max()), (50, Some(&1)), "{percent}");
            }
        }
    }

    #[test]
    fn a_sample_has_as_many_bytes_as_were_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let chunks: Vec<Chunk> = (0..100).map(|n| chunk(n, 10)).collect();
        assert_eq!(mark(&dir).sample(&chunks, 20.0).chunks.len(), 20);
        assert_eq!(mark(&dir).sample(&chunks, 0.0).chunks.len(), 1);
        assert!(mark(&dir).sample(&[], 50.0).is_last);
    }

    #[test]
    fn what_came_between_two_looks_does_not_make_any_be_seen_twice() {
        let dir = tempfile::tempdir().unwrap();
        let mut chunks: Vec<Chunk> = (0..10).map(|n| chunk(n * 10, 10)).collect();
        let first = mark(&dir).sample(&chunks, 50.0);
        mark(&dir).advance(&first).unwrap();
        chunks.insert(1, chunk(5, 10));
        chunks.push(chunk(95, 10));
        let second = mark(&dir).sample(&chunks, 100.0);
        assert_eq!(second.chunks.len(), 6);
        assert!(second.is_last && first.chunks.iter().all(|chunk| !second.chunks.contains(chunk)));
    }
}
