//! Credentials that systemd hands to its services (`LoadCredential=`).

use std::path::{Path, PathBuf};

pub(super) const KEY: &str = "borg-offsite-backup.key";
pub(super) const PASSPHRASE: &str = "borg-offsite-backup.passphrase";

/// The file of this credential, which only the service can see.
pub(super) fn credential(name: &str) -> Option<PathBuf> {
    let path = Path::new(&std::env::var_os("CREDENTIALS_DIRECTORY")?).join(name);
    path.exists().then_some(path)
}
