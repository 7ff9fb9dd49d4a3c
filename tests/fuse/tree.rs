//! The mounted tree is the tree that `borg extract` makes.

use crate::common::{Mounted, NastyTree, Need, SOURCES, assert_same_trees, available, each_borg, each_way};
use crate::scene::{ARCHIVE, DAY, archived};

#[test]
fn every_file_is_as_borg_extracts_it() {
    if !available(&[Need::Fuse]) {
        return;
    }
    each_borg(|flavour| {
        let (sandbox, repository) = archived(flavour, |source| {
            NastyTree::make(source.join("nasty"));
        });
        let extracted = repository.extract(&sandbox, DAY, &[]);
        for source in SOURCES {
            let mounted = Mounted::by(source, &sandbox, ARCHIVE, &[]);
            assert_same_trees(mounted.dir(), &extracted);
            mounted.umount(&sandbox);
        }
    });
}

#[test]
fn every_file_of_the_whole_repository_is_as_borg_extracts_it() {
    if !available(&[Need::Fuse]) {
        return;
    }
    each_way(|flavour, source| {
        let (sandbox, repository) = archived(flavour, |source| {
            NastyTree::make(source.join("nasty"));
        });
        let extracted = repository.extract(&sandbox, DAY, &[]);
        let mounted = Mounted::by(source, &sandbox, "", &[]);
        assert_same_trees(&mounted.path(DAY), &extracted);
    });
}
