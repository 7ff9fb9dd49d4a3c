//! The mount of a whole repository.

use std::path::Path;

use crate::common::{Flavour, Machine, Mounted, Need, Repository, available, each_way};
use crate::scene::{archived, names};

/// Archives 2026-03-14, 2026-03-15 and `other`, made in this order; `file` holds the name of each.
fn three_archives(flavour: Flavour) -> (Machine, Repository) {
    let write = |source: &Path, name: &str| std::fs::write(source.join("file"), name).unwrap();
    let (machine, repository) = archived(flavour, |source| write(source, "2026-03-14"));
    for name in ["2026-03-15", "other"] {
        write(&machine.source(), name);
        repository.create(&machine, name);
    }
    (machine, repository)
}

#[test]
fn every_archive_is_a_directory_and_latest_is_a_link_to_the_newest() {
    if !available(&[Need::Fuse]) {
        return;
    }
    each_way(|flavour, source| {
        let (machine, _repository) = three_archives(flavour);
        let mounted = Mounted::by(source, &machine, "", &[]);
        assert_eq!(names(mounted.dir()), ["2026-03-14", "2026-03-15", "latest", "other"]);
        for name in ["2026-03-14", "2026-03-15", "other"] {
            assert_eq!(std::fs::read_to_string(mounted.path(name).join("file")).unwrap(), name);
        }
        assert_eq!(std::fs::read_link(mounted.path("latest")).unwrap(), Path::new("other"));
        assert_eq!(std::fs::read_to_string(mounted.path("latest/file")).unwrap(), "other");
    });
}

#[test]
fn archives_are_selected_as_borg_selects_them() {
    if !available(&[Need::Fuse]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let (machine, _repository) = three_archives(flavour);
    let selections: [(&[&str], &[&str]); 4] = [
        (&["--last", "1"], &["latest", "other"]),
        (&["--first", "1"], &["2026-03-14", "latest"]),
        (&["-a", "2026-*"], &["2026-03-14", "2026-03-15", "latest"]),
        (&["--glob-archives", "2026-*", "--last", "1"], &["2026-03-15", "latest"]),
    ];
    for (options, shown) in selections {
        let mounted = Mounted::new(&machine, "", options);
        assert_eq!(names(mounted.dir()), shown, "{options:?}");
        mounted.umount(&machine);
    }
}

#[test]
fn a_glob_that_matches_nothing_is_an_empty_mount() {
    if !available(&[Need::Fuse]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let (machine, _repository) = three_archives(flavour);
    let mounted = Mounted::new(&machine, "", &["-a", "nothing-*"]);
    assert!(names(mounted.dir()).is_empty());
}
