//! What one machine has and another has not.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::Machine;
use crate::common::own_mounts::{MountNamespace, tmpfs};
use crate::common::repository::Flavour;

pub struct Builder {
    flavour: Flavour,
    unattended: bool,
    own_mounts: bool,
    unprivileged: bool,
    server: bool,
    /// Where its directory is made, if not in memory.
    parent: Option<PathBuf>,
}

impl Machine {
    /// With a home whose account was never used, and a configuration of a local repository that is not
    /// made yet.
    pub fn builder(flavour: Flavour) -> Builder {
        Builder {
            flavour,
            unattended: false,
            own_mounts: false,
            unprivileged: false,
            server: false,
            parent: None,
        }
    }
}

impl Builder {
    /// Variables answer what borg would ask: the passphrase is empty, the key is `home/key`, and an
    /// unencrypted repository is welcome. The directory's name has a space.
    pub fn unattended(mut self) -> Self {
        self.unattended = true;
        self
    }

    /// In a mount namespace of the calling thread, with a `/run` of its own; the directory is in memory.
    pub fn own_mounts(mut self) -> Self {
        self.own_mounts = true;
        self
    }

    /// The directory is below `parent`, and on its file system.
    pub fn on_disk(mut self, parent: impl Into<PathBuf>) -> Self {
        self.parent = Some(parent.into());
        self
    }

    /// Its programs are run by an account that is not root's, and that owns everything.
    pub fn unprivileged(mut self) -> Self {
        self.unprivileged = true;
        self
    }

    /// It is its own backup server, too: set up by the server's script for a key of the account `bob`,
    /// with a running sshd. The ssh of bob calls it `milena`, and only his configuration knows what
    /// that is. Nothing outside is changed.
    pub fn server(mut self) -> Self {
        self.server = true;
        self.own_mounts()
    }

    pub fn build(self) -> Machine {
        let mounts = self.own_mounts.then(MountNamespace::enter);
        if self.own_mounts {
            tmpfs(Path::new("/run"), "mode=755");
        }
        let parent = self.parent.clone().unwrap_or_else(std::env::temp_dir);
        let prefix = if self.unattended { "offsite test." } else { "machine-" };
        let dir = tempfile::Builder::new().prefix(prefix).tempdir_in(parent).unwrap();
        if self.own_mounts {
            std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        }
        if self.own_mounts && self.parent.is_none() {
            tmpfs(dir.path(), "mode=755");
        }
        let (flavour, config) = (self.flavour, json!({}));
        let (variables, search) = (Vec::new(), Vec::new());
        let mut machine =
            Machine { server: None, dir, flavour, config, variables, search, user: None, mounts };
        self.furnish(&mut machine);
        machine
    }

    fn furnish(self, machine: &mut Machine) {
        for name in ["home", "source", "mnt", "out"] {
            std::fs::create_dir(machine.path(name)).unwrap();
        }
        machine.set("backup_path", machine.repository());
        if self.own_mounts {
            machine.set("compression", "none");
        }
        if self.unattended {
            let (home, key) = (machine.path("home"), machine.path("home/key"));
            machine.set_variable("LC_ALL", "C.UTF-8");
            machine.set_variable("BORG_BASE_DIR", home);
            machine.set_variable("BORG_PASSPHRASE", "");
            machine.set_variable("BORG_KEY_FILE", key);
            machine.set_variable("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes");
        }
        if self.server {
            machine.become_server();
        }
        if self.unprivileged {
            machine.hand_over();
        }
    }
}
