//! Repositories that cannot be locked, because nothing can be written to them.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::Once;
use std::sync::atomic::Ordering::Relaxed;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{AccessFlags, faccessat};

use super::client::Borg;

/// An option of borg since 1.1, for all of `READERS`.
const BYPASS: &str = "--bypass-lock";
/// The reading commands that borg allows without a lock.
const READERS: [&str; 5] = ["list", "info", "extract", "diff", "export-tar"];

impl Borg {
    /// The additional arguments of `borg SUBCOMMAND` to read a repository that cannot be locked.
    /// Logs it once.
    pub(super) fn bypass(&self, subcommand: &str) -> Option<&'static str> {
        static SAID: Once = Once::new();
        // Only the server knows, and was asked before (`Need::Reading`).
        let can_be_locked = match &self.local {
            Some(local) => !is_read_only(local),
            None => !self.server_cannot_lock.load(Relaxed),
        };
        if !READERS.contains(&subcommand) || can_be_locked {
            return None;
        }
        SAID.call_once(|| {
            tracing::warn!("{} can only be read, so it is read without a lock", self.repository);
        });
        Some(BYPASS)
    }

    /// The same for arguments of the user.
    pub(super) fn bypassing(&self, args: &[OsString]) -> Vec<OsString> {
        let mut args = args.to_vec();
        if let Some(option) = locking_reader(&args).and_then(|subcommand| self.bypass(subcommand)) {
            args.insert(1, option.into());
        }
        args
    }
}

/// The subcommand in arguments of the user, if it only reads and takes a lock.
pub fn locking_reader(args: &[OsString]) -> Option<&str> {
    let subcommand = args.first().and_then(|arg| arg.to_str())?;
    let bypasses = args.iter().take_while(|arg| *arg != "--").any(|arg| arg == OsStr::new(BYPASS));
    (READERS.contains(&subcommand) && !bypasses).then_some(subcommand)
}

/// Whether we cannot write to a local repository.
fn is_read_only(repository: &Path) -> bool {
    let denied = faccessat(AT_FDCWD, repository, AccessFlags::W_OK, AtFlags::AT_EACCESS);
    matches!(denied, Err(Errno::EROFS | Errno::EACCES | Errno::EPERM))
}
