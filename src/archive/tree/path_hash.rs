//! Hashes of paths.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher13};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::paths::names;

/// The hash of a path. Its key is secret and it is long enough, so that no two paths have the same one.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
#[repr(C)]
pub struct PathHash([u64; 2]);

impl PathHash {
    /// The hash of the root.
    pub const ROOT: PathHash = PathHash([0; 2]);

    /// The half that paths are sorted by first.
    pub fn first(&self) -> u64 {
        self.0[0]
    }
}

/// Hashes paths, name by name.
#[derive(Clone, Copy)]
pub struct PathHasher(SipHasher13);

impl PathHasher {
    pub fn new(key: &[u8; 16]) -> Self {
        PathHasher(SipHasher13::new_with_key(key))
    }

    /// The hash of `name` in a directory.
    pub fn child(&self, directory: PathHash, name: &[u8]) -> PathHash {
        let mut hasher = self.0;
        hasher.write(directory.as_bytes());
        hasher.write(name);
        let hash = hasher.finish128();
        PathHash([hash.h1, hash.h2])
    }

    pub fn of(&self, path: &[u8]) -> PathHash {
        names(path).fold(PathHash::ROOT, |directory, name| self.child(directory, name))
    }
}
