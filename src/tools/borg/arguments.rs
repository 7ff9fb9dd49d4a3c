//! Arguments of borg that name archives and paths with any bytes.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// `::NAME` as an argument of borg.
pub fn archive_argument(name: &str) -> String {
    format!("::{name}")
}

/// `pf:PATH`: exactly this path.
pub fn exact_path(path: &[u8]) -> OsString {
    let mut bytes = b"pf:".to_vec();
    bytes.extend_from_slice(path);
    OsString::from_vec(bytes)
}

/// `pp:PATH`: this path and everything below it.
pub fn path_and_below(path: &[u8]) -> OsString {
    OsString::from_vec([b"pp:", path].concat())
}

/// The same for an archive whose paths begin with `./`, such as that of a tar. borg removes `./`
/// from the path in the argument, but not from those in the archive.
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

/// The length of an argument in bytes, for the limit of a command line.
pub fn argument_length(argument: &OsStr) -> usize {
    argument.as_bytes().len() + 1
}
