//! The stream of items in the metadata of an archive: msgpack maps one after the other, cut into
//! chunks at any byte.

use std::sync::Arc;

use super::chunks::{ChunkLists, Chunks, Listed};
use super::item::{Item, NOBODY, Xattr};
use super::msgpack::{Reader, Stop, Token};
use super::path::ItemPath;

/// The largest item in bytes: at 44 for each chunk, a file of 20 TB.
const LONGEST: usize = 512 << 20;

/// The names of owner and group of the last item: a few own all files.
#[derive(Default)]
struct Names {
    user: Arc<[u8]>,
    group: Arc<[u8]>,
}

fn name(last: &mut Arc<[u8]>, bytes: Option<&[u8]>) -> Option<Arc<[u8]>> {
    let bytes = bytes?;
    if **last != *bytes {
        *last = bytes.into();
    }
    Some(Arc::clone(last))
}

/// Parses the metadata of an archive, which is fed chunk by chunk.
#[derive(Default)]
pub struct ItemParser {
    /// The beginning of an incomplete item.
    pending: Vec<u8>,
    /// How far it was scanned.
    seen: Seen,
    /// The number of items so far.
    count: u64,
    names: Names,
}

impl ItemParser {
    /// Feeds `chunk`, and passes each complete item to `each`.
    ///
    /// # Errors
    /// When the bytes are not items.
    pub fn feed(&mut self, chunk: &[u8], mut each: impl FnMut(Item)) -> Result<(), &'static str> {
        self.feed_items(chunk, &mut each)
    }

    /// As [`ItemParser::feed`], with the chunks of each item.
    ///
    /// # Errors
    /// When the bytes are not items.
    pub fn feed_chunks(
        &mut self,
        chunk: &[u8],
        mut each: impl FnMut(Item, &ChunkLists),
    ) -> Result<(), &'static str> {
        self.feed_lists(chunk, &mut each)
    }

    /// Not generic, so that the parser is compiled in this crate as a whole.
    fn feed_items(&mut self, chunk: &[u8], each: &mut dyn FnMut(Item)) -> Result<(), &'static str> {
        self.feed_into(chunk, |item, (): &()| each(item))
    }

    /// As [`ItemParser::feed_items`].
    fn feed_lists(
        &mut self,
        chunk: &[u8],
        each: &mut dyn FnMut(Item, &ChunkLists),
    ) -> Result<(), &'static str> {
        self.feed_into(chunk, each)
    }

    fn feed_into<C: Chunks>(
        &mut self,
        chunk: &[u8],
        mut each: impl FnMut(Item, &C),
    ) -> Result<(), &'static str> {
        self.pending.extend_from_slice(chunk);
        if !self.seen.is_whole(&self.pending)? {
            return self.check_length();
        }
        let mut reader = Reader::new(&self.pending);
        let mut done = 0;
        let mut chunks = C::default();
        while reader.remaining() > 0 {
            chunks.clear();
            match item(&mut reader, &mut self.names, &mut chunks) {
                Ok(mut item) => {
                    item.number = self.count;
                    each(item, &chunks);
                }
                Err(Stop::More) => {
                    self.seen = Seen { bytes: 0, values: 1 };
                    break;
                }
                Err(Stop::Broken(why)) => return Err(why),
            }
            self.count += 1;
            done = self.pending.len() - reader.remaining();
        }
        self.pending.drain(..done);
        self.check_length()
    }

    fn check_length(&self) -> Result<(), &'static str> {
        if self.pending.len() > LONGEST { Err("an item that is too large") } else { Ok(()) }
    }

    /// Must be called after the last chunk.
    ///
    /// # Errors
    /// When the last item is incomplete.
    pub fn finish(self) -> Result<(), &'static str> {
        if self.pending.is_empty() { Ok(()) } else { Err("the last item is truncated") }
    }
}

/// How far an incomplete item was scanned: each byte once, however many chunks it has.
#[derive(Default)]
struct Seen {
    bytes: usize,
    /// The number of values that are still missing.
    values: u64,
}

impl Seen {
    /// Whether `item` is complete.
    fn is_whole(&mut self, item: &[u8]) -> Result<bool, &'static str> {
        let mut reader = Reader::new(&item[self.bytes..]);
        while self.values > 0 {
            let within = match reader.token() {
                Ok(Token::Array(n)) => u64::from(n),
                Ok(Token::Map(n)) => u64::from(n) * 2,
                Ok(_) => 0,
                Err(Stop::More) => return Ok(false),
                Err(Stop::Broken(why)) => return Err(why),
            };
            self.values = self.values - 1 + within;
            self.bytes = item.len() - reader.remaining();
        }
        self.bytes = 0;
        Ok(true)
    }
}

/// Parses an item. If no extract would accept its path (`..`, NUL), the item gets no file type.
fn item<C: Chunks>(reader: &mut Reader<'_>, names: &mut Names, chunks: &mut C) -> Result<Item, Stop> {
    let Token::Map(fields) = reader.token()? else { return Err(Stop::Broken("an item that is not a map")) };
    let mut path = None;
    let mut item = Item::new(ItemPath::root(), 0);
    for _ in 0..fields {
        let Token::Bytes(field) = reader.token()? else { return Err(Stop::Broken("a field without a name")) };
        match field {
            b"path" => path = Some(bytes(reader)?.unwrap_or_default()),
            b"mode" => item.mode = number(reader)? as u32,
            b"uid" => item.uid = u32::try_from(number(reader)?).unwrap_or(NOBODY),
            b"gid" => item.gid = u32::try_from(number(reader)?).unwrap_or(NOBODY),
            b"user" => item.user = name(&mut names.user, bytes(reader)?),
            b"group" => item.group = name(&mut names.group, bytes(reader)?),
            b"mtime" => item.mtime = time(reader)?,
            b"atime" => item.atime = Some(time(reader)?),
            b"ctime" => item.ctime = Some(time(reader)?),
            b"chunks" => item.size = list(reader, |chunk| chunks.put(chunk))?,
            b"rdev" => item.rdev = number(reader)? as u64,
            b"source" => item.source = bytes(reader)?.map(Into::into),
            b"xattrs" => item.xattrs = pairs(reader)?,
            b"acl_access" => item.acl_access = bytes(reader)?.map(Into::into),
            b"acl_default" => item.acl_default = bytes(reader)?.map(Into::into),
            b"bsdflags" => item.flags = u32::try_from(number(reader)?).unwrap_or(0),
            b"chunks_healthy" => {
                if C::KEPT {
                    list(reader, |chunk| chunks.put_healthy(chunk))?;
                } else {
                    reader.skip()?;
                }
                item.damaged = true;
            }
            b"part" => {
                reader.skip()?;
                item.part = true;
            }
            _ => reader.skip()?,
        }
    }
    let Some(raw) = path else { return Err(Stop::Broken("an item without a path")) };
    match ItemPath::new(raw) {
        Some(path) => item.path = path,
        None => item.mode = 0,
    }
    item.raw = (item.path.as_bytes() != raw).then(|| raw.into());
    Ok(item)
}

fn bytes<'a>(reader: &mut Reader<'a>) -> Result<Option<&'a [u8]>, Stop> {
    match reader.token()? {
        Token::Bytes(bytes) => Ok(Some(bytes)),
        Token::Nil => Ok(None),
        _ => Err(Stop::Broken("a field that should be bytes")),
    }
}

fn number(reader: &mut Reader<'_>) -> Result<i64, Stop> {
    match reader.token()? {
        Token::Int(n) => Ok(n),
        Token::Large(_) => Ok(i64::MAX),
        Token::Nil => Ok(-1),
        _ => Err(Stop::Broken("a field that should be a number")),
    }
}

/// Nanoseconds since 1970; borg 1.0 wrote them as a little-endian byte string.
fn time(reader: &mut Reader<'_>) -> Result<i64, Stop> {
    match reader.token()? {
        Token::Int(ns) => Ok(ns),
        Token::Large(_) => Ok(i64::MAX),
        Token::Nil => Ok(0),
        Token::Bytes(le) => {
            let mut wide = [0; 8];
            let n = le.len().min(8);
            wide[..n].copy_from_slice(&le[..n]);
            Ok(i64::from_le_bytes(wide))
        }
        _ => Err(Stop::Broken("a time that is not a number")),
    }
}

/// Passes each chunk of a list to `each`. Returns the sum of their sizes in bytes.
fn list(
    reader: &mut Reader<'_>,
    mut each: impl FnMut(&Listed<'_>) -> Result<(), &'static str>,
) -> Result<u64, Stop> {
    let chunks = match reader.token()? {
        Token::Array(n) => n,
        Token::Nil => 0,
        _ => return Err(Stop::Broken("chunks that are not a list")),
    };
    let mut sum = 0u64;
    for _ in 0..chunks {
        let Token::Array(3) = reader.token()? else { return Err(Stop::Broken("an invalid chunk")) };
        let id = bytes(reader)?.unwrap_or_default();
        let size =
            u64::try_from(number(reader)?).map_err(|_| Stop::Broken("a chunk with a negative size"))?;
        sum = sum.checked_add(size).ok_or(Stop::Broken("a file that is too large"))?;
        let stored = number(reader)?;
        each(&Listed { id, size, stored }).map_err(Stop::Broken)?;
    }
    Ok(sum)
}

/// Extended attributes. A nil value counts as empty.
fn pairs(reader: &mut Reader<'_>) -> Result<Vec<Xattr>, Stop> {
    let count = match reader.token()? {
        Token::Map(n) => n,
        Token::Nil => 0,
        _ => return Err(Stop::Broken("xattrs that are not a map")),
    };
    let mut pairs = Vec::new();
    for _ in 0..count {
        let name = bytes(reader)?.unwrap_or_default();
        let value = bytes(reader)?.unwrap_or_default();
        pairs.push((name.into(), value.into()));
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunks::Chunk;
    use crate::id::Id;
    use rmp::encode::{write_array_len, write_map_len, write_nil, write_sint, write_str_len};

    fn raw(out: &mut Vec<u8>, bytes: &[u8]) {
        write_str_len(out, bytes.len() as u32).unwrap();
        out.extend_from_slice(bytes);
    }

    fn field(out: &mut Vec<u8>, name: &str, value: i64) {
        raw(out, name.as_bytes());
        write_sint(out, value).unwrap();
    }

    /// A directory, a file with everything that a file can have, and a device.
    fn stream() -> Vec<u8> {
        let mut out = Vec::new();
        write_map_len(&mut out, 4).unwrap();
        raw(&mut out, b"path");
        raw(&mut out, b"t");
        field(&mut out, "mode", 0o40755);
        field(&mut out, "mtime", 1_795_504_014_118_206_723);
        field(&mut out, "uid", -1);

        write_map_len(&mut out, 8).unwrap();
        raw(&mut out, b"path");
        raw(&mut out, b"t/raw\xff\xfe");
        field(&mut out, "mode", 0o100644);
        raw(&mut out, b"mtime");
        raw(&mut out, &[0x00, 0x01]);
        raw(&mut out, b"user");
        write_nil(&mut out).unwrap();
        raw(&mut out, b"chunks");
        write_array_len(&mut out, 2).unwrap();
        for size in [3, 70_000] {
            write_array_len(&mut out, 3).unwrap();
            raw(&mut out, &[7; 32]);
            write_sint(&mut out, size).unwrap();
            write_sint(&mut out, 9).unwrap();
        }
        raw(&mut out, b"xattrs");
        write_map_len(&mut out, 2).unwrap();
        raw(&mut out, b"user.\xff");
        write_nil(&mut out).unwrap();
        raw(&mut out, b"user.k");
        raw(&mut out, b"v\xff");
        raw(&mut out, b"chunks_healthy");
        write_array_len(&mut out, 1).unwrap();
        write_array_len(&mut out, 3).unwrap();
        raw(&mut out, &[8; 32]);
        write_sint(&mut out, 70_003).unwrap();
        write_sint(&mut out, 10).unwrap();
        field(&mut out, "something new", 5);

        write_map_len(&mut out, 3).unwrap();
        raw(&mut out, b"path");
        raw(&mut out, b"t/dev");
        field(&mut out, "mode", 0o20666);
        field(&mut out, "rdev", 259);
        out
    }

    fn parse(pieces: &[&[u8]]) -> Result<Vec<Item>, &'static str> {
        let (mut parser, mut items) = (ItemParser::default(), Vec::new());
        for piece in pieces {
            parser.feed(piece, |item| items.push(item))?;
        }
        parser.finish().map(|()| items)
    }

    #[test]
    fn no_field_is_lost() {
        let stream = stream();
        let items = parse(&[&stream]).unwrap();
        assert_eq!(items.len(), 3);
        assert_eq!((items[0].mtime, items[0].uid), (1_795_504_014_118_206_723, NOBODY));
        let file = &items[1];
        assert_eq!(file.path.as_bytes(), b"t/raw\xff\xfe");
        assert_eq!((file.size, file.damaged, file.mtime, &file.user), (70_003, true, 256, &None));
        assert_eq!((&*file.xattrs[0].0, &*file.xattrs[0].1), (&b"user.\xff"[..], &b""[..]));
        assert_eq!((&*file.xattrs[1].0, &*file.xattrs[1].1), (&b"user.k"[..], &b"v\xff"[..]));
        assert_eq!((items[2].rdev, items[2].mode), (259, 0o20666));
    }

    #[test]
    fn chunks_are_given_to_those_who_want_them() {
        let mut all: Vec<ChunkLists> = Vec::new();
        let mut parser = ItemParser::default();
        parser.feed_chunks(&stream(), |_, chunks: &ChunkLists| all.push(chunks.clone())).unwrap();
        let chunk = |id, size, stored| Chunk { id: Id([id; 32]), size, stored };
        assert_eq!(all[1].chunks, [chunk(7, 3, 9), chunk(7, 70_000, 9)]);
        assert_eq!(all[1].healthy, [chunk(8, 70_003, 10)]);
        assert_eq!((&all[0], &all[2]), (&ChunkLists::default(), &ChunkLists::default()));
        let no_id = b"\x82\xa4path\xa1x\xa6chunks\x91\x93\xa1i\x01\x01";
        assert!(ItemParser::default().feed_chunks(no_id, |_, _: &ChunkLists| ()).is_err());
    }

    #[test]
    fn items_are_the_same_wherever_the_chunks_are_cut() {
        let stream = stream();
        let whole = parse(&[&stream]).unwrap();
        for cut in 0..=stream.len() {
            let (a, b) = stream.split_at(cut);
            assert_eq!(parse(&[a, b]).unwrap(), whole, "cut at {cut}");
        }
        let single: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(parse(&single).unwrap(), whole);
    }

    #[test]
    fn what_has_come_of_an_item_is_not_read_anew_with_each_chunk() {
        let mut stream = stream();
        let whole = stream.len();
        stream.extend_from_slice(b"\x82\xa4path\xa1x\xa3new\xdc\xff\xff");
        let mut parser = ItemParser::default();
        parser.feed(&stream, |_| ()).unwrap();
        for n in 1..=0xffff {
            assert_eq!(parser.count, 3);
            parser.feed(&[7], |_| ()).unwrap();
            let expected = if n < 0xffff { stream.len() - whole + n } else { 0 };
            assert_eq!(parser.seen.bytes, expected);
        }
        assert_eq!((parser.count, parser.pending.len()), (4, 0));
    }

    #[test]
    fn what_is_cut_off_or_no_item_is_an_error() {
        let stream = stream();
        assert!(parse(&[&stream[..stream.len() - 1]]).is_err());
        assert!(parse(&[b"\x05"]).is_err());
        assert!(parse(&[b"\x81\xa4mode\x05"]).is_err(), "without a path");
    }

    #[test]
    fn a_path_that_leaves_the_archive_is_of_no_kind() {
        let items = parse(&[b"\x82\xa4path\xa4../x\xa4mode\xcd\x81\xa4"]).unwrap();
        assert_eq!((items[0].mode, items[0].raw.as_deref()), (0, Some(&b"../x"[..])));
        let items = parse(&[b"\x82\xa4path\xa3./x\xa4mode\xcd\x81\xa4"]).unwrap();
        assert_eq!((items[0].path.as_bytes(), items[0].raw.as_deref()), (&b"x"[..], Some(&b"./x"[..])));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            let _ = parse(&[&bytes]);
            let _ = ItemParser::default().feed_chunks(&bytes, |_, _: &ChunkLists| ());
        }
    }
}
