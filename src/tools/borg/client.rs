//! The repository that borg works on, with its key and passphrase.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use parking_lot::Mutex;

use super::credential::{KEY, credential};
use super::passphrase::Passphrase;
use crate::archive::identity::Identity;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::tools::ssh::Route;
use crate::tools::{accounts, identity};

/// borg, with the repository, key and passphrase that it uses.
#[derive(Clone)]
pub struct Borg {
    pub(super) repository: String,
    pub(super) local: Option<PathBuf>,
    /// The route to the server, if there is one, and the repository's path there.
    pub(super) route: Option<Route>,
    pub(super) path: String,
    /// The name or path of borg on the server, as borg takes it.
    pub(super) remote_path: Option<OsString>,
    pub(super) key_file: PathBuf,
    /// The user named the key file, so the key is nowhere else.
    pub(super) key_file_is_set: bool,
    pub(super) passphrase: Passphrase,
    pub(super) stall_limit: Duration,
    pub(super) identity: Identity,
    /// The limit for lists of files in the cache directory, in bytes.
    pub(super) catalog_limit: Option<u64>,
    /// Nothing can be written to the repository on the server.
    pub(super) server_cannot_lock: Arc<AtomicBool>,
    /// Ids of archives that borg could not read.
    pub(super) unreadable: Arc<Mutex<HashSet<String>>>,
}

impl Borg {
    /// Takes the repository from `config`, and everything else from the environment of this
    /// process. Reads BORG_PASSPHRASE_FD, so it must be called only once.
    ///
    /// # Errors
    /// When there is no home directory for the key, or BORG_PASSPHRASE_FD cannot be read.
    pub fn new(config: &Config) -> Result<Self> {
        let (repository, path, local) = location(config);
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let remote_path = set("BORG_REMOTE_PATH").or_else(|| config.remote_path.clone().map(OsString::from));
        let named = config.key_file.clone().or_else(|| set("BORG_KEY_FILE").map(PathBuf::from));
        let key_file_is_set = named.is_some();
        let key_file = match named {
            Some(path) => path,
            None => match credential(KEY) {
                Some(path) => path,
                None => home()?.join(".borg-offsite-backup.key"),
            },
        };
        let (route, passphrase) = (Route::new(config), Passphrase::from_environment(config.file.is_some())?);
        let (stall_limit, identity) = (config.stall_limit, identity::of(config));
        let catalog_limit =
            config.catalog_cache_mb.and_then(|mb| u64::try_from(mb).ok()).map(|mb| mb * 1_000_000);
        Ok(Borg {
            repository,
            local,
            route,
            path,
            remote_path,
            key_file,
            key_file_is_set,
            passphrase,
            stall_limit,
            identity,
            catalog_limit,
            server_cannot_lock: Arc::default(),
            unreadable: Arc::default(),
        })
    }

    /// How long a borg process may do nothing, as it does if its server went silent.
    pub fn stall_limit(&self) -> Duration {
        self.stall_limit
    }

    /// The route to the server; `None` if the repository is on this machine.
    pub fn route(&self) -> Option<&Route> {
        self.route.as_ref()
    }

    /// The path of the repository on the server.
    pub fn path_on_server(&self) -> &str {
        &self.path
    }

    /// The name of the repository for people: a path, or an `ssh://` address.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Our identity among the machines that use the repository.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The limit for lists of files in the cache directory, in bytes.
    pub fn catalog_limit(&self) -> Option<u64> {
        self.catalog_limit
    }

    /// The directory of a local repository.
    pub fn local(&self) -> Option<&Path> {
        self.local.as_deref()
    }

    pub fn key_file(&self) -> &Path {
        &self.key_file
    }
}

/// BORG_REPO for `config`, the path in it, and the directory of a local repository. As with scp, a
/// path on the server that does not begin with `/` is relative to the home directory.
fn location(config: &Config) -> (String, String, Option<PathBuf>) {
    let path = &config.backup_path;
    let Some(server) = &config.backup_server else {
        return (path.clone(), path.clone(), Some(PathBuf::from(path)));
    };
    let user = config.backup_user.as_ref().map(|u| format!("{u}@")).unwrap_or_default();
    let path = match path.strip_prefix("~/") {
        Some(rest) => format!("/~/{rest}"),
        None if path.starts_with('/') => path.clone(),
        None => format!("/./{path}"),
    };
    (format!("ssh://{user}{server}{path}"), path, None)
}

pub(super) fn home() -> Result<PathBuf> {
    if let Some(home) = std::env::var_os("HOME").filter(|h| !h.is_empty()) {
        return Ok(home.into());
    }
    let user = accounts::user_of(nix::unistd::geteuid().as_raw()).ok().flatten();
    user.map(|user| user.home).ok_or_else(|| {
        Error::usage("cannot find the home directory, where the key is").hint("set HOME, or BORG_KEY_FILE")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys;

    fn config(server: Option<&str>, user: Option<&str>, path: &str) -> Config {
        Config {
            backup_server: server.map(str::to_owned),
            backup_user: user.map(str::to_owned),
            backup_path: path.to_owned(),
            ..keys::defaults()
        }
    }

    #[test]
    fn the_repository_is_a_path_or_an_ssh_address() {
        let text = |c: &Config| location(c).0;
        assert_eq!(text(&config(None, None, "/srv/backup")), "/srv/backup");
        assert_eq!(text(&config(Some("milena"), Some("me"), "/srv/b")), "ssh://me@milena/srv/b");
        assert_eq!(text(&config(Some("milena"), None, "backup")), "ssh://milena/./backup");
        assert_eq!(text(&config(Some("milena:2222"), Some("me"), "~/b")), "ssh://me@milena:2222/~/b");
        assert_eq!(text(&config(Some("[2001:db8::1]"), Some("me"), "/b")), "ssh://me@[2001:db8::1]/b");
    }
}
