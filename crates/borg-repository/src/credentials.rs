//! What a caller passes to open a repository.

use std::path::PathBuf;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::security::SecurityRules;

/// Where the key is, what opens it, and what the repository is compared with.
pub struct Credentials<'a> {
    /// Key files, or directories with key files, in the order of the search.
    pub key_files: &'a [PathBuf],
    /// Returns one passphrase for each call, and `None` after the last. It is called only if the
    /// key needs a passphrase.
    pub passphrases: &'a mut dyn FnMut() -> Option<Arc<Zeroizing<Vec<u8>>>>,
    /// How to compare the repository with borg's security database. `None` compares nothing.
    pub security: Option<SecurityRules>,
    /// The user lets borg read a repository that is only authenticated without its key, unchecked
    /// (`BORG_WORKAROUNDS=authenticated_no_key`). This reader does not: it returns
    /// [`Error::Unsupported`](crate::Error::Unsupported) for it.
    pub may_lack_key: bool,
}
