//! `borg debug dump-archive`: every field of every item, without loss. `borg list --json-lines`
//! loses bytes that are no UTF-8, nanoseconds, device numbers, xattrs and ACLs.
//!
//! Byte strings that are UTF-8 stand as text; all others as U+007F and hex digits, also those that
//! begin with the byte 0x7f, so that the two cannot be confused. The same in borg 1.1, 1.2 and 1.4.

use std::fmt;
use std::io::Read;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::archive::item::{Item, Xattr};
use crate::archive::path::ItemPath;

/// Reads a dump to its end. `id` gets the archive's id (64 hex digits) before the first item goes
/// to `each`; either ends the reading by an error of its own. Items whose path no extract would
/// accept (`..`, NUL) are left out and counted in the result.
///
/// # Errors
/// When the text is no such dump, or ends too early.
pub fn read_items(
    json: impl Read,
    mut id: impl FnMut(&str) -> Result<(), String>,
    mut each: impl FnMut(Item),
) -> serde_json::Result<u64> {
    let mut de = serde_json::Deserializer::from_reader(json);
    let mut refused = 0;
    de.deserialize_map(Top { id: &mut id, each: &mut each, refused: &mut refused })?;
    de.end()?;
    Ok(refused)
}

struct Top<'a> {
    id: &'a mut dyn FnMut(&str) -> Result<(), String>,
    each: &'a mut dyn FnMut(Item),
    refused: &'a mut u64,
}

impl<'de> Visitor<'de> for Top<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a dump of a borg archive")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        let (mut identified, mut items) = (false, false);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "_manifest_entry" => {
                    #[derive(Deserialize)]
                    struct Entry {
                        id: Bytes,
                    }
                    let hex: String =
                        map.next_value::<Entry>()?.id.0.iter().map(|b| format!("{b:02x}")).collect();
                    (self.id)(&hex).map_err(M::Error::custom)?;
                    identified = true;
                }
                "_items" if identified => {
                    map.next_value_seed(Items { each: &mut *self.each, refused: &mut *self.refused })?;
                    items = true;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        if items { Ok(()) } else { Err(M::Error::custom("it has no items, or no id before them")) }
    }
}

struct Items<'a> {
    each: &'a mut dyn FnMut(Item),
    refused: &'a mut u64,
}

impl<'de> DeserializeSeed<'de> for Items<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Items<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence of items")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<(), S::Error> {
        while let Some(raw) = seq.next_element::<Raw>()? {
            match raw.into_item() {
                Some(item) => (self.each)(item),
                None => *self.refused += 1,
            }
        }
        Ok(())
    }
}

/// An item as it stands in the dump. Fields that no restore needs are passed over.
#[derive(Deserialize)]
struct Raw {
    path: Bytes,
    #[serde(default)]
    mode: u32,
    #[serde(default)]
    uid: i64,
    #[serde(default)]
    gid: i64,
    #[serde(default)]
    user: Option<Bytes>,
    #[serde(default)]
    group: Option<Bytes>,
    #[serde(default)]
    mtime: Time,
    atime: Option<Time>,
    ctime: Option<Time>,
    #[serde(default)]
    chunks: Chunks,
    #[serde(default)]
    rdev: u64,
    source: Option<Bytes>,
    #[serde(default)]
    xattrs: Pairs,
    acl_access: Option<Bytes>,
    acl_default: Option<Bytes>,
    chunks_healthy: Option<IgnoredAny>,
    part: Option<IgnoredAny>,
}

impl Raw {
    fn into_item(self) -> Option<Item> {
        let boxed = |b: Option<Bytes>| b.map(|b| b.0.into_boxed_slice());
        Some(Item {
            path: ItemPath::new(&self.path.0)?,
            mode: self.mode,
            // Exotic archives have -1 here; nobody owns such a file.
            uid: u32::try_from(self.uid).unwrap_or(NOBODY),
            gid: u32::try_from(self.gid).unwrap_or(NOBODY),
            user: boxed(self.user),
            group: boxed(self.group),
            mtime: self.mtime.0,
            atime: self.atime.map(|t| t.0),
            ctime: self.ctime.map(|t| t.0),
            size: self.chunks.0,
            rdev: self.rdev,
            source: boxed(self.source),
            xattrs: self.xattrs.0,
            acl_access: boxed(self.acl_access),
            acl_default: boxed(self.acl_default),
            damaged: self.chunks_healthy.is_some(),
            part: self.part.is_some(),
        })
    }
}

const NOBODY: u32 = 65_534;

/// A byte string of the dump.
struct Bytes(Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Bytes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text, or U+007F and hex digits")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Bytes, E> {
                match text.strip_prefix('\u{7f}') {
                    None => Ok(Bytes(text.as_bytes().to_vec())),
                    Some(hex) => unhex(hex).map(Bytes).ok_or_else(|| E::custom("these are no hex digits")),
                }
            }
        }
        d.deserialize_str(Text)
    }
}

fn unhex(hex: &str) -> Option<Vec<u8>> {
    let digits = hex.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |b: u8| (b as char).to_digit(16).map(|d| d as u8);
    digits.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

/// Nanoseconds since the epoch; borg 1.0 wrote them as a little-endian byte string.
#[derive(Default)]
struct Time(i64);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Number(i64),
            Old(Bytes),
        }
        Ok(Time(match Either::deserialize(d)? {
            Either::Number(ns) => ns,
            Either::Old(Bytes(le)) => {
                let mut wide = [0; 8];
                let n = le.len().min(8);
                wide[..n].copy_from_slice(&le[..n]);
                i64::from_le_bytes(wide)
            }
        }))
    }
}

/// The sum of the sizes of the listed chunks, in bytes; the list itself is not kept.
#[derive(Default)]
struct Chunks(u64);

impl<'de> Deserialize<'de> for Chunks {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Chunks;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of chunks")
            }
            fn visit_unit<E>(self) -> Result<Chunks, E> {
                Ok(Chunks(0))
            }
            fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Chunks, S::Error> {
                let mut sum = 0u64;
                while let Some((_, size, _)) = seq.next_element::<(IgnoredAny, u64, IgnoredAny)>()? {
                    sum = sum.checked_add(size).ok_or_else(|| S::Error::custom("a file beyond all sizes"))?;
                }
                Ok(Chunks(sum))
            }
        }
        d.deserialize_any(List)
    }
}

/// xattrs: a value that is nil is an empty one.
#[derive(Default)]
struct Pairs(Vec<Xattr>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = Pairs;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of xattrs")
            }
            fn visit_unit<E>(self) -> Result<Pairs, E> {
                Ok(Pairs::default())
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Pairs, M::Error> {
                let mut pairs = Vec::new();
                while let Some((name, value)) = map.next_entry::<Bytes, Option<Bytes>>()? {
                    let value = value.map(|v| v.0).unwrap_or_default();
                    pairs.push((name.0.into_boxed_slice(), value.into_boxed_slice()));
                }
                Ok(Pairs(pairs))
            }
        }
        d.deserialize_any(Map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = r#"{ "_name": "x", "_manifest_entry": { "id": "\u007f6b9d", "time": "t" },
        "_meta": { "items": ["\u007f30"] },
        "_items": [
        { "ctime": 5, "gid": 0, "group": "root", "mode": 16877, "mtime": 1795504014118206723, "path": "t",
          "uid": -1, "user": null },
        { "acl_access": "user::rw-", "chunks": [["\u007f98", 3, 6], ["\u007f99", 4, 6]], "gid": 0, "mode": 33188,
          "hardlink_master": true, "mtime": 0, "path": "\u007f742f642f726177fffe", "size": 7, "uid": 0,
          "xattrs": { "user.e": null, "user.k": "\u007f76ff" }, "chunks_healthy": [["\u007f01", 3, 6]] },
        { "mode": 8630, "mtime": "\u007f0100", "path": "t/dev", "rdev": 259, "uid": 0, "gid": 0 },
        { "mode": 33188, "mtime": 0, "path": "a/../b", "uid": 0, "gid": 0 }
        ] }"#;

    #[test]
    fn no_field_is_lost() {
        let (mut id, mut items) = (String::new(), Vec::new());
        let refused = read_items(
            DUMP.as_bytes(),
            |hex| {
                id = hex.to_owned();
                Ok(())
            },
            |item| items.push(item),
        );
        assert_eq!(refused.unwrap(), 1, "the path with .. is left out");
        assert_eq!(id, "6b9d");
        assert_eq!((items[0].mtime, items[0].ctime), (1795504014118206723, Some(5)));
        assert_eq!((items[0].uid, items[0].user.as_deref()), (NOBODY, None));
        assert_eq!(items[1].path.as_bytes(), b"t/d/raw\xff\xfe");
        assert_eq!((items[1].size, items[1].damaged), (7, true));
        let xattrs = &items[1].xattrs;
        assert_eq!((&*xattrs[0].0, &*xattrs[0].1), (&b"user.e"[..], &b""[..]));
        assert_eq!((&*xattrs[1].0, &*xattrs[1].1), (&b"user.k"[..], &b"v\xff"[..]));
        assert_eq!((items[2].rdev, items[2].mtime), (259, 1));
    }

    #[test]
    fn a_dump_that_ends_early_is_an_error() {
        for cut in [DUMP.len() - 2, DUMP.len() / 2, 10] {
            assert!(read_items(&DUMP.as_bytes()[..cut], |_| Ok(()), |_| {}).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn the_id_can_refuse_the_archive() {
        let e =
            read_items(DUMP.as_bytes(), |_| Err("another one".into()), |_| panic!("an item")).unwrap_err();
        assert!(e.to_string().contains("another one"), "{e}");
    }
}
