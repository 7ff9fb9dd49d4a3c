//! Lists of files that are kept for the next mount.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use borg_offsite_backup::archive::filter::ArchiveFilter;
use borg_offsite_backup::archive::name::Archive;
use borg_offsite_backup::archive::tree::View;
use borg_offsite_backup::archives::cache::{Cache, Limits as CacheLimits};
use borg_offsite_backup::archives::native::NativeCatalog;
use borg_offsite_backup::archives::source::Catalog;
use borg_offsite_backup::archives::storage::Remembered;
use borg_offsite_backup::archives::streams::Limits;
use borg_offsite_backup::config::Config;
use borg_offsite_backup::mount::fs::{FileSystem, Presentation, ROOT};
use borg_offsite_backup::progress::Silent;
use borg_offsite_backup::tools::borg::Borg;
use borg_offsite_backup::tools::owners::{Owners, Ownership};
use borg_repository::ItemPath;

use crate::common::{Flavour, Machine};
use crate::contract::{archived, files};

fn catalog(machine: &Machine) -> Arc<NativeCatalog> {
    let borg = Borg::new(&Config::load(&machine.config()).unwrap()).unwrap();
    let Limits { lock_wait, stall, .. } = Limits::default();
    let catalog = NativeCatalog::open(&borg, ArchiveFilter::default(), lock_wait, stall);
    let remembered = Remembered { catalogs: Some(machine.path("cache")), chunks: None };
    Arc::new(catalog.ok().unwrap().remembering(remembered))
}

fn only_archive(catalog: &NativeCatalog) -> Archive {
    catalog.archives().unwrap().remove(0)
}

/// Mounts the archive without a kernel and holds all files to their bytes.
fn mount(catalog: &Arc<NativeCatalog>, view: View, files: &HashMap<Vec<u8>, Vec<u8>>) {
    let limits = CacheLimits { memory: 1 << 20, scratch: 0, dir: PathBuf::new() };
    let presentation = Presentation {
        view,
        owners: Owners::new(Ownership::default()),
        allow_damaged_files: false,
        transform_symlinks: false,
        for_everyone: false,
        tree_memory: 1 << 30,
    };
    let cache = Arc::new(Cache::new(&limits).unwrap());
    let archive = only_archive(catalog);
    let fs = FileSystem::of_archive(Arc::clone(catalog) as _, cache, presentation, archive, &Silent).unwrap();
    for (path, bytes) in files {
        let ino = path.split(|b| *b == b'/').fold(ROOT, |ino, name| fs.lookup(ino, name).unwrap().ino);
        assert!(fs.read(ino, 0, bytes.len() as u32 + 1).unwrap() == *bytes, "{}", path.escape_ascii());
    }
    // Also waits until the list is kept.
    catalog.shut_down();
}

fn kept(machine: &Machine) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(machine.path("cache")).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Whether a mount from here on would not have to read the archive's items.
fn is_remembered(machine: &Machine, view: &View) -> bool {
    let catalog = catalog(machine);
    catalog.remembered(&only_archive(&catalog), view).is_some()
}

#[test]
fn a_second_mount_shows_the_same_without_reading_the_items() {
    let Some(flavour) = Flavour::any() else { return };
    let files = files();
    let (machine, _repository) = archived(flavour, &files);
    let all = View::default();
    assert!(!is_remembered(&machine, &all));
    mount(&catalog(&machine), all.clone(), &files);
    assert!(is_remembered(&machine, &all));
    mount(&catalog(&machine), all.clone(), &files);
    assert_eq!(kept(&machine).len(), 1);

    let part = View { paths: vec![ItemPath::new(b"a/b").unwrap()], strip_components: 1 };
    assert!(!is_remembered(&machine, &part), "another view shows other things");
    let below = |(path, bytes): (&Vec<u8>, &Vec<u8>)| {
        Some((path.strip_prefix(b"a/").filter(|rest| rest.starts_with(b"b/"))?.to_vec(), bytes.clone()))
    };
    let files: HashMap<_, _> = files.iter().filter_map(below).collect();
    assert!(!files.is_empty());
    for _ in 0..2 {
        mount(&catalog(&machine), part.clone(), &files);
        assert!(is_remembered(&machine, &part) && is_remembered(&machine, &all));
    }
}

#[test]
fn a_broken_list_is_read_anew_and_an_archive_that_is_gone_is_not_shown() {
    let Some(flavour) = Flavour::any() else { return };
    let files = files();
    let (machine, repository) = archived(flavour, &files);
    let view = View::default();
    mount(&catalog(&machine), view.clone(), &files);
    let list = kept(&machine).remove(0);
    let whole = std::fs::read(&list).unwrap();
    let flip = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    for broken in [flip(3), flip(whole.len() / 2), whole[..whole.len() - 1].to_vec(), vec![]] {
        std::fs::write(&list, broken).unwrap();
        assert!(!is_remembered(&machine, &view));
        mount(&catalog(&machine), view.clone(), &files);
        assert!(is_remembered(&machine, &view), "it is kept again");
    }

    repository.borg(&machine, "delete").arg("::x").ok();
    assert!(catalog(&machine).archives().unwrap().is_empty());
    repository.create(&machine, "x");
    assert!(!is_remembered(&machine, &view), "an archive of the same name is another");
}

#[test]
fn what_cannot_be_kept_does_no_harm() {
    let Some(flavour) = Flavour::any() else { return };
    let files = files();
    let (machine, _repository) = archived(flavour, &files);
    std::fs::write(machine.path("cache"), "in the way").unwrap();
    for _ in 0..2 {
        mount(&catalog(&machine), View::default(), &files);
    }
    assert_eq!(std::fs::read(machine.path("cache")).unwrap(), b"in the way");
}
