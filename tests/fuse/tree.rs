//! The mounted tree is the tree that `borg extract` makes.

use crate::common::{
    ARCHIVE, DAY, Mounted, NastyTree, Need, SOURCES, assert_same_trees, available, each_borg, each_way,
};
use crate::scene::archived;

#[test]
fn every_file_is_as_borg_extracts_it() {
    if !available(&[Need::Fuse]) {
        return;
    }
    each_borg(|flavour| {
        let (machine, repository) = archived(flavour, |source| {
            NastyTree::make(source.join("nasty"));
        });
        let extracted = repository.extract(&machine, DAY, &[]);
        for source in SOURCES {
            let mounted = Mounted::by(source, &machine, ARCHIVE, &[]);
            assert_same_trees(mounted.dir(), &extracted);
            mounted.umount(&machine);
        }
    });
}

#[test]
fn every_file_of_the_whole_repository_is_as_borg_extracts_it() {
    if !available(&[Need::Fuse]) {
        return;
    }
    each_way(|flavour, source| {
        let (machine, repository) = archived(flavour, |source| {
            NastyTree::make(source.join("nasty"));
        });
        let extracted = repository.extract(&machine, DAY, &[]);
        let mounted = Mounted::by(source, &machine, "", &[]);
        assert_same_trees(&mounted.path(DAY), &extracted);
    });
}
