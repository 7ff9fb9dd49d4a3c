//! Files that `borg check --repair` filled with zeros.

use crate::common::{
    Flavour, Mounted, Need, Repository, SOURCES, Sandbox, assert_same_bytes, available, each_borg,
};
use crate::scene::{ARCHIVE, DAY, assert_eio, write_random};

/// A repository in which a chunk of `damaged` was lost and repaired; `whole` is untouched.
fn repaired(flavour: Flavour) -> (Sandbox, Repository) {
    let sandbox = Sandbox::new(flavour);
    let repository = Repository::init(&sandbox, "repokey-blake2");
    // Every segment is full after one chunk, so that losing one loses one chunk.
    repository.borg(&sandbox, "config").arg(repository.dir()).args(["max_segment_size", "300000"]).ok();
    write_random(&sandbox.source(), "damaged", 3 << 20);
    write_random(&sandbox.source(), "whole", 1000);
    repository.create_with(&sandbox, DAY, &["--chunker-params", "fixed,1048576"]);
    let data = repository.dir().join("data/0");
    let segments = std::fs::read_dir(data).unwrap().map(|e| e.unwrap());
    let lost = segments.filter(|s| s.metadata().unwrap().len() > 1 << 20).min_by_key(|s| s.file_name());
    std::fs::remove_file(lost.expect("no segment of one chunk").path()).unwrap();
    repository.borg(&sandbox, "check --repair").env("BORG_CHECK_I_KNOW_WHAT_I_AM_DOING", "YES").run();
    (sandbox, repository)
}

#[test]
fn a_damaged_file_cannot_be_opened_unless_that_is_allowed() {
    if !available(&[Need::Fuse]) {
        return;
    }
    each_borg(|flavour| {
        let (mut sandbox, repository) = repaired(flavour);
        let output = repository.borg(&sandbox, "extract --stdout").args([ARCHIVE, "damaged"]).run();
        if flavour == Flavour::V12 {
            // A repair by borg 1.2.4 leaves a wrong signature, which that borg does not look at.
            let said = Mounted::command(&sandbox, ARCHIVE, &sandbox.mount_point(), &[]).fails();
            assert!(said.contains("BORG_WORKAROUNDS=ignore_invalid_archive_tam"), "{said}");
            sandbox.set("BORG_WORKAROUNDS", "ignore_invalid_archive_tam");
        }
        for source in SOURCES {
            let mounted = Mounted::by(source, &sandbox, ARCHIVE, &[]);
            assert_eio(std::fs::File::open(mounted.path("damaged")));
            assert_same_bytes(&mounted.path("whole"), &sandbox.source().join("whole"));
            mounted.umount(&sandbox);

            let mounted = Mounted::by(source, &sandbox, ARCHIVE, &["-o", "allow_damaged_files"]);
            let bytes = std::fs::read(mounted.path("damaged")).unwrap();
            assert!(bytes == output.stdout, "it is not as borg extracts it");
            assert!(bytes != std::fs::read(sandbox.source().join("damaged")).unwrap(), "nothing is damaged");
            mounted.umount(&sandbox);
        }
    });
}
