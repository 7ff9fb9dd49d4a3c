//! Are two trees the same, in everything that can be seen of them?

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use super::program::Program;
use super::xattr;

/// Everything that is seen of one file but its bytes, a field a line.
type Seen = BTreeMap<Vec<u8>, String>;

/// Asserts that `left` and `right` hold the same files: names, types, modes, owners, links, sizes,
/// times, devices, targets, attributes, ACLs and bytes.
pub fn assert_same_trees(left: &Path, right: &Path) {
    let (seen_left, seen_right) = (look(left), look(right));
    let mut differences = String::new();
    for path in seen_left.keys().chain(seen_right.keys().filter(|p| !seen_left.contains_key(*p))) {
        let (l, r) = (seen_left.get(path), seen_right.get(path));
        if l != r {
            let nothing = "nothing".to_owned();
            let (l, r) = (l.unwrap_or(&nothing), r.unwrap_or(&nothing));
            writeln!(differences, "{}:\n  {l}\n  {r}", path.escape_ascii()).unwrap();
        }
    }
    let (left_name, right_name) = (left.display(), right.display());
    assert!(differences.is_empty(), "{left_name} (first) and {right_name} differ in\n{differences}");
    assert!(!seen_left.is_empty(), "{left_name} is empty");
    for path in seen_left.keys() {
        let path = Path::new(OsStr::from_bytes(path));
        if left.join(path).symlink_metadata().unwrap().is_file() {
            assert_same_bytes(&left.join(path), &right.join(path));
        }
    }
    let (acls_left, acls_right) = (acls(left), acls(right));
    let differing: Vec<_> = acls_left.symmetric_difference(&acls_right).collect();
    assert!(differing.is_empty(), "the ACLs of {left_name} and {right_name} differ: {differing:#?}");
}

/// Asserts that two files, or devices, have the same bytes.
pub fn assert_same_bytes(left: &Path, right: &Path) {
    let open = |path: &Path| File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let (mut l, mut r) = (open(left), open(right));
    let (mut l_buf, mut r_buf) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut offset = 0;
    loop {
        let l_len = read_full(&mut l, &mut l_buf, left);
        let r_len = read_full(&mut r, &mut r_buf, right);
        if l_buf[..l_len] != r_buf[..r_len] {
            let same = l_buf[..l_len].iter().zip(&r_buf[..r_len]).take_while(|(a, b)| a == b).count();
            panic!("{} and {} differ at byte {}", left.display(), right.display(), offset + same);
        }
        if l_len == 0 {
            return;
        }
        offset += l_len;
    }
}

fn read_full(file: &mut File, buffer: &mut [u8], name: &Path) -> usize {
    let mut len = 0;
    while len < buffer.len() {
        match file.read(&mut buffer[len..]).unwrap_or_else(|e| panic!("{}: {e}", name.display())) {
            0 => break,
            n => len += n,
        }
    }
    len
}

fn look(root: &Path) -> Seen {
    let mut seen = Seen::new();
    let mut inodes = HashMap::new();
    walk(root, b"", &mut |path, file, meta| {
        // The first name of an inode stands for it, so that links can be compared across trees.
        let first = inodes.entry(meta.ino()).or_insert_with(|| path.to_vec()).clone();
        seen.insert(path.to_vec(), describe(file, meta, &first));
    });
    seen
}

fn walk(dir: &Path, relative: &[u8], each: &mut impl FnMut(&[u8], &Path, &Metadata)) {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut names: Vec<_> = entries.map(|e| e.unwrap()).collect();
    names.sort_by_key(|e| e.file_name());
    for entry in names {
        let file = entry.path();
        let meta = file.symlink_metadata().unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        assert_eq!(entry.file_type().unwrap(), meta.file_type(), "readdir's type of {}", file.display());
        let slash: &[u8] = if relative.is_empty() { b"" } else { b"/" };
        let path = [relative, slash, entry.file_name().as_bytes()].concat();
        each(&path, &file, &meta);
        if meta.is_dir() {
            walk(&file, &path, each);
        }
    }
}

fn describe(file: &Path, meta: &Metadata, first_name: &[u8]) -> String {
    let mut text = format!(
        "mode {:o} owner {}:{} mtime {}.{:09}",
        meta.mode(),
        meta.uid(),
        meta.gid(),
        meta.mtime(),
        meta.mtime_nsec()
    );
    let kind = meta.file_type();
    // What a directory's size and link count mean is the file system's own affair.
    if !meta.is_dir() {
        let first = first_name.escape_ascii();
        write!(text, " size {} links {} first name {first}", meta.size(), meta.nlink()).unwrap();
    }
    if kind.is_block_device() || kind.is_char_device() {
        write!(text, " device {:#x}", meta.rdev()).unwrap();
    }
    if meta.is_symlink() {
        let target = std::fs::read_link(file).unwrap();
        write!(text, " to {}", target.as_os_str().as_bytes().escape_ascii()).unwrap();
    }
    for (name, value) in xattr::all(file) {
        // ACLs are compared as text: their binary form is the file system's.
        if !name.starts_with(b"system.posix_acl") {
            write!(text, " {}={}", name.escape_ascii(), value.escape_ascii()).unwrap();
        }
    }
    text
}

/// What getfacl says, a block a file, sorted: it lists a directory in the directory's own order.
fn acls(root: &Path) -> BTreeSet<String> {
    let run = Program::new("getfacl").args(["-R", "-P", "-n", "-p", "."]).current_dir(root).ok();
    run.stdout().split("\n\n").map(str::to_owned).collect()
}
