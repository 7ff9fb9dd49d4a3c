//! The metadata of one archive.

use super::crypto::Crypto;
use super::error::{Error, Result};
use super::id::Id;
use super::msgpack::{Reader, Stop, Token, text};
use super::signed::Signed;
use super::tam::{Authenticity, Context};

/// The description of an archive.
#[derive(Debug, Clone)]
pub struct Archive {
    /// The id of the object that describes the archive.
    pub id: Id,
    /// Its name; normally UTF-8.
    pub name: Vec<u8>,
    /// The start of the backup in UTC, as borg writes it.
    pub time: String,
    /// Its end, in the same form; empty if it is not known.
    pub end: String,
    /// The working directory of the backup; empty if it is not known.
    pub directory: String,
    /// The machine that made it.
    pub hostname: String,
    /// The user who made it.
    pub username: String,
    /// Free text of its maker.
    pub comment: String,
    /// The command line of the borg that made it; empty if it is not known.
    pub command_line: Vec<String>,
    /// The name of the chunker with its parameters, such as `buzhash,19,23,21,4095`.
    pub chunker: String,
    /// Whether someone with the key wrote this. The caller must decide what to do with anything but
    /// [`Authenticated`](Authenticity::Authenticated).
    pub authenticity: Authenticity,
    /// The objects with the stream of items.
    pub(super) items: Vec<Id>,
}

impl Archive {
    /// The objects that hold the stream of items, in order. Archives that were made one after the other
    /// share most of them.
    pub fn metadata(&self) -> &[Id] {
        &self.items
    }

    /// Parses the plain bytes of the object `id`.
    ///
    /// # Errors
    /// `Integrity` when they are not an archive, `Unsupported` when its version is unknown.
    #[doc(hidden)]
    pub fn parse(id: Id, packed: &[u8], crypto: &Crypto) -> Result<Self> {
        let mut archive = Archive {
            id,
            name: Vec::new(),
            time: String::new(),
            end: String::new(),
            directory: String::new(),
            hostname: String::new(),
            username: String::new(),
            comment: String::new(),
            command_line: Vec::new(),
            chunker: String::new(),
            authenticity: Authenticity::Missing,
            items: Vec::new(),
        };
        let what = format!("the archive {id}");
        let signed = Signed::read(packed, &what, |field, reader| archive.read_field(field, reader))?;
        if signed.version != Some(1) {
            return Err(Error::unsupported(format!("an archive of version {:?}", signed.version)));
        }
        archive.authenticity = signed.authenticity(Context::Archive, crypto);
        Ok(archive)
    }

    fn read_field(&mut self, field: &[u8], reader: &mut Reader<'_>) -> Result<(), Stop> {
        match field {
            b"name" => match reader.token()? {
                Token::Bytes(name) => self.name = name.to_vec(),
                _ => return Err(Stop::Broken("its name is not a string")),
            },
            b"time" => self.time = text(reader)?,
            b"time_end" => self.end = text(reader)?,
            b"cwd" => self.directory = text(reader)?,
            b"hostname" => self.hostname = text(reader)?,
            b"username" => self.username = text(reader)?,
            b"comment" => self.comment = text(reader)?,
            b"cmdline" => self.command_line = words(reader)?,
            b"chunker_params" => self.chunker = chunker(reader)?,
            b"items" => self.items = ids(reader)?,
            _ => reader.skip()?,
        }
        Ok(())
    }
}

fn ids(reader: &mut Reader<'_>) -> Result<Vec<Id>, Stop> {
    let Token::Array(count) = reader.token()? else { return Err(Stop::Broken("its items are not a list")) };
    // Without the capacity that the list claims: it may be a lie.
    let mut ids = Vec::new();
    for _ in 0..count {
        match reader.token()? {
            Token::Bytes(id) => ids.push(Id::from_bytes(id).ok_or(Stop::Broken("an invalid id"))?),
            _ => return Err(Stop::Broken("an invalid id")),
        }
    }
    Ok(ids)
}

/// The texts of a list. Values of other types are left out.
fn words(reader: &mut Reader<'_>) -> Result<Vec<String>, Stop> {
    let mut words = Vec::new();
    each_value(reader, |value| {
        if let Token::Bytes(word) = value {
            words.push(String::from_utf8_lossy(word).into_owned());
        }
    })?;
    Ok(words)
}

/// The list as borg takes it on the command line; in old archives it is four numbers.
fn chunker(reader: &mut Reader<'_>) -> Result<String, Stop> {
    let mut parts = Vec::new();
    each_value(reader, |value| match value {
        Token::Bytes(name) => parts.push(String::from_utf8_lossy(name).into_owned()),
        Token::Int(n) => parts.push(n.to_string()),
        _ => {}
    })?;
    Ok(parts.join(","))
}

/// Passes each value of the next list to `each`. Anything but a list counts as an empty one.
fn each_value(reader: &mut Reader<'_>, mut each: impl FnMut(Token<'_>)) -> Result<(), Stop> {
    let Token::Array(count) = reader.peek()? else { return reader.skip() };
    reader.token()?;
    (0..count).try_for_each(|_| {
        each(reader.peek()?);
        reader.skip()
    })
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
