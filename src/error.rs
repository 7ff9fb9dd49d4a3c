//! Errors that tell the reader what to do: the operation and its object, the cause, and the next
//! step.

use std::error::Error as StdError;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The kind of an error, for callers that react to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// The work failed.
    Failed,
    /// The command line or the configuration cannot be used; nothing was tried.
    Usage,
    /// The repository is locked, or another run is active. The same call may succeed later.
    Busy,
    /// Something that was named does not exist.
    NotFound,
    /// Bytes of the backup are lost or wrong.
    Damaged,
    /// `verify` succeeded in looking, but found differences or damage.
    Differs,
    /// Something that should be made exists already.
    Exists,
    /// The connection to the server dropped. The same call may succeed on a new one.
    Disconnected,
    /// A signal asked this process to end.
    Interrupted,
}

impl Kind {
    pub const ALL: [Kind; 9] = [
        Kind::Failed,
        Kind::Usage,
        Kind::Busy,
        Kind::NotFound,
        Kind::Damaged,
        Kind::Differs,
        Kind::Exists,
        Kind::Disconnected,
        Kind::Interrupted,
    ];

    /// The stable name for scripts. docs/ERRORS.md explains all of them.
    pub fn code(self) -> &'static str {
        match self {
            Kind::Failed => "failed",
            Kind::Usage => "usage",
            Kind::Busy => "busy",
            Kind::NotFound => "not-found",
            Kind::Damaged => "damaged",
            Kind::Differs => "differs",
            Kind::Exists => "exists",
            Kind::Disconnected => "disconnected",
            Kind::Interrupted => "interrupted",
        }
    }
}

/// An error with its object and operation ([`Error::new`]), an optional cause ([`Error::because`])
/// and an optional next step ([`Error::hint`]).
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    what: String,
    hints: Vec<String>,
    cause: Option<Box<dyn StdError + Send + Sync>>,
}

/// The result of everything that can fail for a person.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// `what` names the operation and its object: "cannot read /etc/x.conf".
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        Error { kind, what: what.into(), hints: Vec::new(), cause: None }
    }

    pub fn failed(what: impl Into<String>) -> Self {
        Self::new(Kind::Failed, what)
    }

    pub fn usage(what: impl Into<String>) -> Self {
        Self::new(Kind::Usage, what)
    }

    /// Adds the cause. It is printed after the error, together with its own causes.
    pub fn because(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Adds a line with the next step, or with other information.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn hints(&self) -> &[String] {
        &self.hints
    }

    /// The error with all its causes on one line, for logs.
    pub fn chain(&self) -> String {
        let mut text = self.what.clone();
        let mut cause = self.source();
        while let Some(c) = cause {
            text.push_str(": ");
            text.push_str(&c.to_string());
            cause = c.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_deref().map(|c| c as &(dyn StdError + 'static))
    }
}

impl From<borg_repository::Error> for Error {
    fn from(error: borg_repository::Error) -> Self {
        use borg_repository::Error::{NoRepository, NotFound};
        let kind = match error {
            NotFound(_) | NoRepository(_) => Kind::NotFound,
            _ => Kind::Failed,
        };
        Error::new(kind, "cannot read the repository").because(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_tells_the_operation_before_its_causes() {
        let inner = Error::failed("cannot open x").because(std::io::Error::other("disk on fire"));
        let outer = Error::usage("cannot load the config").because(inner).hint("buy a disk");
        assert_eq!(outer.chain(), "cannot load the config: cannot open x: disk on fire");
        assert_eq!(outer.hints(), ["buy a disk"]);
        assert_eq!(outer.kind(), Kind::Usage);
    }
}
