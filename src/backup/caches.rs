//! Directories that a CACHEDIR.TAG keeps out of the archive.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::tools::borg::Line;

const TAG: &str = "CACHEDIR.TAG";
/// The beginning of a tag: <https://bford.info/cachedir/>
const SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";
/// borg's status for what it leaves out.
const LEFT_OUT: char = 'x';

/// The list that borg must print for [`is_cache`].
pub const LISTED: [&str; 3] = ["--list", "--filter", "x"];

/// The directory that borg left out, if it has a tag: borg also lists directories that a pattern
/// excludes.
pub fn left_out<'a>(line: &'a Line, tree: &Path) -> Option<&'a str> {
    match line {
        Line::File { status: LEFT_OUT, path } => is_cache(&tree.join(path)).then_some(path),
        _ => None,
    }
}

fn is_cache(dir: &Path) -> bool {
    let mut options = File::options();
    // Opening a pipe with this name must not block.
    let tag = options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(dir.join(TAG));
    let mut begin = [0; SIGNATURE.len()];
    tag.and_then(|mut tag| tag.read_exact(&mut begin)).is_ok() && begin == SIGNATURE
}
