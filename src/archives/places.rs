//! What the words of a person name: something in an archive, or in a volume of it (`VOLUME:/PATH`).

use serde::{Deserialize, Serialize};

use super::archived::Archived;
use crate::archive::tree::Body;
use crate::error::Result;

/// Where what a word of a person's names is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    Archive,
    /// In a volume of the archive, `/` first.
    Volume {
        volume: Vec<u8>,
        path: Vec<u8>,
    },
}

/// `a:/b:/c` as a volume and a path in it, in each way.
fn splits(word: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let colons = memchr::memmem::find_iter(word, b":/").filter(|at| *at > 0);
    colons.map(|at| (&word[..at], &word[at + 1..]))
}

/// What each of `words` names in `archived`: the archive is asked first, and only what it does not have may be
/// `VOLUME:/PATH`.
///
/// # Errors
/// [`crate::error::Kind::NotFound`] when it is neither.
pub fn places(archived: &Archived, words: &[Vec<u8>]) -> Result<Vec<Place>> {
    words.iter().map(|word| place(archived, word)).collect()
}

fn place(archived: &Archived, word: &[u8]) -> Result<Place> {
    if archived.has(word).is_some() {
        return Ok(Place::Archive);
    }
    let is_file = |volume: &[u8]| {
        let node = archived.has(volume).and_then(|node| archived.tree.node(node));
        matches!(node.map(|node| node.body), Some(Body::File(_)))
    };
    for (volume, path) in splits(word) {
        if is_file(volume) {
            return Ok(Place::Volume { volume: volume.to_vec(), path: path.to_vec() });
        }
    }
    match splits(word).next() {
        // It says which volumes there are.
        Some((volume, path)) => Ok(Place::Volume { volume: volume.to_vec(), path: path.to_vec() }),
        None => archived.find(word).map(|_| Place::Archive),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_in_a_volume_may_begin_at_each_colon() {
        let split = |text: &'static str| splits(text.as_bytes()).collect::<Vec<_>>();
        assert_eq!(split("v:/a:/b"), [(&b"v"[..], &b"/a:/b"[..]), (b"v:/a", b"/b")]);
        assert_eq!(split("tank/v:/"), [(&b"tank/v"[..], &b"/"[..])]);
        for no in ["tank/v", "tank:v", ":/x"] {
            assert!(split(no).is_empty(), "{no}");
        }
    }
}
