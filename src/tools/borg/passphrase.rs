//! The passphrase of the key: where it comes from, and which ones are tried if none was given.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use zeroize::Zeroizing;

use super::credential::{self, credential};
use crate::error::{Error, Result};
use crate::secret;
use crate::tools::terminal;

/// Shared instead of copied, because a copy would lie in unguarded memory.
pub type Secret = Arc<Zeroizing<Vec<u8>>>;

/// The passphrase that root keeps for services. It is read directly if there is no credential:
/// systemd before 257 hands none to `.mount` units.
pub const STORED: &str = "/etc/credstore/borg-offsite-backup.passphrase";
/// The longest passphrase, in bytes: a pipe holds no more.
const LONGEST: u64 = 64 << 10;
/// How often a person may try.
const ASKED_AT_MOST: u8 = 3;

/// Where borg's passphrase comes from.
#[derive(Clone)]
pub(super) enum Passphrase {
    /// The user set BORG_PASSPHRASE or BORG_PASSCOMMAND, which borg reads itself.
    Inherited,
    /// From BORG_PASSPHRASE_FD or the credential, which can be read only once. Each child gets a
    /// descriptor of its own.
    Read(Secret),
    /// Not given: the key decides. Clones share the result.
    Guessed(Arc<Mutex<Guess>>),
}

/// The passphrases that are tried in turn: the one that root keeps for services, the empty one, and
/// those that a person types.
pub(super) struct Guess {
    pub(super) tried: Vec<Secret>,
    pub(super) at: usize,
    pub(super) asked: u8,
    pub(super) stored: bool,
    /// None of them opens the key.
    pub(super) is_wrong: bool,
}

impl Passphrase {
    /// Finds out from the environment of this process. The one that root keeps for services is for the
    /// repository of the configuration (`is_configured`) only.
    ///
    /// # Errors
    /// When BORG_PASSPHRASE_FD or the credential cannot be read.
    pub(super) fn from_environment(is_configured: bool) -> Result<Passphrase> {
        let set = |name: &str| std::env::var_os(name).is_some();
        if set("BORG_PASSPHRASE") || set("BORG_PASSCOMMAND") {
            return Ok(Passphrase::Inherited);
        }
        if let Some(fd) = std::env::var_os("BORG_PASSPHRASE_FD") {
            let to_error = || Error::usage(format!("cannot read BORG_PASSPHRASE_FD={}", fd.display()));
            let number: u32 = fd.to_str().and_then(|n| n.parse().ok()).ok_or_else(to_error)?;
            let secret = read(File::open(format!("/proc/self/fd/{number}")));
            return secret.map(Passphrase::Read).map_err(|e| {
                to_error().because(e).hint("it must be the number of an open, readable descriptor")
            });
        }
        if let Some(path) = credential(credential::PASSPHRASE) {
            let to_error =
                |e| Error::usage(format!("cannot read the credential {}", path.display())).because(e);
            return read(File::open(&path)).map(Passphrase::Read).map_err(to_error);
        }
        let stored = match is_configured {
            true => stored().unwrap_or_else(|why| {
                tracing::warn!("{STORED} is not used: {why}");
                None
            }),
            false => None,
        };
        Ok(Passphrase::Guessed(Arc::new(Mutex::new(Guess::new(stored)))))
    }
}

impl Guess {
    pub(super) fn new(stored: Option<Secret>) -> Guess {
        let is_stored = stored.is_some();
        let tried = stored.into_iter().chain([Secret::default()]).collect();
        Guess { tried, at: 0, asked: 0, stored: is_stored, is_wrong: false }
    }

    /// Moves to the next passphrase, because the one at `at` does not open the key. Returns whether
    /// there is one.
    pub(super) fn after(&mut self, at: usize, question: &str) -> Result<bool> {
        if self.at != at {
            return Ok(true);
        }
        if self.at + 1 < self.tried.len() {
            self.at += 1;
            return Ok(true);
        }
        let passphrase = match self.asked {
            ASKED_AT_MOST => None,
            _ => terminal::ask_secret(question)?,
        };
        let Some(passphrase) = passphrase else {
            self.is_wrong = true;
            return Ok(false);
        };
        self.asked += 1;
        secret::guard_in_place(&passphrase);
        self.tried.push(passphrase.into());
        self.at += 1;
        Ok(true)
    }
}

impl Guess {
    pub(super) fn current(&self) -> &Secret {
        &self.tried[self.at]
    }

    /// The error that none of them opens the key `key`, with the next step.
    pub(super) fn failure(&self, doing: &str, key: &str) -> Error {
        let to_error = |why: String| Error::failed(format!("cannot {doing}: {why}"));
        let error = match (self.asked, self.stored) {
            (0, false) => to_error(format!("the key in {key} has a passphrase, and none was given")),
            (0, true) => {
                to_error(format!("neither {STORED} nor the empty passphrase opens the key in {key}"))
            }
            _ => return to_error(format!("the passphrase is wrong for the key in {key}")),
        };
        error.hint(
            "set BORG_PASSPHRASE, BORG_PASSCOMMAND or BORG_PASSPHRASE_FD; on a terminal it is asked for",
        )
    }
}

/// The passphrase that root keeps for services; `None` for other users, or if there is none.
pub(super) fn stored() -> std::result::Result<Option<Secret>, String> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(None);
    }
    trusted(Path::new(STORED))
}

/// The contents of `path`, if only root can read and write the file; otherwise the reason.
fn trusted(path: &Path) -> std::result::Result<Option<Secret>, String> {
    let mut options = File::options();
    // Opening a pipe must not block.
    options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let file = match options.open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) if e.raw_os_error() == Some(libc::ELOOP) => return Err("it is a symbolic link".into()),
        opened => opened.map_err(|e| e.to_string())?,
    };
    let meta = file.metadata().map_err(|e| e.to_string())?;
    if !meta.is_file() {
        return Err("it is no regular file".into());
    }
    if meta.uid() != 0 || meta.mode() & 0o7177 != 0 {
        return Err(format!("it must belong to root, and have mode 0600: chmod 600 {}", path.display()));
    }
    read(Ok(file)).map(Some).map_err(|e| e.to_string())
}

/// Without the newline at the end.
fn read(file: io::Result<File>) -> io::Result<Secret> {
    let mut secret = Zeroizing::new(Vec::with_capacity(256));
    file?.take(LONGEST + 1).read_to_end(&mut secret)?;
    if secret.len() as u64 > LONGEST {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    while secret.last() == Some(&b'\n') {
        secret.pop();
    }
    secret::guard_in_place(&secret);
    Ok(secret.into())
}
