//! Whatever an object is: it is opened, and what decompresses is no longer than it may be.
#![no_main]

use borg_repository::Id;
use borg_repository::internals::{Crypto, Mode, Secrets, Size, decompress};

fn crypto(mode: Mode) -> Crypto {
    let length = mode.hash_key_length();
    let key = |length: usize| vec![1; length].into();
    let secrets = Secrets { encryption: key(32), mac: key(length), id: key(length), tam_required: None };
    Crypto::new(mode, &secrets).unwrap()
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    const LIMIT: usize = 1 << 20;
    for mode in [Mode::RepoKey, Mode::RepoKeyBlake2] {
        let _ = crypto(mode).open(&Id::MANIFEST, &mut bytes.to_vec());
    }
    if let Ok(data) = Crypto::plain().open(&Id::MANIFEST, &mut bytes.to_vec())
        && let Ok(plain) = decompress(data, Size::AtMost(LIMIT))
    {
        assert!(plain.len() <= LIMIT);
        assert_eq!(decompress(data, Size::Exactly(plain.len())).unwrap(), plain);
    }
});
