//! Whatever a key, a key file and the config of a repository are.
#![no_main]

use borg_repository::Id;
use borg_repository::internals::{Config, Locked, key_of};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = Locked::decode(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = Locked::parse(text);
        let _ = key_of(text, &Id([0; 32]));
        let _ = Config::parse(text);
    }
});
