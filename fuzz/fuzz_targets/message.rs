//! Whatever a server sends: messages are cut, parsed, and taken for each kind of answer.
#![no_main]

use borg_repository::internals::Messages;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for as_bytes in [true, false] {
        let mut messages = Messages::new(bytes);
        while let Ok(answer) = messages.next(|| ()) {
            if as_bytes {
                let _ = answer.bytes();
            } else {
                let _ = answer.server_version();
            }
        }
    }
});
