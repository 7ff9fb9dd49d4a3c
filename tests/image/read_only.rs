//! Repositories that can only be read: on media, in a snapshot, of somebody else.

use std::path::Path;

use crate::common::{Flavour, Machine, Mounted, Need, Repository, available, each_borg};

/// A repository with one archive, bound read-only over itself.
struct ReadOnly {
    machine: Machine,
    repository: Repository,
}

impl ReadOnly {
    fn new(flavour: Flavour) -> ReadOnly {
        let machine = Machine::new(flavour);
        std::fs::write(machine.source().join("letter"), "dear").unwrap();
        let repository = Repository::init(&machine, "repokey-blake2");
        repository.create(&machine, "2026-03-14");
        let dir = repository.dir();
        machine.program("mount").args([Path::new("--bind"), dir, dir]).ok();
        machine.program("mount").args(["-o", "remount,bind,ro"]).arg(dir).ok();
        ReadOnly { machine, repository }
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        self.machine.program("umount").arg("--lazy").arg(self.repository.dir()).run();
    }
}

#[test]
fn all_that_reads_works_where_no_lock_can_be_taken() {
    if !available(&[Need::Root, Need::Fuse]) {
        return;
    }
    each_borg(|flavour| {
        let scene = ReadOnly::new(flavour);
        let machine = &scene.machine;
        let said = |words: &[&str]| {
            let ran = machine.offsite(words).current_dir(&machine.path("out")).ok();
            assert_eq!(ran.stderr().matches("read without a lock").count(), 1, "{words:?}: {ran}");
            ran.stdout()
        };
        assert!(said(&["list"]).contains("2026-03-14"));
        assert!(said(&["info", "::latest"]).contains("2026-03-14"));
        assert!(said(&["diff", "::latest", "::latest"]).is_empty());
        said(&["extract", "::latest", "letter"]);
        assert_eq!(std::fs::read(machine.path("out/letter")).unwrap(), b"dear");
        said(&["export-tar", "::latest", "-"]);
        let to = machine.path("out/restored");
        machine.offsite(["restore"]).args(["::latest", "letter", "--to"]).arg(&to).ok();
        assert!(to.exists());
        // The user's own word is enough.
        machine.offsite(["list"]).args(["--bypass-lock", "--short"]).ok();
        let mounted = Mounted::new(machine, "::latest", &[]);
        assert_eq!(std::fs::read(mounted.path("letter")).unwrap(), b"dear");
        mounted.umount(machine);
        machine.offsite(["verify"]).arg("::latest").ok();
        // What streams come from is read by a borg that knows no way without a lock.
        let stream = Mounted::command(machine, "::latest", &machine.mount_point(), &["--source", "stream"]);
        let said = stream.fails();
        assert!(said.contains("without `--source stream`"), "{said}");
        // Who would write is told so by borg.
        let refused = machine.offsite(["delete"]).arg("::2026-03-14").fails();
        assert!(refused.to_lowercase().contains("read-only"), "{refused}");
    });
}
