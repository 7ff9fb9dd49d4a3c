//! The repository behind a real sshd, reached through a forced command.

#[path = "../common/mod.rs"]
mod common;

mod account;
mod bridge;
mod cut;
mod lab;
mod obstacles;
mod server;

use serial_test::serial;

use common::{Flavour, Mounted, NastyTree, Need, Repository, Sandbox, Sshd, assert_same_trees, available};
use common::{each_borg, sshd};

const DAY: &str = "2026-03-14";

/// A sandbox that reaches its repository, with one archive of a nasty tree, over ssh.
fn scene(flavour: Flavour) -> (Sandbox, Repository, Sshd) {
    let mut sandbox = Sandbox::new(flavour);
    NastyTree::make(sandbox.source().join("nasty"));
    let repository = Repository::init(&sandbox, "repokey-blake2");
    repository.create(&sandbox, DAY);
    let server = Sshd::start(&sandbox, repository.dir());
    let repository = repository.over_ssh(&sandbox, &sshd::user(), &server.address());
    sandbox.set("BORG_RSH", server.rsh());
    // The repository was made by its path and is now used by its address.
    sandbox.set("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes");
    (sandbox, repository, server)
}

fn mount_fails(sandbox: &Sandbox) -> String {
    Mounted::command(sandbox, &format!("::{DAY}"), &sandbox.mount_point(), &[]).fails()
}

#[test]
fn an_archive_is_mounted_and_read_over_ssh() {
    if !available(&[Need::Fuse, Need::Sshd]) {
        return;
    }
    each_borg(|flavour| {
        let (sandbox, repository, _server) = scene(flavour);
        let extracted = repository.extract(&sandbox, DAY, &[]);
        let mounted = Mounted::new(&sandbox, &format!("::{DAY}"), &[]);
        assert_same_trees(mounted.dir(), &extracted);
    });
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
    let said = mount_fails(&sandbox);
    assert!(said.contains("127.0.0.1 shows another host key than before"), "{said}");
    assert!(said.contains("ssh-keygen -f"), "ssh's own advice is there: {said}");
}

#[test]
fn a_client_that_the_server_does_not_know_is_told_so() {
    if !available(&[Need::Fuse, Need::Sshd]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let (mut sandbox, _repository, server) = scene(flavour);
    sandbox.set("BORG_RSH", server.rsh_of_a_stranger());
    let said = mount_fails(&sandbox);
    assert!(said.contains("127.0.0.1 does not let us in") && said.contains("Permission denied"), "{said}");
}

#[test]
fn a_server_that_is_down_is_named() {
    if !available(&[Need::Fuse, Need::Sshd]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let (sandbox, _repository, server) = scene(flavour);
    drop(server);
    let said = mount_fails(&sandbox);
    assert!(said.contains("127.0.0.1 refuses the connection"), "{said}");
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
    let said = mount_fails(&sandbox);
    assert!(said.contains("does not allow"), "{said}\n{}", server.log());
}
