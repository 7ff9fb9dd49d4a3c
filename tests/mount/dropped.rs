//! Trees that do not fit into memory are dropped, and loaded again when they are asked for.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use borg_offsite_backup::archive::tree::View;
use borg_offsite_backup::archives::cache::{Cache, Limits};
use borg_offsite_backup::archives::source::Catalog;
use borg_offsite_backup::mount::fs::{FileSystem, Presentation, ROOT};
use borg_offsite_backup::mount::shown::ShownArchives;
use borg_offsite_backup::tools::owners::{Owners, Ownership};

use crate::memory::{MemoryCatalog, archive, item};

/// Three archives with a file each, of whose trees one fits; and how often one was read.
fn file_system() -> (FileSystem, Arc<AtomicU64>) {
    let mut catalog = MemoryCatalog::default();
    for (n, name) in (0..).zip(["a", "b", "c"]) {
        let mut file = item(b"f", libc::S_IFREG | 0o644);
        file.size = 1;
        let bytes = HashMap::from([(b"f".to_vec(), name.as_bytes().to_vec())]);
        catalog.archives.push((archive(name, n), vec![file], bytes));
    }
    let (archives, read) = (catalog.archives().unwrap(), Arc::clone(&catalog.read));
    let presentation = Presentation {
        view: View::default(),
        owners: Owners::new(Ownership::default()),
        allow_damaged_files: false,
        transform_symlinks: false,
        for_everyone: false,
        tree_memory: 1,
    };
    let limits = Limits { memory: 1 << 20, scratch: 0, dir: std::env::temp_dir() };
    let shown = ShownArchives::of(archives, Box::new(|_| Ok(None)));
    let cache = Arc::new(Cache::new(&limits).unwrap());
    (FileSystem::of_archives(Arc::new(catalog), cache, presentation, shown), read)
}

fn file_in(fs: &FileSystem, archive: &str) -> u64 {
    let root = fs.lookup(ROOT, archive.as_bytes()).unwrap().ino;
    fs.lookup(root, b"f").unwrap().ino
}

#[test]
fn a_tree_that_was_dropped_is_loaded_again_and_has_the_same_inodes() {
    let (fs, read) = file_system();
    let a = file_in(&fs, "a");
    assert_eq!(file_in(&fs, "a"), a);
    assert_eq!(read.load(Ordering::Relaxed), 1, "one fits");
    let b = file_in(&fs, "b");
    assert!(!fs.is_ready(a) && fs.is_ready(b));
    assert_eq!(fs.read(a, 0, 9).unwrap(), b"a");
    assert_eq!(read.load(Ordering::Relaxed), 3, "a, b, and a again");
    assert_eq!(file_in(&fs, "a"), a);
}

#[test]
fn an_archive_in_which_a_file_is_open_stays() {
    let (fs, read) = file_system();
    let a = file_in(&fs, "a");
    fs.hold(a);
    file_in(&fs, "b");
    let c = file_in(&fs, "c");
    assert!(fs.is_ready(a), "it is open");
    assert_eq!(fs.read(a, 0, 9).unwrap(), b"a");
    fs.release(a);
    assert!(fs.is_ready(a) && !fs.is_ready(c), "a was used last");
    assert_eq!(read.load(Ordering::Relaxed), 3);
}
