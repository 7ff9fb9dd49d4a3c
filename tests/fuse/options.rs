//! What the options of `mount` change in the tree.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::common::{
    Flavour, Mounted, NastyTree, Need, Program, Repository, Sandbox, assert_same_trees, available, each_borg,
};
use crate::scene::{ARCHIVE, DAY, archived};

fn nasty(flavour: Flavour) -> (Sandbox, Repository) {
    archived(flavour, |source| {
        NastyTree::make(source.join("nasty"));
    })
}

#[test]
fn a_path_shows_what_borg_extracts_for_it_and_no_neighbour() {
    if !available(&[Need::Fuse]) {
        return;
    }
    each_borg(|flavour| {
        let (sandbox, repository) = nasty(flavour);
        // The master of the links is not among the paths.
        let paths = ["nasty/pfx", "nasty/links/below", "nasty/links/a-link", "nasty/special/fifo link"];
        let extracted = sandbox.path("out");
        repository.borg(&sandbox, "extract").arg(format!("::{DAY}")).args(paths).current_dir(&extracted).ok();
        // `borg extract` takes a path for a prefix of components.
        let mounted = Mounted::new(&sandbox, ARCHIVE, &paths);
        assert_same_trees(mounted.dir(), &extracted);
        assert!(!mounted.path("nasty/pfx2").exists());
    });
}

#[test]
fn a_leading_slash_of_a_path_is_forgiven() {
    if !available(&[Need::Fuse]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let (sandbox, _repository) = nasty(flavour);
    let mounted = Mounted::new(&sandbox, ARCHIVE, &["/nasty/pfx"]);
    assert_eq!(std::fs::read(mounted.path("nasty/pfx/same")).unwrap(), b"pfx");
}

#[test]
fn stripped_components_are_those_that_borg_strips() {
    if !available(&[Need::Fuse]) {
        return;
    }
    each_borg(|flavour| {
        let (sandbox, repository) = nasty(flavour);
        let extracted = sandbox.path("out");
        let strip = ["--strip-components", "2"];
        repository
            .borg(&sandbox, "extract")
            .args(strip)
            .args([&format!("::{DAY}"), "nasty/links", "nasty/deep"])
            .current_dir(&extracted)
            .ok();
        let mounted = Mounted::new(&sandbox, ARCHIVE, &[&strip[..], &["nasty/links", "nasty/deep"]].concat());
        assert_same_trees(mounted.dir(), &extracted);
    });
}

/// An archive whose owner has a number that its name does not have on this machine.
fn foreign_owner(flavour: Flavour) -> (Sandbox, Repository) {
    let (sandbox, repository) = archived(flavour, |source| std::fs::write(source.join("x"), b"x").unwrap());
    let tar = sandbox.path("foreign.tar");
    Program::new("tar")
        .args(["--owner", "daemon:4242", "--group", "daemon:4343", "--mode", "0664", "-cf"])
        .arg(&tar)
        .arg("x")
        .current_dir(&sandbox.source())
        .ok();
    repository.borg(&sandbox, "import-tar").arg("::foreign").arg(&tar).ok();
    (sandbox, repository)
}

fn owner(path: &Path) -> (u32, u32) {
    let meta = path.symlink_metadata().unwrap();
    (meta.uid(), meta.gid())
}

#[test]
fn owners_are_known_by_name_unless_numbers_are_wanted() {
    if !available(&[Need::Fuse]) {
        return;
    }
    each_borg(|flavour| {
        let (sandbox, _repository) = foreign_owner(flavour);
        let daemon = nix::unistd::User::from_name("daemon").unwrap().unwrap();
        let mounted = Mounted::new(&sandbox, "::foreign", &[]);
        assert_eq!(owner(&mounted.path("x")), (daemon.uid.as_raw(), daemon.gid.as_raw()));
        mounted.umount(&sandbox);
        let mounted = Mounted::new(&sandbox, "::foreign", &["-o", "numeric_ids"]);
        assert_eq!(owner(&mounted.path("x")), (4242, 4343));
    });
}

#[test]
fn owner_and_mode_can_be_forced() {
    if !available(&[Need::Fuse]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let (sandbox, _repository) = foreign_owner(flavour);
    let mounted = Mounted::new(&sandbox, "::foreign", &["-o", "uid=17,gid=18,umask=0027"]);
    assert_eq!(owner(&mounted.path("x")), (17, 18));
    assert_eq!(mounted.path("x").metadata().unwrap().mode() & 0o7777, 0o640);
}

#[test]
fn a_script_written_for_borg_mount_works() {
    if !available(&[Need::Fuse]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let (sandbox, _repository) = nasty(flavour);
    let script = format!(
        "set -e; dir=\"$PWD/restore here\"; mkdir \"$dir\"
         offsite() {{ {:?} --config {:?} \"$@\"; }}
         offsite mount --bypass-lock -o ignore_permissions,umask=0077 ::{DAY} \"$dir\" nasty/pfx | cat
         cat \"$dir/nasty/pfx/same\"
         offsite umount \"$dir\"
         rmdir \"$dir\"",
        crate::common::sandbox::binary(),
        sandbox.config(),
    );
    let run = sandbox.program("sh").arg("-c").arg(script).current_dir(&sandbox.path("")).ok();
    assert!(run.stdout().ends_with("pfx"), "{run}");
}
