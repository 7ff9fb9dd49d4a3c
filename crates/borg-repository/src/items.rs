//! The stream of items in the metadata of an archive: msgpack maps one after the other, cut into
//! chunks at any byte.

use std::sync::Arc;

use super::chunks::{Chunk, ChunkLists};
use super::id::Id;
use super::item::{Item, NOBODY, Xattr};
use super::msgpack::{Reader, Stop, Token};
use super::path::ItemPath;

/// The most bytes that one field of an item, or all of a small one, may have.
const LONGEST: usize = 512 << 20;
/// An item of more bytes is parsed as it comes; a smaller one when it is complete.
pub const LARGE: usize = 64 << 10;

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

/// Which list of an item a chunk belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListKind {
    /// The chunks of the content.
    Content,
    /// The chunks of the content before `check --repair` put zeros where chunks were lost.
    Healthy,
}

/// Receives items as they are parsed. The chunks of an item come before it: a list may be too long
/// for memory.
pub trait ItemSink {
    /// The next chunk of the item that is being parsed.
    ///
    /// # Errors
    /// When the sink cannot take it; parsing ends with this error.
    fn chunk(&mut self, chunk: Chunk, list: ListKind) -> Result<(), &'static str>;

    /// The item whose chunks came before.
    ///
    /// # Errors
    /// As [`ItemSink::chunk`].
    fn item(&mut self, item: Item) -> Result<(), &'static str>;
}

/// Collects the chunks of each item, and passes both on.
struct Collected<F> {
    lists: ChunkLists,
    each: F,
}

impl<F: FnMut(Item, &ChunkLists)> ItemSink for Collected<F> {
    fn chunk(&mut self, chunk: Chunk, list: ListKind) -> Result<(), &'static str> {
        match list {
            ListKind::Content => self.lists.chunks.push(chunk),
            ListKind::Healthy => self.lists.healthy.push(chunk),
        }
        Ok(())
    }

    fn item(&mut self, item: Item) -> Result<(), &'static str> {
        (self.each)(item, &self.lists);
        self.lists.chunks.clear();
        self.lists.healthy.clear();
        Ok(())
    }
}

/// The length of the complete items at the beginning of `stream`, in bytes. Reads each byte once and
/// keeps nothing.
///
/// # Errors
/// When the bytes are not items.
pub fn length_of_items(stream: &[u8]) -> Result<usize, &'static str> {
    let mut reader = Reader::new(stream);
    let mut length = 0;
    while reader.remaining() > 0 {
        match reader.skip() {
            Ok(()) => length = stream.len() - reader.remaining(),
            Err(Stop::More) => break,
            Err(Stop::Broken(why)) => return Err(why),
        }
    }
    Ok(length)
}

/// Parses items that are complete, as far as [`length_of_items`] says.
///
/// # Errors
/// When the bytes are not items, and those of `sink`.
pub fn parse_items(items: &[u8], sink: &mut dyn ItemSink) -> Result<(), &'static str> {
    let (mut reader, mut names) = (Reader::new(items), Names::default());
    for number in 0.. {
        if reader.remaining() == 0 {
            break;
        }
        let mut item = Begun::default();
        match item.advance(&mut reader, &mut names, sink) {
            Ok(()) => sink.item(item.finish(number)?)?,
            Err(Stop::More) => return Err("the last item is truncated"),
            Err(Stop::Broken(why)) => return Err(why),
        }
    }
    Ok(())
}

/// Parses the metadata of an archive, which is fed chunk by chunk.
#[derive(Default)]
pub struct ItemParser {
    /// The bytes of an incomplete item that are not parsed yet.
    pending: Vec<u8>,
    /// How far they were scanned.
    seen: Seen,
    /// The beginning of a large item, which was parsed and is no longer in `pending`.
    begun: Option<Begun>,
    /// The number of items so far.
    count: u64,
    names: Names,
    /// The chunks of an item that is fed in several pieces, for [`ItemParser::feed_chunks`].
    lists: ChunkLists,
}

impl ItemParser {
    /// Feeds `chunk`, and passes each complete item to `each`.
    ///
    /// # Errors
    /// When the bytes are not items.
    pub fn feed(&mut self, chunk: &[u8], mut each: impl FnMut(Item)) -> Result<(), &'static str> {
        self.feed_chunks(chunk, |item, _| each(item))
    }

    /// As [`ItemParser::feed`], with the chunks of each item.
    ///
    /// # Errors
    /// When the bytes are not items.
    pub fn feed_chunks(
        &mut self,
        chunk: &[u8],
        each: impl FnMut(Item, &ChunkLists),
    ) -> Result<(), &'static str> {
        let mut sink = Collected { lists: std::mem::take(&mut self.lists), each };
        let fed = self.feed_to(chunk, &mut sink);
        self.lists = sink.lists;
        fed
    }

    /// Feeds `chunk`, and passes what is complete to `sink`, which must be the same one for all of an
    /// item. Only this way uses no memory for the chunks of a large item.
    ///
    /// # Errors
    /// When the bytes are not items, and those of `sink`.
    pub fn feed_to(&mut self, chunk: &[u8], sink: &mut dyn ItemSink) -> Result<(), &'static str> {
        if self.pending.is_empty() {
            let done = self.parse(chunk, sink)?;
            self.pending.extend_from_slice(&chunk[done..]);
        } else {
            self.pending.extend_from_slice(chunk);
            let is_small = self.begun.is_none() && self.pending.len() <= LARGE;
            if !self.seen.is_whole(&self.pending)? && (is_small || self.begun.is_some()) {
                return self.check_length();
            }
            let mut bytes = std::mem::take(&mut self.pending);
            let done = self.parse(&bytes, sink)?;
            bytes.drain(..done);
            self.pending = bytes;
        }
        self.seen = Seen { bytes: 0, values: self.begun.as_ref().map_or(1, Begun::values_of_step) };
        self.check_length()
    }

    fn check_length(&self) -> Result<(), &'static str> {
        if self.pending.len() > LONGEST { Err("an item that is too large") } else { Ok(()) }
    }

    /// Whether the beginning of a large item was parsed, and its end did not come yet.
    pub fn is_in_large_item(&self) -> bool {
        self.begun.is_some()
    }

    /// The bytes that were fed and are not parsed yet.
    pub fn into_pending(self) -> Vec<u8> {
        self.pending
    }

    /// Parses what is complete, and of a large item as much as is there. Returns the number of bytes
    /// that are done with.
    fn parse(&mut self, bytes: &[u8], sink: &mut dyn ItemSink) -> Result<usize, &'static str> {
        let mut reader = Reader::new(bytes);
        let mut left = self.begun.is_some() || !bytes.is_empty();
        let mut whole = match self.begun {
            Some(_) => 0,
            None => length_of_items(bytes)?,
        };
        while left {
            let at = bytes.len() - reader.remaining();
            if self.begun.is_none() && at >= whole && reader.remaining() <= LARGE {
                return Ok(at);
            }
            let mut item = self.begun.take().unwrap_or_default();
            match item.advance(&mut reader, &mut self.names, sink) {
                Ok(()) => {
                    if at >= whole {
                        // It was large; what follows was not measured yet.
                        let at = bytes.len() - reader.remaining();
                        whole = at + length_of_items(&bytes[at..])?;
                    }
                    sink.item(item.finish(self.count)?)?;
                    self.count += 1;
                }
                Err(Stop::More) => {
                    self.begun = Some(item);
                    return Ok(bytes.len() - reader.remaining());
                }
                Err(Stop::Broken(why)) => return Err(why),
            }
            left = reader.remaining() > 0;
        }
        Ok(bytes.len())
    }

    /// Must be called after the last chunk.
    ///
    /// # Errors
    /// When the last item is incomplete.
    pub fn finish(self) -> Result<(), &'static str> {
        if self.pending.is_empty() && self.begun.is_none() {
            Ok(())
        } else {
            Err("the last item is truncated")
        }
    }
}

/// How far an incomplete value was scanned: each byte once, however many chunks it has.
#[derive(Default)]
struct Seen {
    bytes: usize,
    /// The number of values that are still missing.
    values: u64,
}

impl Seen {
    /// Whether `bytes` has all values.
    fn is_whole(&mut self, bytes: &[u8]) -> Result<bool, &'static str> {
        let mut reader = Reader::new(&bytes[self.bytes..]);
        while self.values > 0 {
            let within = match reader.token() {
                Ok(Token::Array(n)) => u64::from(n),
                Ok(Token::Map(n)) => u64::from(n) * 2,
                Ok(_) => 0,
                Err(Stop::More) => return Ok(false),
                Err(Stop::Broken(why)) => return Err(why),
            };
            self.values = self.values - 1 + within;
            self.bytes = bytes.len() - reader.remaining();
        }
        Ok(true)
    }
}

/// An item as far as it was parsed.
#[derive(Default)]
struct Begun {
    /// The number of fields that are still missing; `None` before the item begins.
    fields: Option<u32>,
    list: Option<List>,
    /// The lists that came.
    lists: [Option<ListKind>; 2],
    item: Option<Item>,
    /// Whether it has a path; `Some(false)`: one that no extract would accept (`..`, NUL).
    path: Option<bool>,
}

/// A list of chunks that is being parsed.
struct List {
    kind: ListKind,
    left: u32,
    /// The sum of the sizes so far.
    bytes: u64,
}

impl Begun {
    /// The number of values that the next step needs: a chunk, or a field's name and value.
    fn values_of_step(&self) -> u64 {
        if self.list.is_some() { 1 } else { 2 }
    }

    /// Parses as much as `reader` has, field by field and chunk by chunk. The reader stays in front of
    /// what is incomplete.
    fn advance(
        &mut self,
        reader: &mut Reader<'_>,
        names: &mut Names,
        sink: &mut dyn ItemSink,
    ) -> Result<(), Stop> {
        loop {
            let before = reader.clone();
            let step = self.step(reader, names, sink);
            match step {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(stop) => {
                    *reader = before;
                    return Err(stop);
                }
            }
        }
    }

    /// Parses the next field or chunk; false at the end of the item.
    fn step(
        &mut self,
        reader: &mut Reader<'_>,
        names: &mut Names,
        sink: &mut dyn ItemSink,
    ) -> Result<bool, Stop> {
        if let Some(list) = &mut self.list {
            if list.left > 0 {
                let chunk = chunk(reader)?;
                let bytes = list.bytes.checked_add(chunk.size.into());
                list.bytes = bytes.ok_or(Stop::Broken("a file that is too large"))?;
                sink.chunk(chunk, list.kind).map_err(Stop::Broken)?;
                list.left -= 1;
                return Ok(true);
            }
            let item = self.item.get_or_insert_with(nameless);
            match list.kind {
                ListKind::Content => item.size = list.bytes,
                ListKind::Healthy => item.damaged = true,
            }
            self.list = None;
            return Ok(true);
        }
        match self.fields {
            None => {
                let Token::Map(fields) = reader.token()? else {
                    return Err(Stop::Broken("an item that is not a map"));
                };
                self.fields = Some(fields);
            }
            Some(0) => return Ok(false),
            Some(fields) => {
                self.field(reader, names)?;
                self.fields = Some(fields - 1);
            }
        }
        Ok(true)
    }

    /// A list begins. Each comes once: what was passed on of it cannot be taken back.
    fn begin(&mut self, kind: ListKind, left: u32) -> Result<(), Stop> {
        if self.lists.contains(&Some(kind)) {
            return Err(Stop::Broken("a file with two lists of chunks"));
        }
        self.lists[kind as usize] = Some(kind);
        self.list = Some(List { kind, left, bytes: 0 });
        Ok(())
    }

    fn field(&mut self, reader: &mut Reader<'_>, names: &mut Names) -> Result<(), Stop> {
        let Token::Bytes(field) = reader.token()? else { return Err(Stop::Broken("a field without a name")) };
        let item = self.item.get_or_insert_with(nameless);
        match field {
            b"path" => {
                let raw = bytes(reader)?.unwrap_or_default();
                let path = ItemPath::new(raw);
                self.path = Some(path.is_some());
                item.path = path.unwrap_or_else(ItemPath::root);
                item.raw = (item.path.as_bytes() != raw).then(|| raw.into());
            }
            b"mode" => item.mode = number(reader)? as u32,
            b"uid" => item.uid = u32::try_from(number(reader)?).unwrap_or(NOBODY),
            b"gid" => item.gid = u32::try_from(number(reader)?).unwrap_or(NOBODY),
            b"user" => item.user = name(&mut names.user, bytes(reader)?),
            b"group" => item.group = name(&mut names.group, bytes(reader)?),
            b"mtime" => item.mtime = time(reader)?,
            b"atime" => item.atime = Some(time(reader)?),
            b"ctime" => item.ctime = Some(time(reader)?),
            b"chunks" => self.begin(ListKind::Content, length(reader)?)?,
            b"chunks_healthy" => self.begin(ListKind::Healthy, length(reader)?)?,
            b"rdev" => item.rdev = number(reader)? as u64,
            b"source" => item.source = bytes(reader)?.map(Into::into),
            b"xattrs" => item.xattrs = pairs(reader)?,
            b"acl_access" => item.acl_access = bytes(reader)?.map(Into::into),
            b"acl_default" => item.acl_default = bytes(reader)?.map(Into::into),
            b"bsdflags" => item.flags = u32::try_from(number(reader)?).unwrap_or(0),
            b"part" => {
                reader.skip()?;
                item.part = true;
            }
            _ => reader.skip()?,
        }
        Ok(())
    }

    /// The whole item. If no extract would accept its path, it gets no file type.
    fn finish(self, number: u64) -> Result<Item, &'static str> {
        let (Some(item), Some(path)) = (self.item, self.path) else { return Err("an item without a path") };
        let mode = if path { item.mode } else { 0 };
        Ok(Item { mode, number, ..item })
    }
}

fn nameless() -> Item {
    Item::new(ItemPath::root(), 0)
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

/// The number of chunks in a list.
fn length(reader: &mut Reader<'_>) -> Result<u32, Stop> {
    match reader.token()? {
        Token::Array(n) => Ok(n),
        Token::Nil => Ok(0),
        _ => Err(Stop::Broken("chunks that are not a list")),
    }
}

fn chunk(reader: &mut Reader<'_>) -> Result<Chunk, Stop> {
    let Token::Array(3) = reader.token()? else { return Err(Stop::Broken("an invalid chunk")) };
    let id = Id::from_bytes(bytes(reader)?.unwrap_or_default());
    let size = u32::try_from(number(reader)?);
    let stored = u32::try_from(number(reader)?).unwrap_or(0);
    Ok(Chunk {
        id: id.ok_or(Stop::Broken("a chunk with an invalid id"))?,
        size: size.map_err(|_| Stop::Broken("a chunk of an impossible size"))?,
        stored,
    })
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

    /// An item with `count` chunks of a file.
    fn large(count: u32) -> Vec<u8> {
        let mut out = Vec::new();
        write_map_len(&mut out, 3).unwrap();
        raw(&mut out, b"chunks");
        write_array_len(&mut out, count).unwrap();
        for n in 0..count {
            write_array_len(&mut out, 3).unwrap();
            raw(&mut out, &[n as u8; 32]);
            write_sint(&mut out, 1 + i64::from(n)).unwrap();
            write_sint(&mut out, 9).unwrap();
        }
        field(&mut out, "mode", 0o100644);
        raw(&mut out, b"path");
        raw(&mut out, b"big");
        out
    }

    #[derive(Default)]
    struct Counted {
        chunks: u64,
        items: Vec<Item>,
    }

    impl ItemSink for Counted {
        fn chunk(&mut self, chunk: Chunk, _: ListKind) -> Result<(), &'static str> {
            self.chunks += u64::from(chunk.size);
            Ok(())
        }

        fn item(&mut self, item: Item) -> Result<(), &'static str> {
            self.items.push(item);
            Ok(())
        }
    }

    #[test]
    fn a_large_item_is_parsed_as_it_comes_and_takes_no_memory() {
        let count = 40_000;
        let stream = [stream(), large(count), stream(), large(5)].concat();
        for cut in [1000, 100_000, 1 << 20] {
            let (mut parser, mut sink) = (ItemParser::default(), Counted::default());
            for piece in stream.chunks(cut) {
                parser.feed_to(piece, &mut sink).unwrap();
                assert!(parser.pending.len() < LARGE + cut + LARGE / 2, "{}", parser.pending.len());
            }
            parser.finish().unwrap();
            let sizes: Vec<u64> = sink.items.iter().map(|item| item.size).collect();
            let size = u64::from(count) * u64::from(count + 1) / 2;
            assert_eq!(sizes, [0, 70_003, 0, size, 0, 70_003, 0, 15]);
            assert_eq!(
                sink.items.iter().map(|item| item.number).collect::<Vec<_>>(),
                (0..8).collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn complete_items_are_parsed_at_once() {
        let stream = [stream(), large(5)].concat();
        let mut sink = Counted::default();
        parse_items(&stream, &mut sink).unwrap();
        assert_eq!(sink.items, parse(&[&stream]).unwrap());
        assert!(parse_items(&stream[..stream.len() - 1], &mut Counted::default()).is_err());
    }

    #[test]
    fn what_has_come_of_a_value_is_not_read_anew_with_each_chunk() {
        let mut stream = stream();
        stream.extend_from_slice(b"\x82\xa4path\xa1x\xa3new\xdd\x00\x04\x00\x00");
        let mut parser = ItemParser::default();
        parser.feed(&stream, |_| ()).unwrap();
        let (mut before, mut anew) = (0, 0);
        for _ in 0..0x4_0000 {
            assert_eq!(parser.count, 3);
            parser.feed(&[7], |_| ()).unwrap();
            anew += u32::from(parser.seen.bytes < before);
            before = parser.seen.bytes;
        }
        assert_eq!(anew, 2, "when it becomes a large item, and at the end");
        assert_eq!((parser.count, parser.pending.len()), (4, 0));
        assert_eq!(length_of_items(&stream), Ok(stream.len() - 17));
    }

    #[test]
    fn what_is_cut_off_or_no_item_is_an_error() {
        let stream = stream();
        assert!(parse(&[&stream[..stream.len() - 1]]).is_err());
        assert!(parse(&[b"\x05"]).is_err());
        assert!(parse(&[b"\x81\xa4mode\x05"]).is_err(), "without a path");
        let twice = b"\x83\xa4path\xa1x\xa6chunks\x90\xa6chunks\x90";
        assert!(parse(&[twice]).is_err(), "with two lists of chunks");
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
            let _ = length_of_items(&bytes);
        }
    }
}
