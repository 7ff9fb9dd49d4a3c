//! The account that makes the connection.

use crate::common::{Flavour, Need, Program, available, binary};
use crate::lab::Lab;

#[test]
fn root_connects_with_the_key_the_known_hosts_and_the_configuration_of_the_account() {
    if !available(&[Need::Root, Need::Fuse, Need::Sshd]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let lab = Lab::new(flavour);
    std::fs::write(lab.sandbox.source().join("letter"), "dear").unwrap();
    lab.offsite(&["init", "-e", "repokey-blake2"]).ok();
    lab.offsite(&["create"]).ok();
    let listed = lab.offsite(&["list", "--short", "::latest"]).ok().stdout();
    assert!(listed.contains("letter"), "{listed}");
    assert!(lab.on_server("var/backups/machine/backup/config").exists(), "the path is relative to the home");
    let script = format!(
        "{0:?} --config {1:?} mount ::latest {2:?}; cat {2:?}/{3:?}/letter; {0:?} umount {2:?}",
        binary(),
        lab.sandbox.config(),
        lab.sandbox.mount_point(),
        lab.sandbox.source().strip_prefix("/").unwrap()
    );
    assert_eq!(lab.root(&script).ok().stdout(), "dear");
    // Without it, root has no key, and does not know what `milena` is.
    lab.place(r#""backup_server": "milena", "backup_user": "machine", "backup_path": "backup""#);
    let said = lab.offsite(&["list"]).fails();
    assert!(said.contains("there is no host milena"), "{said}");
}

#[test]
fn who_is_not_root_connects_as_nobody_else() {
    if !available(&[Need::Root, Need::Sshd]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let lab = Lab::new(flavour);
    let own = |account: &str| {
        let text = format!(
            r#"{{"backup_server": "milena", "backup_user": "machine", "backup_path": "backup", "ssh_from": "{account}"}}"#
        );
        lab.root(&format!("echo '{text}' > /run/x.conf; chmod 644 /run/x.conf")).ok();
        let program =
            lab.inside("setpriv").args(["--reuid=bob", "--regid=bob", "--init-groups", "--reset-env"]);
        copied(program, &lab).args(["--config", "/run/x.conf", "list"]).run()
    };
    let refused = own("root");
    assert_eq!(refused.code(), Some(2), "{refused}");
    assert!(refused.stderr().contains("only root can connect as `root`"), "{refused}");
    let missing = own("nobody-here");
    assert!(missing.stderr().contains("no account `nobody-here` on this machine"), "{missing}");
    // His own name is right: bob gets through, and there is no repository yet.
    let let_through = own("bob");
    assert!(
        let_through.stderr().contains("the folder at ssh://machine@milena/./backup holds no repository"),
        "{let_through}"
    );
}

/// Our program, where anybody can run it.
fn copied(program: Program, lab: &Lab) -> Program {
    lab.root(&format!("cp {:?} /usr/local/bin/offsite", binary())).ok();
    program.arg("/usr/local/bin/offsite")
}
