//! What happens in the repository while it is mounted.

use serial_test::serial;

use crate::common::{Flavour, Mounted, Need, Repository, Sandbox, assert_same_bytes, available, each_borg};
use crate::scene::{ARCHIVE, DAY, archived, assert_eio, read_at, write_random};

const BIG: usize = 64 << 20;

/// A mount with a stream that was begun and that nobody reads on.
fn half_read(flavour: Flavour) -> (Sandbox, Repository, Mounted, std::fs::File) {
    let (sandbox, repository) = archived(flavour, |source| write_random(source, "image", BIG));
    let mounted = Mounted::new(&sandbox, ARCHIVE, &["-o", "idle=1"]);
    let file = std::fs::File::open(mounted.path("image")).unwrap();
    read_at(&file, 0, 1000).unwrap();
    (sandbox, repository, mounted, file)
}

#[test]
fn an_idle_mount_does_not_keep_borg_from_creating() {
    if !available(&[Need::Fuse]) {
        return;
    }
    each_borg(|flavour| {
        let (sandbox, repository, mounted, file) = half_read(flavour);
        std::fs::write(sandbox.source().join("new"), b"new").unwrap();
        repository.create_with(&sandbox, "2026-03-15", &["--lock-wait", "20"]);
        let original = std::fs::read(sandbox.source().join("image")).unwrap();
        let end = BIG - 5000;
        assert!(read_at(&file, end as u64, 5000).unwrap() == original[end..]);
        assert_same_bytes(&mounted.path("image"), &sandbox.source().join("image"));
    });
}

#[test]
#[serial(create)]
fn an_idle_mount_does_not_keep_our_create_from_creating() {
    if !available(&[Need::Fuse, Need::Root]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let (sandbox, repository, _mounted, _file) = half_read(flavour);
    let listed = format!("\"filesystems_to_backup\": [{:?}]", sandbox.source().to_str().unwrap());
    sandbox.configure(&repository, &listed);
    sandbox.offsite("create").ok();
    assert_eq!(repository.borg(&sandbox, "list --short").ok().stdout().lines().count(), 2);
}

#[test]
fn an_archive_made_anew_under_the_same_name_is_never_taken_for_the_old_one() {
    if !available(&[Need::Fuse]) {
        return;
    }
    each_borg(|flavour| {
        let (sandbox, repository) = archived(flavour, |source| {
            write_random(source, "read before", 3000);
            write_random(source, "read after", 2 << 20);
        });
        let mounted = Mounted::new(&sandbox, ARCHIVE, &["-o", "idle=1"]);
        let before = std::fs::read(mounted.path("read before")).unwrap();
        assert!(before == std::fs::read(sandbox.source().join("read before")).unwrap());

        repository.borg(&sandbox, "delete --lock-wait 20").arg(format!("::{DAY}")).ok();
        std::fs::write(sandbox.source().join("read after"), vec![b'!'; 2 << 20]).unwrap();
        repository.create(&sandbox, DAY);
        assert_eio(std::fs::read(mounted.path("read after")));
    });
}
