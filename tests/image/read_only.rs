//! Repositories that can only be read: on media, in a snapshot, of somebody else.

use std::path::Path;

use crate::common::{Flavour, Mounted, Need, Repository, Sandbox, available, each_borg};

/// A repository with one archive, bound read-only over itself.
struct ReadOnly {
    sandbox: Sandbox,
    repository: Repository,
}

impl ReadOnly {
    fn new(flavour: Flavour) -> ReadOnly {
        let sandbox = Sandbox::new(flavour);
        std::fs::write(sandbox.source().join("letter"), "dear").unwrap();
        let repository = Repository::init(&sandbox, "repokey-blake2");
        repository.create(&sandbox, "2026-03-14");
        sandbox.configure(&repository, "");
        let dir = repository.dir();
        sandbox.program("mount").args([Path::new("--bind"), dir, dir]).ok();
        sandbox.program("mount").args(["-o", "remount,bind,ro"]).arg(dir).ok();
        ReadOnly { sandbox, repository }
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        self.sandbox.program("umount").arg("--lazy").arg(self.repository.dir()).run();
    }
}

#[test]
fn all_that_reads_works_where_no_lock_can_be_taken() {
    if !available(&[Need::Root, Need::Fuse]) {
        return;
    }
    each_borg(|flavour| {
        let scene = ReadOnly::new(flavour);
        let sandbox = &scene.sandbox;
        let said = |words: &[&str]| {
            let (first, rest) = words.split_first().unwrap();
            let ran = sandbox.offsite(first).args(rest).current_dir(&sandbox.path("out")).ok();
            assert_eq!(ran.stderr().matches("read without a lock").count(), 1, "{words:?}: {ran}");
            ran.stdout()
        };
        assert!(said(&["list"]).contains("2026-03-14"));
        assert!(said(&["info", "::latest"]).contains("2026-03-14"));
        assert!(said(&["diff", "::latest", "::latest"]).is_empty());
        said(&["extract", "::latest", "letter"]);
        assert_eq!(std::fs::read(sandbox.path("out/letter")).unwrap(), b"dear");
        said(&["export-tar", "::latest", "-"]);
        let to = sandbox.path("out/restored");
        sandbox.offsite("restore").args(["::latest", "letter", "--to"]).arg(&to).ok();
        assert!(to.exists());
        // The user's own word is enough.
        sandbox.offsite("list").args(["--bypass-lock", "--short"]).ok();
        let mounted = Mounted::new(sandbox, "::latest", &[]);
        assert_eq!(std::fs::read(mounted.path("letter")).unwrap(), b"dear");
        mounted.umount(sandbox);
        sandbox.offsite("verify").arg("::latest").ok();
        // What streams come from is read by a borg that knows no way without a lock.
        let stream = Mounted::command(sandbox, "::latest", &sandbox.mount_point(), &["--source", "stream"]);
        let said = stream.fails();
        assert!(said.contains("without `--source stream`"), "{said}");
        // Who would write is told so by borg.
        let refused = sandbox.offsite("delete").arg("::2026-03-14").fails();
        assert!(refused.to_lowercase().contains("read-only"), "{refused}");
    });
}
