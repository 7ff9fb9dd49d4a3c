//! The repository behind a real sshd, reached through a forced command.

#[path = "../common/mod.rs"]
mod common;

mod account;
mod bridge;
mod cache_dir;
mod cut;
mod foreign;
mod lab;
mod line;
mod obstacles;
mod read_only;
mod server;

use std::path::Path;

use serial_test::serial;

use common::{Flavour, Mounted, NastyTree, Need, Repository, Sandbox, Sshd, assert_same_trees, available};
use common::{SOURCES, each_borg, sshd};

const DAY: &str = "2026-03-14";
const ARCHIVE: &str = "::2026-03-14";

/// A sandbox that reaches its repository, with one archive of what `fill` writes, over ssh.
fn scene_of(flavour: Flavour, fill: impl FnOnce(&Path)) -> (Sandbox, Repository, Sshd) {
    let mut sandbox = Sandbox::new(flavour);
    fill(&sandbox.source());
    let repository = Repository::init(&sandbox, "repokey-blake2");
    repository.create_with(&sandbox, DAY, &["--chunker-params", "fixed,1048576"]);
    let server = Sshd::start(&sandbox, repository.dir());
    let repository = repository.over_ssh(&sandbox, &sshd::user(), &server.address());
    sandbox.set("BORG_RSH", server.rsh());
    // The repository was made by its path and is now used by its address.
    sandbox.set("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes");
    (sandbox, repository, server)
}

/// The same with a nasty tree.
fn scene(flavour: Flavour) -> (Sandbox, Repository, Sshd) {
    scene_of(flavour, |source| {
        NastyTree::make(source.join("nasty"));
    })
}

/// What both sources say, one after the other.
fn mounts_fail(sandbox: &Sandbox) -> [String; 2] {
    SOURCES.map(|source| {
        Mounted::command(sandbox, ARCHIVE, &sandbox.mount_point(), &["--source", source]).fails()
    })
}

#[test]
fn an_archive_is_mounted_and_read_over_ssh() {
    if !available(&[Need::Fuse, Need::Sshd]) {
        return;
    }
    each_borg(|flavour| {
        let (sandbox, repository, _server) = scene(flavour);
        let extracted = repository.extract(&sandbox, DAY, &[]);
        let mounted = Mounted::new(&sandbox, ARCHIVE, &["--source", "native"]);
        assert_same_trees(mounted.dir(), &extracted);
    });
}

#[test]
fn an_archive_is_mounted_and_read_through_streams_over_ssh() {
    if !available(&[Need::Fuse, Need::Sshd]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let (sandbox, repository, _server) = scene(flavour);
    let extracted = repository.extract(&sandbox, DAY, &[]);
    let mounted = Mounted::new(&sandbox, ARCHIVE, &["--source", "stream"]);
    assert_same_trees(mounted.dir(), &extracted);
}

#[test]
#[serial(create)]
fn create_backs_up_over_ssh() {
    if !available(&[Need::Root, Need::Sshd]) {
        return;
    }
    each_borg(|flavour| {
        let (sandbox, repository, _server) = scene(flavour);
        let listed = format!("\"filesystems_to_backup\": [{:?}]", sandbox.source().to_str().unwrap());
        sandbox.configure(&repository, &listed);
        sandbox.offsite("create").ok();
        let list = repository.borg(&sandbox, "list --short").arg(repository.dir()).ok().stdout();
        assert_eq!(list.lines().count(), 2, "{list}");
    });
}

#[test]
fn a_server_with_another_host_key_is_not_trusted() {
    if !available(&[Need::Fuse, Need::Sshd]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let (mut sandbox, _repository, server) = scene(flavour);
    sandbox.set("BORG_RSH", server.rsh_with_wrong_host_key());
    for said in mounts_fail(&sandbox) {
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
    let (mut sandbox, _repository, server) = scene(flavour);
    sandbox.set("BORG_RSH", server.rsh_of_a_stranger());
    for said in mounts_fail(&sandbox) {
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
    let (sandbox, _repository, server) = scene(flavour);
    drop(server);
    for said in mounts_fail(&sandbox) {
        assert!(said.contains("127.0.0.1 refuses the connection"), "{said}");
    }
}

#[test]
fn another_repository_than_the_allowed_one_is_refused() {
    if !available(&[Need::Fuse, Need::Sshd]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let (sandbox, repository, server) = scene(flavour);
    let place = repository.as_config().replace("/repo\"", "/other\"");
    std::fs::write(sandbox.config(), format!("{{ {place} }}")).unwrap();
    for said in mounts_fail(&sandbox) {
        assert!(said.contains("does not allow"), "{said}\n{}", server.log());
    }
}

#[test]
fn a_repository_that_was_used_at_another_place_is_refused_until_the_user_says_yes() {
    if !available(&[Need::Fuse, Need::Sshd]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let (mut sandbox, _repository, _server) = scene(flavour);
    sandbox.set("BORG_RELOCATED_REPO_ACCESS_IS_OK", "no");
    for said in mounts_fail(&sandbox) {
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
        let mut sandbox = Sandbox::new(flavour);
        std::fs::write(sandbox.source().join("file"), b"content").unwrap();
        let repository = Repository::init(&sandbox, "repokey-blake2");
        repository.create(&sandbox, DAY);
        let moved = sandbox.path("home/b/repo");
        std::fs::create_dir(sandbox.path("home/b")).unwrap();
        std::fs::rename(repository.dir(), &moved).unwrap();
        let server = Sshd::start(&sandbox, &moved);
        sandbox.set("BORG_RSH", server.rsh());
        sandbox.set("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes");
        for path in ["~/b/repo", "b/../b//repo"] {
            let place = format!(
                r#"{{"backup_server": "{}", "backup_user": "{}", "backup_path": "{path}"}}"#,
                server.address(),
                sshd::user()
            );
            std::fs::write(sandbox.config(), place).unwrap();
            let mounted = Mounted::new(&sandbox, ARCHIVE, &["--source", "native"]);
            assert_eq!(std::fs::read(mounted.path("file")).unwrap(), b"content");
            mounted.umount(&sandbox);
        }
    });
}
