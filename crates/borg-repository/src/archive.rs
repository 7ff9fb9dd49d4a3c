//! The metadata of one archive.

use super::crypto::Crypto;
use super::error::{Error, Result};
use super::id::Id;
use super::msgpack::{Reader, Stop, Token, each_field, text};
use super::tam::{Authenticity, Context, Tam};

/// What an archive says of itself.
#[derive(Debug, Clone)]
pub struct Archive {
    /// The id of the object that describes the archive.
    pub id: Id,
    /// Its name; normally UTF-8.
    pub name: Vec<u8>,
    /// Start of the backup: UTC, as borg writes it.
    pub time: String,
    /// The machine that made it.
    pub hostname: String,
    /// The user who made it.
    pub username: String,
    /// Free text of whoever made it.
    pub comment: String,
    /// Of the borg that made it; empty where that is not known.
    pub command_line: Vec<String>,
    /// Name of the chunker with its numbers, as in `buzhash,19,23,21,4095`.
    pub chunker: String,
    /// Whether someone with the key wrote this. Anything but
    /// [`Authenticated`](Authenticity::Authenticated) is for the user to decide on.
    pub authenticity: Authenticity,
    /// The objects that make the stream of items.
    pub(super) items: Vec<Id>,
}

impl Archive {
    /// Of the plain bytes of the object `id`.
    ///
    /// # Errors
    /// `Integrity` when they are no archive, `Unsupported` for an unknown version.
    #[doc(hidden)]
    pub fn parse(id: Id, packed: &[u8], crypto: &Crypto) -> Result<Self> {
        let parts = Parts::read(packed).map_err(|stop| match stop {
            Stop::More => Error::integrity(format!("the archive {id} is truncated")),
            Stop::Broken(why) => Error::integrity(format!("the archive {id} is broken: {why}")),
        })?;
        if parts.version != Some(1) {
            return Err(Error::unsupported(format!("an archive of version {:?}", parts.version)));
        }
        let authenticity = match &parts.tam {
            Some(tam) => tam.judge(packed, Context::Archive, crypto),
            None => Authenticity::Missing,
        };
        Ok(Archive {
            id,
            name: parts.name,
            time: parts.time,
            hostname: parts.hostname,
            username: parts.username,
            comment: parts.comment,
            command_line: parts.command_line,
            chunker: parts.chunker,
            authenticity,
            items: parts.items,
        })
    }
}

#[derive(Default)]
struct Parts<'a> {
    version: Option<i64>,
    name: Vec<u8>,
    time: String,
    hostname: String,
    username: String,
    comment: String,
    command_line: Vec<String>,
    chunker: String,
    items: Vec<Id>,
    tam: Option<Tam<'a>>,
}

impl<'a> Parts<'a> {
    fn read(packed: &'a [u8]) -> Result<Self, Stop> {
        let mut reader = Reader::new(packed);
        let mut parts = Parts::default();
        each_field(&mut reader, |name, reader| {
            match name {
                b"version" => match reader.token()? {
                    Token::Int(n) => parts.version = Some(n),
                    _ => return Err(Stop::Broken("its version is not a number")),
                },
                b"name" => match reader.token()? {
                    Token::Bytes(name) => parts.name = name.to_vec(),
                    _ => return Err(Stop::Broken("its name is not a string")),
                },
                b"time" => parts.time = text(reader)?,
                b"hostname" => parts.hostname = text(reader)?,
                b"username" => parts.username = text(reader)?,
                b"comment" => parts.comment = text(reader)?,
                b"cmdline" => parts.command_line = words(reader)?,
                b"chunker_params" => parts.chunker = chunker(reader)?,
                b"items" => parts.items = ids(reader)?,
                b"tam" => parts.tam = Some(Tam::read(reader)?),
                _ => reader.skip()?,
            }
            Ok(())
        })?;
        if reader.remaining() > 0 {
            return Err(Stop::Broken("there is data behind its end"));
        }
        Ok(parts)
    }
}

fn ids(reader: &mut Reader<'_>) -> Result<Vec<Id>, Stop> {
    let Token::Array(count) = reader.token()? else { return Err(Stop::Broken("its items are not a list")) };
    // Not made as long as the list claims to be: it may not be there.
    let mut ids = Vec::new();
    for _ in 0..count {
        match reader.token()? {
            Token::Bytes(id) => ids.push(Id::from_bytes(id).ok_or(Stop::Broken("an invalid id"))?),
            _ => return Err(Stop::Broken("an invalid id")),
        }
    }
    Ok(ids)
}

/// Texts; what else there may be says nothing to us.
fn words(reader: &mut Reader<'_>) -> Result<Vec<String>, Stop> {
    let Token::Array(count) = reader.peek()? else {
        reader.skip()?;
        return Ok(Vec::new());
    };
    reader.token()?;
    let mut words = Vec::new();
    for _ in 0..count {
        if let Token::Bytes(word) = reader.peek()? {
            words.push(String::from_utf8_lossy(word).into_owned());
        }
        reader.skip()?;
    }
    Ok(words)
}

/// The list as borg takes it on the command line; of old archives it is four numbers.
fn chunker(reader: &mut Reader<'_>) -> Result<String, Stop> {
    let Token::Array(count) = reader.peek()? else {
        reader.skip()?;
        return Ok(String::new());
    };
    reader.token()?;
    let mut parts = Vec::new();
    for _ in 0..count {
        match reader.peek()? {
            Token::Bytes(name) => parts.push(String::from_utf8_lossy(name).into_owned()),
            Token::Int(n) => parts.push(n.to_string()),
            _ => {}
        }
        reader.skip()?;
    }
    Ok(parts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive() -> Vec<u8> {
        let items = [&b"\xa5items\x92\xda\x00\x20"[..], &[7; 32], b"\xd9\x20", &[8; 32]].concat();
        let rest = b"\xa7cmdline\x93\xa4borg\x05\xa3::x\xa4name\xa2n\xff\xaechunker_params\x93\xa5fixed\xcd\x10\x00\x00\xa3odd\x81\xa1a\xc0";
        [&b"\x86\xa7version\x01"[..], &items, rest].concat()
    }

    #[test]
    fn the_stream_of_items_and_what_the_archive_says_of_itself_are_read() {
        let archive = Archive::parse(Id([1; 32]), &archive(), &Crypto::plain()).unwrap();
        assert_eq!(archive.items, [Id([7; 32]), Id([8; 32])]);
        assert_eq!((&*archive.name, &*archive.chunker), (&b"n\xff"[..], "fixed,4096,0"));
        assert_eq!(archive.command_line, ["borg", "::x"]);
        assert_eq!(archive.authenticity, Authenticity::Missing);
    }

    #[test]
    fn what_is_cut_off_is_broken_and_a_long_list_takes_no_memory_before_it_is_there() {
        let whole = archive();
        for length in 0..whole.len() {
            assert!(Archive::parse(Id([1; 32]), &whole[..length], &Crypto::plain()).is_err(), "{length}");
        }
        let endless = b"\x82\xa7version\x01\xa5items\xdd\xff\xff\xff\xff";
        assert!(Archive::parse(Id([1; 32]), endless, &Crypto::plain()).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            let _ = Archive::parse(Id([1; 32]), &bytes, &Crypto::plain());
        }
    }
}
