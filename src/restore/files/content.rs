//! The bytes of the archive's files, and whether a file here has them.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use crate::archive::tree::ContentId;
use crate::archives::batches;
use crate::archives::contents::{Contents, Piece};
use crate::archives::open_archive::OpenArchive;
use crate::archives::reader::Reader;
use crate::archives::source::ReadError;
use crate::error::{Error, Kind, Result};
use crate::process::interrupt;
use crate::tools::target::runs::is_zero;

/// Memory for what streams pass by, in bytes.
const STREAMED: u64 = 128 << 20;
/// Bytes of a stream that are taken at once.
const STEP: u64 = 4 << 20;
/// Files up to this size are compared several at once, in bytes.
pub const SMALL: u64 = 1 << 20;

/// Where the bytes of the archive's files come from.
pub enum Content {
    Chunks(Contents),
    /// Only borg can read it.
    Stream(Stream),
}

pub struct Stream {
    reader: Reader,
    archive: String,
}

/// A file of the archive.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    pub content: ContentId,
    /// Number of the item that has its bytes.
    pub item: u32,
    /// Bytes.
    pub size: u64,
}

/// Pieces of files, one after the other in memory that is used again.
#[derive(Default)]
pub struct Buffers {
    /// Longer than what is used of it, so that it need not be filled again.
    bytes: Vec<u8>,
    used: usize,
    places: Vec<Range<usize>>,
}

impl Buffers {
    /// Forgets all pieces.
    pub fn clear(&mut self) {
        self.used = 0;
        self.places.clear();
    }

    /// Adds the bytes `range` of `file` as the piece `n`; `None` where it is shorter, or they cannot
    /// be read.
    pub fn read<'b>(&'b mut self, n: usize, file: &File, range: &Range<u64>) -> Option<&'b [u8]> {
        let place = self.used..self.used + usize::try_from(range.end - range.start).ok()?;
        if self.bytes.len() < place.end {
            self.bytes.resize(place.end, 0);
        }
        file.read_exact_at(&mut self.bytes[place.clone()], range.start).ok()?;
        self.used = place.end;
        if self.places.len() <= n {
            self.places.resize(n + 1, 0..0);
        }
        self.places[n] = place;
        Some(self.get(n))
    }

    /// The piece `n`; empty if it was not read.
    pub fn get(&self, n: usize) -> &[u8] {
        self.places.get(n).map_or(&[], |place| &self.bytes[place.clone()])
    }

    /// The same bytes, but no piece.
    fn peek<'b>(&'b mut self, file: &File, range: &Range<u64>) -> Option<&'b [u8]> {
        let (used, pieces) = (self.used, self.places.len());
        let is_read = self.read(pieces, file, range).is_some();
        let place = used..self.used;
        self.used = used;
        self.places.truncate(pieces);
        is_read.then(|| &self.bytes[place])
    }
}

impl Content {
    /// Of an archive; with `salvage` what `borg check --repair` missed is lost, and not zeros.
    ///
    /// # Errors
    /// When the archive's metadata cannot be read, or there is no memory.
    pub fn of(archived: &OpenArchive, salvage: bool) -> Result<Self> {
        Ok(match archived.contents() {
            Some(contents) if salvage && archived.tree.has_damaged() => {
                Content::Chunks(contents.salvaging()?)
            }
            Some(contents) => Content::Chunks(contents),
            None => {
                let archive = archived.archive.name.clone();
                Content::Stream(Stream { reader: archived.reader(STREAMED)?, archive })
            }
        })
    }

    /// Whether each of the files has the bytes that are wanted of it.
    ///
    /// # Errors
    /// When the archive cannot be read.
    pub fn are_same(&self, files: &[(&File, Wanted)], buffers: &mut Buffers) -> Result<Vec<bool>> {
        let contents = match self {
            Content::Chunks(contents) => contents,
            Content::Stream(stream) => {
                return files.iter().map(|(file, wanted)| stream.is_same(file, *wanted, buffers)).collect();
            }
        };
        let mut same = vec![true; files.len()];
        let mut small: Vec<(usize, Piece)> = Vec::new();
        for (n, (file, wanted)) in files.iter().enumerate().filter(|(_, (_, wanted))| wanted.size > SMALL) {
            same[n] = first_difference(contents, file, *wanted, buffers)?.is_none();
        }
        buffers.clear();
        for (n, (file, wanted)) in files.iter().enumerate().filter(|(_, (_, wanted))| wanted.size <= SMALL) {
            for piece in contents.pieces(wanted.item, wanted.size) {
                let piece = piece?;
                match buffers.read(small.len(), file, &piece.range) {
                    Some(bytes) if piece.chunk.is_some() || is_zero(bytes) => small.push((n, piece)),
                    _ => same[n] = false,
                }
            }
        }
        let listed: Vec<_> = small
            .iter()
            .enumerate()
            .filter_map(|(at, (n, piece))| Some((*n, (piece.chunk?, buffers.get(at)))))
            .collect();
        let pieces: Vec<_> = listed.iter().map(|(_, piece)| *piece).collect();
        for ((n, _), is_right) in listed.iter().zip(contents.matches(&pieces)) {
            same[*n] &= is_right;
        }
        Ok(same)
    }
}

/// The first piece that `file` does not have.
fn first_difference(
    contents: &Contents,
    file: &File,
    wanted: Wanted,
    buffers: &mut Buffers,
) -> Result<Option<Piece>> {
    let mut found = None;
    each_batch(contents, wanted, |batch| {
        let right = which_are_right(contents, file, &batch, buffers);
        found = batch.into_iter().zip(right).find(|(_, is_right)| !is_right).map(|(piece, _)| piece);
        Ok(found.is_none())
    })?;
    Ok(found)
}

/// Gives the pieces of a file to `each`, some at once, until it returns false.
///
/// # Errors
/// When the list of chunks ends before the file; those of `each`; on a signal.
pub fn each_batch(
    contents: &Contents,
    wanted: Wanted,
    mut each: impl FnMut(Vec<Piece>) -> Result<bool>,
) -> Result<()> {
    let mut pieces = contents.pieces(wanted.item, wanted.size).peekable();
    while pieces.peek().is_some() {
        interrupt::check()?;
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < batches::CHUNKS && bytes < batches::BYTES {
            let Some(piece) = pieces.next().transpose()? else { break };
            bytes += piece.chunk.map_or(0, |_| piece.length());
            batch.push(piece);
        }
        if !each(batch)? {
            return Ok(());
        }
    }
    Ok(())
}

/// Which of the pieces `file` has. Their bytes are in `buffers` then, each at the number of its piece.
pub fn which_are_right(
    contents: &Contents,
    file: &File,
    pieces: &[Piece],
    buffers: &mut Buffers,
) -> Vec<bool> {
    buffers.clear();
    let mut right = vec![false; pieces.len()];
    let mut to_hash = Vec::new();
    for (n, piece) in pieces.iter().enumerate() {
        match piece.chunk {
            None => right[n] = is_hole(file, &piece.range, buffers),
            Some(chunk) => to_hash.extend(buffers.read(n, file, &piece.range).map(|_| (n, chunk))),
        }
    }
    let listed: Vec<_> = to_hash.iter().map(|(n, chunk)| (*chunk, buffers.get(*n))).collect();
    for ((n, _), is_right) in to_hash.iter().zip(contents.matches(&listed)) {
        right[*n] = is_right;
    }
    right
}

/// Whether `range` of `file` is nothing but zeros. Long ones are read part by part.
fn is_hole(file: &File, range: &Range<u64>, buffers: &mut Buffers) -> bool {
    let mut at = range.start;
    while at < range.end {
        let end = range.end.min(at + STEP);
        if !buffers.peek(file, &(at..end)).is_some_and(is_zero) {
            return false;
        }
        at = end;
    }
    true
}

impl Stream {
    fn is_same(&self, file: &File, wanted: Wanted, buffers: &mut Buffers) -> Result<bool> {
        let mut same = file.metadata().is_ok_and(|meta| meta.len() == wanted.size);
        if same {
            self.each(wanted, |at, bytes| {
                let here = buffers.peek(file, &(at..at + bytes.len() as u64));
                same = here.is_some_and(|here| here == bytes);
                Ok(same)
            })?;
        }
        Ok(same)
    }

    /// Gives the bytes of a file to `each`, with where they stand, until it returns false.
    ///
    /// # Errors
    /// When they do not come, and those of `each`.
    pub fn each(&self, wanted: Wanted, mut each: impl FnMut(u64, &[u8]) -> Result<bool>) -> Result<()> {
        let mut at = 0;
        while at < wanted.size {
            interrupt::check()?;
            let end = wanted.size.min(at + STEP);
            let bytes = self.reader.read(wanted.content, at..end).map_err(|e| self.message(e))?;
            if !each(at, &bytes)? {
                return Ok(());
            }
            at = end;
        }
        Ok(())
    }

    fn message(&self, e: ReadError) -> Error {
        if let Err(interrupted) = interrupt::check() {
            return interrupted;
        }
        let kind = match e {
            ReadError::Disconnected(_) => Kind::Disconnected,
            ReadError::Incomplete(_) => Kind::Damaged,
            _ => Kind::Failed,
        };
        Error::new(kind, format!("cannot read the archive {}", self.archive)).because(e)
    }
}

/// A file of this machine that is read beside.
pub fn regular(file: io::Result<File>) -> Option<File> {
    let file = file.ok()?;
    file.metadata().is_ok_and(|meta| meta.is_file()).then_some(file)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn pieces_are_there_until_they_are_forgotten_and_a_peek_is_none() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        let mut buffers = Buffers::default();
        for _ in 0..2 {
            buffers.clear();
            assert_eq!(buffers.read(1, &file, &(2..5)), Some(&b"234"[..]));
            assert_eq!(buffers.read(0, &file, &(8..11)), None);
            assert_eq!(buffers.peek(&file, &(5..10)), Some(&b"56789"[..]));
            assert_eq!(buffers.read(3, &file, &(0..1)), Some(&b"0"[..]));
            let pieces: Vec<&[u8]> = (0..5).map(|n| buffers.get(n)).collect();
            assert_eq!(pieces, [&b""[..], b"234", b"", b"0", b""]);
        }
        assert_eq!(buffers.bytes.len(), 8);
    }
}
