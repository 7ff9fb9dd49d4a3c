//! Chunks of zeros, which are recognised by their id and need not be fetched.

use std::collections::HashMap;
use std::sync::Mutex;

use super::chunks::Chunk;
use super::id::Id;

/// The sizes of such chunks are multiples of this, in bytes.
const UNIT: u32 = 512;
/// The largest such chunk.
const LARGEST: u32 = 32 << 20;
/// The most sizes for which zeros are hashed: a list of chunks with many different sizes must not
/// make us hash forever.
const MOST_SIZES: usize = 4096;

/// The ids of zeros, by size; each is computed once.
#[derive(Default)]
pub struct Zeros {
    ids: Mutex<HashMap<u32, Id>>,
}

impl Zeros {
    /// `id_of` computes the id of plain bytes.
    pub fn is_zero(&self, id_of: impl FnOnce(&[u8]) -> Id, chunk: &Chunk) -> bool {
        if chunk.size == 0 || !chunk.size.is_multiple_of(UNIT) || chunk.size > LARGEST {
            return false;
        }
        let mut ids = self.ids.lock().unwrap_or_else(|e| e.into_inner());
        if ids.len() >= MOST_SIZES && !ids.contains_key(&chunk.size) {
            return false;
        }
        *ids.entry(chunk.size).or_insert_with(|| id_of(&vec![0; chunk.size as usize])) == chunk.id
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Crypto;

    #[test]
    fn zeros_are_known_by_id_and_size() {
        let (crypto, zeros) = (Crypto::plain(), Zeros::default());
        let is_zero = |chunk: &Chunk| zeros.is_zero(|plain| crypto.id_of(plain), chunk);
        let chunk = |id, size| Chunk { id, size, stored: 0 };
        let id = crypto.id_of(&[0; 1024]);
        assert!(is_zero(&chunk(id, 1024)));
        assert!(!is_zero(&chunk(id, 512)));
        assert!(!is_zero(&chunk(crypto.id_of(&[1; 1024]), 1024)));
        assert!(!is_zero(&chunk(id, 0)));
        assert_eq!(zeros.ids.lock().unwrap().len(), 2);
    }
}
