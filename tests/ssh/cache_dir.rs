//! `--cache-dir` in a directory of another account, who may put there what it likes.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::common::{ARCHIVE, Flavour, Machine, Mounted, Need, Program, Random, available};
use crate::scene_of;

const SIZE: usize = 24 << 20;
/// What is kept of it is less, so that something has to go.
const KEPT: [&str; 2] = ["--cache-size", "16M"];

/// A directory of root's that looks like one of chunks: the oldest would be the first to go.
fn bait(dir: PathBuf) -> PathBuf {
    for byte in 0..=255 {
        let directory = dir.join(format!("{byte:02x}"));
        std::fs::create_dir_all(&directory).unwrap();
        let file = std::fs::File::create(directory.join(format!("{byte:064x}"))).unwrap();
        file.set_len(1 << 20).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    }
    dir
}

/// Its entries with what tells whether they were touched.
fn entries(dir: &Path) -> BTreeMap<PathBuf, (u64, i64, i64)> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for path in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
            let meta = path.symlink_metadata().unwrap();
            found.insert(path.clone(), (meta.ino(), meta.mtime(), meta.mtime_nsec()));
            if meta.is_dir() {
                open.push(path);
            }
        }
    }
    found
}

fn give_to_another(path: &Path) {
    Program::new("chown").args(["-hR", "65534:65534"]).arg(path).ok();
}

/// Mounts with `cache` as the directory, does `meanwhile`, and reads all of the image.
fn read(machine: &Machine, cache: &Path, bytes: &[u8], meanwhile: impl FnOnce()) {
    let options = ["--source", "native", "--cache-dir", cache.to_str().unwrap()];
    let mounted = Mounted::new(machine, ARCHIVE, &[&options[..], &KEPT].concat());
    meanwhile();
    assert!(std::fs::read(mounted.path("image")).unwrap() == bytes);
    mounted.umount(machine);
}

#[test]
fn links_of_the_account_whose_directory_it_is_lead_root_nowhere() {
    if !available(&[Need::Root, Need::Fuse, Need::Sshd]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let bytes = Random::new(5).bytes(SIZE);
    let fill = |source: &Path| std::fs::write(source.join("image"), &bytes).unwrap();
    let (machine, _repository, _server) = scene_of(flavour, fill);
    let dir = tempfile::tempdir().unwrap();
    let (theirs, roots) = (dir.path().join("theirs"), bait(dir.path().join("roots")));
    std::fs::create_dir(&theirs).unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let before = entries(&roots);

    // The directory itself is a link.
    for name in ["chunks", "catalogs"] {
        symlink(&roots, theirs.join(name)).unwrap();
    }
    give_to_another(&theirs);
    read(&machine, &theirs, &bytes, || ());
    assert_eq!(entries(&roots), before);

    // Their own directory, with links in it.
    for name in ["chunks", "catalogs"] {
        std::fs::remove_file(theirs.join(name)).unwrap();
        std::fs::create_dir(theirs.join(name)).unwrap();
    }
    for byte in 0..=255 {
        let name = format!("{byte:02x}");
        symlink(roots.join(&name), theirs.join("chunks").join(&name)).unwrap();
    }
    give_to_another(&theirs);
    let planted = entries(&theirs);
    read(&machine, &theirs, &bytes, || ());
    assert_eq!((entries(&roots), entries(&theirs)), (before.clone(), planted));

    // It is put in the place of root's while that is in use.
    std::fs::remove_dir_all(&theirs).unwrap();
    std::fs::create_dir(&theirs).unwrap();
    give_to_another(&theirs);
    let moved = theirs.join("moved");
    read(&machine, &theirs, &bytes, || {
        std::fs::rename(theirs.join("chunks"), &moved).unwrap();
        symlink(&roots, theirs.join("chunks")).unwrap();
    });
    assert_eq!(entries(&roots), before);
    assert_eq!(moved.metadata().unwrap().mode() & 0o777, 0o700);
    let kept: u64 = entries(&moved).keys().map(|path| path.symlink_metadata().unwrap().len()).sum();
    assert!(kept > 1 << 20, "{kept} bytes are kept where root's directory is");
}
