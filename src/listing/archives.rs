//! The archives of a repository, as `borg list` prints them.

use borg_repository::{Archive as Metadata, Authenticity};
use serde_json::{Map, Value as Json, json};

use super::format::{Format, Key};
use super::value::{Time, Value, readable};
use crate::archive::name::Archive;
use crate::error::Result;
use crate::tools::ssh::quote;

const KEYS: [Key; 13] = [
    Key::plain("archive"),
    Key::plain("name"),
    Key::plain("barchive"),
    Key::plain("comment"),
    Key::plain("bcomment"),
    Key::plain("id"),
    Key::plain("tam"),
    Key::time("start"),
    Key::time("time"),
    Key::time("end"),
    Key::plain("command_line"),
    Key::plain("hostname"),
    Key::plain("username"),
];
/// Keys whose values are in the archive and not in the list of archives.
const IN_METADATA: [&str; 7] = ["comment", "bcomment", "tam", "end", "command_line", "hostname", "username"];
/// Keys that JSON always has.
const ALWAYS: [&str; 6] = ["archive", "barchive", "name", "id", "start", "time"];
const LONG: &str = "{archive:<36} {time} [{id}]{NL}";
const SHORT: &str = "{archive}{NL}";

/// Prints archives.
pub struct ArchiveList(Format);

impl ArchiveList {
    /// With `format`, or borg's own.
    ///
    /// # Errors
    /// When only borg knows the format.
    pub fn new(format: Option<&str>, is_short: bool) -> Result<Self> {
        Format::parse(format.unwrap_or(if is_short { SHORT } else { LONG }), &KEYS).map(ArchiveList)
    }

    /// Whether each archive's metadata must be read.
    pub fn needs_metadata(&self) -> bool {
        self.0.keys().any(|key| IN_METADATA.contains(&key))
    }

    /// Writes the line of `archive` to `out`.
    pub fn write(&self, archive: &Archive, metadata: Option<&Metadata>, out: &mut Vec<u8>) {
        self.0.write(|name| value(name, archive, metadata), out);
    }

    /// The object of `archive` in the JSON of the list.
    pub fn json(&self, archive: &Archive, metadata: Option<&Metadata>) -> Json {
        let wanted = self.0.keys().filter(|key| IN_METADATA.contains(key));
        let field = |name: &str| match (name, metadata) {
            ("command_line", Some(metadata)) => json!(metadata.command_line),
            _ => value(name, archive, metadata).json(),
        };
        Json::Object(
            ALWAYS
                .into_iter()
                .chain(wanted)
                .map(|name| (name.to_owned(), field(name)))
                .collect::<Map<_, _>>(),
        )
    }
}

fn value<'a>(name: &str, archive: &'a Archive, metadata: Option<&'a Metadata>) -> Value<'a> {
    let text = |of: fn(&Metadata) -> &str| Value::text(metadata.map(of).unwrap_or_default());
    match name {
        "archive" | "name" => Value::text(&*archive.name),
        "barchive" => Value::Bytes(metadata.map_or(archive.name.as_bytes(), |metadata| &metadata.name)),
        "id" => Value::text(&*archive.id),
        "start" | "time" => Value::Time(Time::parse(&archive.start)),
        "end" => Value::Time(Time::parse(metadata.map(|metadata| &*metadata.end).unwrap_or_default())),
        "comment" | "bcomment" => text(|metadata| &metadata.comment),
        "hostname" => text(|metadata| &metadata.hostname),
        "username" => text(|metadata| &metadata.username),
        "command_line" => Value::Text(metadata.map(command_line).unwrap_or_default().into()),
        "tam" => {
            let is_signed = metadata.is_some_and(|m| m.authenticity == Authenticity::Authenticated);
            Value::text(if is_signed { "verified" } else { "none" })
        }
        _ => Value::Text(readable(b"")),
    }
}

/// As a shell takes it.
pub fn command_line(metadata: &Metadata) -> String {
    quote(&metadata.command_line).to_string_lossy().into_owned()
}
