//! The repository behind a real sshd, reached through a forced command.

#[path = "../common/mod.rs"]
mod common;

mod account;
mod bridge;
mod cache_dir;
mod cut;
mod foreign;
mod line;
mod obstacles;
mod read_only;
mod rescue;
mod server;

use std::path::Path;

use serial_test::serial;

use common::{
    ARCHIVE, DAY, Flavour, Machine, Mounted, NastyTree, Need, Repository, SOURCES, Sshd, assert_same_trees,
    available, each_borg,
};

/// A machine that reaches its repository, with one archive of what `fill` writes, over ssh.
fn scene_of(flavour: Flavour, fill: impl FnOnce(&Path)) -> (Machine, Repository, Sshd) {
    let mut machine = Machine::new(flavour);
    fill(&machine.source());
    let repository = Repository::init(&machine, "repokey-blake2");
    repository.create_with(&machine, DAY, &["--chunker-params", "fixed,1048576"]);
    let server = Sshd::start(&machine, repository.dir());
    server.serve(&mut machine);
    (machine, repository, server)
}

/// The same with a nasty tree.
fn scene(flavour: Flavour) -> (Machine, Repository, Sshd) {
    scene_of(flavour, |source| {
        NastyTree::make(source.join("nasty"));
    })
}

/// What both sources say, one after the other.
fn mounts_fail(machine: &Machine) -> [String; 2] {
    SOURCES.map(|source| {
        let said = Mounted::command(machine, ARCHIVE, &machine.mount_point(), &["--source", source]).fails();
        assert!(!said.contains("the server says"), "it is told twice: {said}");
        said
    })
}

#[test]
fn an_archive_is_mounted_and_read_over_ssh() {
    if !available(&[Need::Fuse, Need::Sshd]) {
        return;
    }
    each_borg(|flavour| {
        let (machine, repository, _server) = scene(flavour);
        let extracted = repository.extract(&machine, DAY, &[]);
        let mounted = Mounted::new(&machine, ARCHIVE, &["--source", "native"]);
        assert_same_trees(mounted.dir(), &extracted);
    });
}

#[test]
fn an_archive_is_mounted_and_read_through_streams_over_ssh() {
    if !available(&[Need::Fuse, Need::Sshd]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let (machine, repository, _server) = scene(flavour);
    let extracted = repository.extract(&machine, DAY, &[]);
    let mounted = Mounted::new(&machine, ARCHIVE, &["--source", "stream"]);
    assert_same_trees(mounted.dir(), &extracted);
}

#[test]
#[serial(create)]
fn create_backs_up_over_ssh() {
    if !available(&[Need::Root, Need::Sshd]) {
        return;
    }
    each_borg(|flavour| {
        let (mut machine, repository, _server) = scene(flavour);
        machine.list(&["source"]);
        machine.offsite(["create"]).ok();
        let list = repository.borg(&machine, "list --short").arg(repository.dir()).ok().stdout();
        assert_eq!(list.lines().count(), 2, "{list}");
    });
}

#[test]
fn a_server_with_another_host_key_is_not_trusted() {
    if !available(&[Need::Fuse, Need::Sshd]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let (mut machine, _repository, server) = scene(flavour);
    machine.set_variable("BORG_RSH", server.rsh_with_wrong_host_key());
    for said in mounts_fail(&machine) {
        assert!(said.contains("127.0.0.1 shows another host key than before"), "{said}");
        assert!(said.contains("ssh-keygen -f"), "ssh's own advice is there: {said}");
    }
}

#[test]
fn a_client_that_the_server_does_not_know_is_told_so() {
    if !available(&[Need::Fuse, Need::Sshd]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let (mut machine, _repository, server) = scene(flavour);
    machine.set_variable("BORG_RSH", server.rsh_of_a_stranger());
    for said in mounts_fail(&machine) {
        assert!(
            said.contains("127.0.0.1 does not let us in") && said.contains("Permission denied"),
            "{said}"
        );
    }
}

#[test]
fn a_server_that_is_down_is_named() {
    if !available(&[Need::Fuse, Need::Sshd]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let (machine, _repository, server) = scene(flavour);
    drop(server);
    for said in mounts_fail(&machine) {
        assert!(said.contains("127.0.0.1 refuses the connection"), "{said}");
    }
}

#[test]
fn another_repository_than_the_allowed_one_is_refused() {
    if !available(&[Need::Fuse, Need::Sshd]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let (mut machine, _repository, server) = scene(flavour);
    machine.set("backup_path", machine.path("other"));
    for said in mounts_fail(&machine) {
        assert!(said.contains("does not allow"), "{said}\n{}", server.log());
    }
}

#[test]
fn a_repository_that_was_used_at_another_place_is_refused_until_the_user_says_yes() {
    if !available(&[Need::Fuse, Need::Sshd]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let (mut machine, _repository, _server) = scene(flavour);
    machine.set_variable("BORG_RELOCATED_REPO_ACCESS_IS_OK", "no");
    for said in mounts_fail(&machine) {
        assert!(said.contains("was at another place when this account last used it"), "{said}");
        assert!(said.contains("BORG_RELOCATED_REPO_ACCESS_IS_OK=yes"), "{said}");
    }
}

#[test]
fn a_path_below_the_servers_home_is_found_as_borg_finds_it() {
    if !available(&[Need::Fuse, Need::Sshd]) {
        return;
    }
    each_borg(|flavour| {
        let mut machine = Machine::new(flavour);
        std::fs::write(machine.source().join("file"), b"content").unwrap();
        let repository = Repository::init(&machine, "repokey-blake2");
        repository.create(&machine, DAY);
        let moved = machine.path("home/b/repo");
        std::fs::create_dir(machine.path("home/b")).unwrap();
        std::fs::rename(repository.dir(), &moved).unwrap();
        let server = Sshd::start(&machine, &moved);
        server.serve(&mut machine);
        for path in ["~/b/repo", "b/../b//repo"] {
            machine.set("backup_path", path);
            let mounted = Mounted::new(&machine, ARCHIVE, &["--source", "native"]);
            assert_eq!(std::fs::read(mounted.path("file")).unwrap(), b"content");
            mounted.umount(&machine);
        }
    });
}
