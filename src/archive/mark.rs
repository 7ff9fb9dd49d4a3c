//! The mark that `create` writes into an archive's comment: which machine and run made the archive,
//! and what it holds.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::volumes;

/// The delimiters of a mark in a comment. The text between them has no bracket, brace, quote or
/// space of its own, so borg and JSON keep it unchanged.
const BEGIN: &str = "[borg-offsite-backup ";
const END: char = ']';
/// Longer marks have digests instead of names: the length of a command line is limited.
const NAMES_UP_TO: usize = 16 << 10;
/// With more places than this, a mark has one digest of all: the limit of an argument is 128 KiB.
const DIGESTS_UP_TO: usize = 5000;
/// The mark in an archive's comment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Derived from the machine-id; `None` if that could not be read.
    pub machine: Option<String>,
    /// `archive_suffix`
    pub suffix: Option<String>,
    /// The id of the run.
    pub run: String,
    /// What was backed up: places in the archive, in the form of [`token`].
    pub(super) roots: Vec<String>,
}

impl Mark {
    /// `roots` are the places that the archive holds, such as `/boot` or `/dev/zvol/tank/v`.
    pub fn new(machine: Option<String>, suffix: Option<String>, run: String, roots: &[Vec<u8>]) -> Self {
        let mut tokens: Vec<String> = roots.iter().map(|root| token(root)).collect();
        if tokens.iter().map(|token| token.len() + 1).sum::<usize>() > NAMES_UP_TO {
            tokens = match tokens.len() {
                ..=DIGESTS_UP_TO => tokens.iter().map(|token| digest(token)).collect(),
                _ => vec![digest_of_all(tokens)],
            };
        }
        Mark { machine, suffix, run, roots: tokens }
    }

    /// Parses a comment that contains a mark.
    pub fn find(text: &str) -> Option<Mark> {
        let (_, rest) = text.rsplit_once(BEGIN)?;
        let (fields, _) = rest.split_once(END)?;
        let mut mark = Mark::default();
        for (name, value) in fields.split(' ').filter_map(|field| field.split_once('=')) {
            match name {
                "machine" => mark.machine = Some(value.to_owned()),
                "suffix" => mark.suffix = Some(value.to_owned()),
                "run" => mark.run = value.to_owned(),
                "holds" => mark.roots = value.split(',').map(str::to_owned).collect(),
                _ => {}
            }
        }
        Some(mark)
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(BEGIN)?;
        if let Some(machine) = &self.machine {
            write!(f, "machine={machine} ")?;
        }
        if let Some(suffix) = &self.suffix {
            write!(f, "suffix={suffix} ")?;
        }
        write!(f, "run={} holds={}{END}", self.run, self.roots.join(","))
    }
}

/// A place in the form of marks: every byte that is not plain is written as `%xx`.
pub(super) fn token(place: &[u8]) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-".contains(&b);
    place.iter().map(|&b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02x}") }).collect()
}

/// The place of a token; `None` for a digest.
pub(super) fn place(token: &str) -> Option<Vec<u8>> {
    if !token.starts_with('/') {
        return None;
    }
    let mut bytes = token.bytes();
    let mut place = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            place.push(byte);
            continue;
        }
        let digits = [bytes.next()?, bytes.next()?];
        place.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
    }
    Some(place)
}

pub(super) fn digest(token: &str) -> String {
    hex(token, 6)
}

/// Independent of their order.
pub(super) fn digest_of_all(mut tokens: Vec<String>) -> String {
    tokens.sort();
    hex(&tokens.join(","), 16)
}

fn hex(text: &str, bytes: usize) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
}

/// A place as a person writes it in the configuration: a volume by its name.
pub fn shown_place(place: &[u8]) -> String {
    let volume = place.strip_prefix(b"/").and_then(volumes::name_of);
    String::from_utf8_lossy(volume.unwrap_or(place)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(machine: Option<&str>, suffix: Option<&str>) -> Mark {
        let roots = [b"/".to_vec(), b"/with space, [x]%".to_vec(), b"/dev/zvol/tank/a b".to_vec()];
        Mark::new(machine.map(str::to_owned), suffix.map(str::to_owned), "r-1".into(), &roots)
    }

    #[test]
    fn a_mark_is_read_back_from_whatever_stands_around_it() {
        for mark in [mark(Some("0f"), Some("media")), mark(None, None)] {
            let text = format!("mine [borg] {mark} more]");
            assert_eq!(Mark::find(&text), Some(mark.clone()));
            assert!(!mark.to_string().contains(['{', '}', '"', '\\']), "borg and JSON would change it");
        }
        assert_eq!(Mark::find("[borg-offsite-backup run=x"), None);
        assert_eq!(Mark::find("my comment"), None);
    }
}
