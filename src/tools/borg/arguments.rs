//! Arguments of borg that name archives and paths, whatever bytes are in them.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// `::NAME` as an argument of borg.
pub fn archive_argument(name: &str) -> String {
    format!("::{name}")
}

/// `pf:PATH`: exactly this path, whatever bytes are in it.
pub fn exact_path(path: &[u8]) -> OsString {
    let mut bytes = b"pf:".to_vec();
    bytes.extend_from_slice(path);
    OsString::from_vec(bytes)
}

/// `pp:PATH`: this path and all that is below it, whatever bytes are in it.
pub fn path_and_below(path: &[u8]) -> OsString {
    OsString::from_vec([b"pp:", path].concat())
}

/// The same where the archive has names with `./` before them, as those of a tar do: borg takes `./` away from
/// what a person asks for, but not from what it has.
pub fn dotted_path_and_below(path: &[u8]) -> OsString {
    let mut pattern = b"re:^(?:\\./+)*".to_vec();
    for byte in path {
        if byte.is_ascii_punctuation() && *byte != b'/' || byte.is_ascii_whitespace() {
            pattern.push(b'\\');
        }
        pattern.push(*byte);
    }
    pattern.extend(b"(?:/|\\Z)");
    OsString::from_vec(pattern)
}

/// The bytes of an argument, for limits on the length of a command line.
pub fn argument_length(argument: &OsStr) -> usize {
    argument.as_bytes().len() + 1
}
