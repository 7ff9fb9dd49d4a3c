//! The reasons why a repository cannot be read.

use std::path::PathBuf;
use std::{fmt, io};

use super::id::Id;

/// The result of reading a repository.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The reason why a repository, or an object of it, cannot be read. Another reader may read what is
/// [unsupported](Error::is_unsupported). A caller must show all other errors to the user.
#[derive(Debug)]
pub enum Error {
    /// The object is not in the repository, even by its newest index: the archive that it belonged
    /// to was deleted.
    NotFound(Id),
    /// There is no repository. Holds the reason.
    NoRepository(String),
    /// The server does not allow this account to see the repository.
    NotAllowed(String),
    /// Bytes are not those that were written, or the writer did not have the key. Callers must
    /// never ignore this.
    Integrity(String),
    /// The repository contains something that this reader does not know. Borg itself may know it.
    Unsupported(String),
    /// No passphrase opens the key, or none was given. Holds the file with the key; `None` if the
    /// key is in the repository.
    Passphrase(Option<PathBuf>),
    /// The key file of this repository was not found.
    NoKey(Id),
    /// The repository is encrypted in another way than when borg last used it.
    KeyChanged {
        /// The type of the key then.
        known: u8,
        /// The type of the key now.
        found: u8,
    },
    /// The manifest is older than the one that borg saw last.
    Replayed {
        /// The time of the manifest that borg saw.
        known: String,
        /// The time of this manifest.
        found: String,
    },
    /// The repository was elsewhere when borg last used it.
    Relocated {
        /// Where borg used it.
        known: String,
        /// Where it is now.
        found: String,
    },
    /// Borg never used the repository, and anybody could have made it, because reading it needs no
    /// secret.
    Unknown,
    /// The operating system failed.
    Io {
        /// The operation and its object, such as "read segment 5".
        what: String,
        /// The error of the system.
        cause: io::Error,
    },
    /// The connection to the server ended, or nothing arrived for too long. A new connection may
    /// help.
    Gone(String),
    /// The server refused a call.
    Refused {
        /// The class of its exception.
        class: String,
        /// The arguments of its exception.
        message: String,
    },
}

impl Error {
    /// [`Error::Integrity`]: `what` names the object and the fault.
    pub fn integrity(what: impl Into<String>) -> Self {
        Error::Integrity(what.into())
    }

    /// [`Error::Unsupported`]: `what` names what this reader does not know.
    pub fn unsupported(what: impl Into<String>) -> Self {
        Error::Unsupported(what.into())
    }

    /// [`Error::Io`], for `map_err`: `what` names the operation and its object.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |cause| Error::Io { what: what.into(), cause }
    }

    /// Whether borg itself may be able to read what this reader cannot. False for everything that
    /// casts doubt on the repository.
    pub fn is_unsupported(&self) -> bool {
        matches!(self, Error::Unsupported(_))
    }
}

impl Error {
    /// Whether bytes of the repository are lost or wrong. All other errors are failures of this
    /// machine, the connection or the server.
    pub fn is_damage(&self) -> bool {
        match self {
            Error::NotFound(_) | Error::Integrity(_) => true,
            Error::Io { cause, .. } => {
                cause.raw_os_error() == Some(EIO) || cause.kind() == io::ErrorKind::UnexpectedEof
            }
            _ => false,
        }
    }
}

/// The error of a disk that cannot read its data, on every Linux.
const EIO: i32 = 5;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotFound(id) => write!(f, "the object {id} is not in the repository"),
            Error::NoRepository(why) => write!(f, "there is no repository: {why}"),
            Error::NotAllowed(why) => write!(f, "the server does not allow access: {why}"),
            Error::Integrity(what) => write!(f, "data integrity error: {what}"),
            Error::Unsupported(what) => write!(f, "not supported: {what}"),
            Error::Passphrase(None) => write!(f, "no passphrase opens the key in the repository"),
            Error::Passphrase(Some(file)) => write!(f, "no passphrase opens the key in {}", file.display()),
            Error::NoKey(id) => write!(f, "there is no key file for the repository {id}"),
            Error::KeyChanged { known, found } => write!(
                f,
                "the repository has key type {found:#04x}, but had {known:#04x} when borg last used it"
            ),
            Error::Replayed { known, found } => {
                write!(f, "the manifest is from {found}, but borg has seen one from {known}")
            }
            Error::Relocated { known, found } => {
                write!(f, "the repository at {found} was at {known} when borg last used it")
            }
            Error::Unknown => write!(f, "the repository is not encrypted, and borg never used it"),
            Error::Io { what, .. } => write!(f, "cannot {what}"),
            Error::Gone(why) => write!(f, "lost the connection to the repository: {why}"),
            Error::Refused { class, message } => write!(f, "the server refused the call: {class}: {message}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { cause, .. } => Some(cause),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_machine_lacks_is_no_damage() {
        let io =
            |errno| Error::Io { what: "open segment 1".into(), cause: io::Error::from_raw_os_error(errno) };
        for errno in [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::EACCES, libc::ENOTCONN, libc::ESTALE] {
            assert!(!io(errno).is_damage(), "{errno}");
        }
        assert!(io(libc::EIO).is_damage() && Error::integrity("x").is_damage());
        assert!(!Error::Gone("x".into()).is_damage());
    }
}
