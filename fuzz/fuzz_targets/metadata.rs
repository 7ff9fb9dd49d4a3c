//! Whatever a manifest and an archive's own metadata are, where nothing authenticates them.
#![no_main]

use borg_repository::Id;
use borg_repository::internals::{Archive, Crypto, Manifest};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for tam_required in [true, false] {
        let _ = Manifest::parse(bytes, &Crypto::plain(), tam_required);
    }
    let _ = Archive::parse(Id([1; 32]), bytes, &Crypto::plain());
});
