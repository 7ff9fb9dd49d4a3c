//! Extended attributes, of links themselves too.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

fn c(bytes: &[u8]) -> CString {
    CString::new(bytes).unwrap()
}

pub fn set(path: &Path, name: &str, value: &[u8]) {
    let (path, name) = (c(path.as_os_str().as_bytes()), c(name.as_bytes()));
    // SAFETY: both strings end with NUL, and the length is the value's.
    let done =
        unsafe { libc::lsetxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    assert_eq!(done, 0, "cannot set {name:?} of {path:?}: {}", io::Error::last_os_error());
}

/// Names and values, sorted.
pub fn all(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let file = c(path.as_os_str().as_bytes());
    // SAFETY: the buffers are as long as told.
    let names = fill(path, |buf, len| unsafe { libc::llistxattr(file.as_ptr(), buf.cast(), len) });
    let mut all: Vec<_> = names
        .split(|b| *b == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let c_name = c(name);
            // SAFETY: as above.
            let get = |buf: *mut u8, len| unsafe {
                libc::lgetxattr(file.as_ptr(), c_name.as_ptr(), buf.cast(), len)
            };
            (name.to_vec(), fill(path, get))
        })
        .collect();
    all.sort();
    all
}

fn fill(path: &Path, call: impl Fn(*mut u8, usize) -> isize) -> Vec<u8> {
    let mut buffer = vec![0; 65536];
    let len = call(buffer.as_mut_ptr(), buffer.len());
    assert!(len >= 0, "cannot read the attributes of {}: {}", path.display(), io::Error::last_os_error());
    buffer.truncate(len as usize);
    buffer
}
