//! The files of an archive, as `borg list ::ARCHIVE` prints them.

use std::ffi::OsString;
use std::sync::Arc;

use borg_repository::{Archive, ChunkLists, FileType, Item};
use serde_json::{Map, Value as Json, json};

use super::format::{Format, Key};
use super::mode;
use super::value::{Time, Value, readable};
use crate::archive::patterns::Patterns;
use crate::error::{Error, Result};

/// The keys that need neither borg's cache nor the bytes of files.
const KEYS: [Key; 24] = [
    Key::plain("type"),
    Key::plain("mode"),
    Key::plain("uid"),
    Key::plain("gid"),
    Key::plain("user"),
    Key::plain("group"),
    Key::plain("path"),
    Key::plain("bpath"),
    Key::plain("source"),
    Key::plain("linktarget"),
    Key::plain("flags"),
    Key::plain("size"),
    Key::plain("csize"),
    Key::plain("num_chunks"),
    Key::time("mtime"),
    Key::time("ctime"),
    Key::time("atime"),
    Key::plain("isomtime"),
    Key::plain("isoctime"),
    Key::plain("isoatime"),
    Key::plain("archiveid"),
    Key::plain("archivename"),
    Key::plain("extra"),
    Key::plain("health"),
];
const LONG: &str = "{mode} {user:6} {group:6} {size:8} {mtime} {path}{extra}{NL}";
const SHORT: &str = "{path}{NL}";
/// Keys that JSON lines always have.
const ALWAYS: [&str; 11] =
    ["type", "mode", "user", "group", "uid", "gid", "path", "source", "linktarget", "flags", "healthy"];

/// Prints the files of an archive that were chosen.
pub struct ItemList {
    format: Format,
    is_json: bool,
    paths: Patterns,
    excluded: Patterns,
    all: bool,
}

impl ItemList {
    /// With `format`, or borg's own, for the files that `paths` and not `excluded` match, in borg's
    /// pattern styles.
    ///
    /// # Errors
    /// When only borg knows the format or a pattern.
    pub fn new(
        format: Option<&str>,
        is_short: bool,
        is_json: bool,
        paths: &[OsString],
        excluded: &[String],
    ) -> Result<Self> {
        let format = format.unwrap_or(if is_short { SHORT } else { LONG });
        let to_error = |pattern: &str| {
            Error::usage(format!("the pattern {pattern} cannot be matched here"))
                .hint("where borg is installed, `list` is borg's own and knows it")
        };
        Ok(ItemList {
            format: Format::parse(format, &KEYS)?,
            is_json,
            paths: Patterns::parse_paths(paths).map_err(|pattern| to_error(&pattern))?,
            excluded: Patterns::parse(excluded).map_err(to_error)?,
            all: paths.is_empty(),
        })
    }

    /// Writes the line of `item` to `out`, if it was chosen.
    pub fn write(&self, archive: &Archive, item: &Item, chunks: &ChunkLists, out: &mut Vec<u8>) {
        let path = item.raw.as_deref().unwrap_or(item.path.as_bytes());
        if self.excluded.match_path(path) || !self.all && !self.paths.match_path(path) {
            return;
        }
        let value = |name| value(name, archive, item, chunks, path);
        if !self.is_json {
            return self.format.write(value, out);
        }
        let mut line = Map::new();
        for name in ALWAYS.into_iter().chain(self.format.keys()) {
            let json = match name {
                "healthy" => json!(!item.damaged),
                "bpath" | "extra" | "health" => continue,
                name => value(name).json(),
            };
            line.insert(name.to_owned(), json);
        }
        out.extend(Json::Object(line).to_string().as_bytes());
        out.push(b'\n');
    }
}

fn value<'a>(
    name: &str,
    archive: &'a Archive,
    item: &'a Item,
    chunks: &ChunkLists,
    path: &'a [u8],
) -> Value<'a> {
    let kind = FileType::from_mode(item.mode);
    let source = item.source.as_deref().unwrap_or_default();
    let time = |time: Option<i64>| Time::from_nanos(time.filter(|t| *t != 0).unwrap_or(item.mtime));
    let owner = |name: &'a Option<Arc<[u8]>>, number: u32| match name {
        Some(name) if !name.is_empty() => Value::Text(readable(name)),
        _ => Value::Number(number.into()),
    };
    let link = kind == Some(FileType::Symlink);
    match name {
        "type" => Value::text(mode::letter(item.mode).to_string()),
        "mode" => {
            let letter = if source.is_empty() || link { mode::letter(item.mode) } else { 'h' };
            Value::text(mode::text(item.mode, letter))
        }
        "uid" => Value::Number(item.uid.into()),
        "gid" => Value::Number(item.gid.into()),
        "user" => owner(&item.user, item.uid),
        "group" => owner(&item.group, item.gid),
        "path" => Value::Text(readable(path)),
        "bpath" => Value::Bytes(path),
        "source" | "linktarget" => Value::Text(readable(source)),
        "flags" => Value::Number(item.flags.into()),
        "size" | "csize" if link => Value::Number(source.len() as u64),
        "size" => Value::Number(item.size),
        "csize" => Value::Number(chunks.chunks.iter().map(|chunk| u64::from(chunk.stored)).sum()),
        "num_chunks" => Value::Number(chunks.chunks.len() as u64),
        "mtime" => Value::Time(time(None)),
        "ctime" => Value::Time(time(item.ctime)),
        "atime" => Value::Time(time(item.atime)),
        "isomtime" => Value::text(time(None).iso()),
        "isoctime" => Value::text(time(item.ctime).iso()),
        "isoatime" => Value::text(time(item.atime).iso()),
        "archiveid" => Value::text(archive.id.to_string()),
        "archivename" => Value::Text(readable(&archive.name)),
        "extra" if source.is_empty() => Value::text(""),
        "extra" if link => Value::text(format!(" -> {}", readable(source))),
        "extra" => Value::text(format!(" link to {}", readable(source))),
        "health" => Value::text(if item.damaged { "broken" } else { "healthy" }),
        _ => Value::text(""),
    }
}

#[cfg(test)]
mod tests {
    use borg_repository::ItemPath;

    use super::*;

    #[test]
    fn every_key_has_a_value_of_its_kind() {
        let archive = archive();
        let mut item = Item::new(ItemPath::new(b"a").unwrap(), 0o100644);
        item.mtime = 1;
        for key in KEYS {
            let value = value(key.name, &archive, &item, &ChunkLists::default(), b"a");
            assert_eq!(matches!(value, Value::Time(_)), key.is_time, "{}", key.name);
        }
    }

    fn archive() -> Archive {
        let packed = b"\x82\xa7version\x01\xa4name\xa1n";
        Archive::parse(borg_repository::Id([1; 32]), packed, &borg_repository::internals::Crypto::plain())
            .unwrap()
    }
}
