//! Whatever a segment holds: its entries stand within it, and one after the other.
#![no_main]

use borg_repository::internals::{Change, walk};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut last = 0;
    let _ = walk(std::io::Cursor::new(bytes), |change| {
        if let Change::Put { offset, .. } = change {
            assert!(offset > last && (offset as usize) < bytes.len());
            last = offset;
        }
    });
});
