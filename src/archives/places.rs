//! What a PATH on the command line names: something in an archive, or in a volume of it
//! (`VOLUME:/PATH`).

use serde::{Deserialize, Serialize};

use super::open_archive::OpenArchive;
use crate::archive::tree::Body;
use crate::error::Result;

/// The place that a PATH names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    Archive,
    /// A path in a volume of the archive. `path` begins with `/`.
    Volume {
        volume: Vec<u8>,
        path: Vec<u8>,
    },
}

/// All ways to split `a:/b:/c` into a volume and a path.
fn splits(word: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let colons = memchr::memmem::find_iter(word, b":/").filter(|at| *at > 0);
    colons.map(|at| (&word[..at], &word[at + 1..]))
}

/// The place that each of `words` names. A path in the archive takes precedence over
/// `VOLUME:/PATH`.
///
/// # Errors
/// [`crate::error::Kind::NotFound`] when it names neither.
pub fn places(archived: &OpenArchive, words: &[Vec<u8>]) -> Result<Vec<Place>> {
    words.iter().map(|word| place(archived, word)).collect()
}

fn place(archived: &OpenArchive, word: &[u8]) -> Result<Place> {
    if archived.has(word)?.is_some() {
        return Ok(Place::Archive);
    }
    let is_file = |volume: &[u8]| -> Result<bool> {
        let node = archived.has(volume)?.map(|node| archived.tree.node(node)).transpose()?.flatten();
        Ok(matches!(node.map(|node| node.body), Some(Body::File(_))))
    };
    for (volume, path) in splits(word) {
        if is_file(volume)? {
            return Ok(Place::Volume { volume: volume.to_vec(), path: path.to_vec() });
        }
    }
    match splits(word).next() {
        // The error of the missing volume names those that there are.
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
