//! Files that `borg check --repair` filled with zeros.

use crate::common::{
    ARCHIVE, DAY, Flavour, Machine, Mounted, Need, Repository, SOURCES, assert_same_bytes, available,
    each_borg,
};
use crate::scene::{assert_eio, write_random};

/// A repository in which a chunk of `damaged` was lost and repaired; `whole` is untouched.
fn repaired(flavour: Flavour) -> (Machine, Repository) {
    let machine = Machine::new(flavour);
    let repository = Repository::init(&machine, "repokey-blake2");
    // Every segment is full after one chunk, so that losing one loses one chunk.
    repository.borg(&machine, "config").arg(repository.dir()).args(["max_segment_size", "300000"]).ok();
    write_random(&machine.source(), "damaged", 3 << 20);
    write_random(&machine.source(), "whole", 1000);
    repository.create_with(&machine, DAY, &["--chunker-params", "fixed,1048576"]);
    let data = repository.dir().join("data/0");
    let segments = std::fs::read_dir(data).unwrap().map(|e| e.unwrap());
    let lost = segments.filter(|s| s.metadata().unwrap().len() > 1 << 20).min_by_key(|s| s.file_name());
    std::fs::remove_file(lost.expect("no segment of one chunk").path()).unwrap();
    repository.borg(&machine, "check --repair").env("BORG_CHECK_I_KNOW_WHAT_I_AM_DOING", "YES").run();
    (machine, repository)
}

#[test]
fn a_damaged_file_cannot_be_opened_unless_that_is_allowed() {
    if !available(&[Need::Fuse]) {
        return;
    }
    each_borg(|flavour| {
        let (mut machine, repository) = repaired(flavour);
        let output = repository.borg(&machine, "extract --stdout").args([ARCHIVE, "damaged"]).run();
        if flavour == Flavour::V12 {
            // A repair by borg 1.2.4 leaves a wrong signature, which that borg does not look at.
            let said = Mounted::command(&machine, ARCHIVE, &machine.mount_point(), &[]).fails();
            assert!(said.contains("BORG_WORKAROUNDS=ignore_invalid_archive_tam"), "{said}");
            machine.set_variable("BORG_WORKAROUNDS", "ignore_invalid_archive_tam");
        }
        for source in SOURCES {
            let mounted = Mounted::by(source, &machine, ARCHIVE, &[]);
            assert_eio(std::fs::File::open(mounted.path("damaged")));
            assert_same_bytes(&mounted.path("whole"), &machine.source().join("whole"));
            mounted.umount(&machine);

            let mounted = Mounted::by(source, &machine, ARCHIVE, &["-o", "allow_damaged_files"]);
            let bytes = std::fs::read(mounted.path("damaged")).unwrap();
            assert!(bytes == output.stdout, "it is not as borg extracts it");
            assert!(bytes != std::fs::read(machine.source().join("damaged")).unwrap(), "nothing is damaged");
            mounted.umount(&machine);
        }
    });
}
