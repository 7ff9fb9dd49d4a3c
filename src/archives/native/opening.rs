//! Opens the repository in its directory, or behind its server.

use std::sync::Arc;
use std::time::Duration;

use borg_repository::{Connection, Credentials, Local, Remote, Repository, SecurityRules, Store};

use crate::error::Error;
use crate::process::interrupt;
use crate::tools::borg::{self, Borg, Server, answered_yes, has_workaround};

const DOING: &str = "open the repository";

/// An open repository, and what starts its server.
pub struct Opened {
    pub repository: Repository,
    /// `None` for a local repository.
    pub server: Option<Arc<Server>>,
}

/// Why a repository was not opened.
pub enum NotOpened {
    /// Only borg can read it, for this reason.
    OnlyBorg(String),
    /// Nobody can read it, or nobody should.
    Failed(Error),
}

impl From<String> for NotOpened {
    fn from(why: String) -> Self {
        NotOpened::OnlyBorg(why)
    }
}

/// Opens the repository of `borg`. A read fails if nothing arrives for `stall`.
pub fn open(borg: &Borg, stall: Duration) -> Result<Opened, NotOpened> {
    let rules = borg.security_dir().map(|database| rules(borg, database)).transpose()?;
    let server = match borg.local() {
        Some(_) => None,
        None => Some(Arc::new(borg.server()?)),
    };
    let opened = store(borg, server.as_ref(), stall).map_err(|e| {
        if let Some(server) = &server {
            server.give_up();
        }
        to_error(borg, e)
    })?;
    let (mut passphrases, mut failed) = (borg.passphrases(), None);
    let credentials = Credentials {
        key_files: &borg.key_places(),
        passphrases: &mut || passphrases.next()?.map_err(|e| failed = Some(e)).ok(),
        security: rules,
        may_lack_key: has_workaround("authenticated_no_key"),
    };
    match (Repository::open(opened, credentials), failed) {
        (Ok(repository), _) => {
            if let Some(server) = &server {
                server.accept();
            }
            Ok(Opened { repository, server })
        }
        (Err(borg_repository::Error::Passphrase(_)), Some(e)) => Err(NotOpened::Failed(e)),
        (Err(e), _) => Err(to_error(borg, e)),
    }
}

/// Opens the key to find out which passphrase borg needs. All other obstacles are left for borg to
/// report.
///
/// # Errors
/// When no passphrase opens the key.
pub fn find_passphrase(borg: &Borg, stall: Duration) -> Result<(), Error> {
    match open(borg, stall) {
        Err(NotOpened::Failed(error)) if borg.passphrase_is_wrong() => Err(error),
        _ => Ok(()),
    }
}

fn rules(borg: &Borg, database: std::path::PathBuf) -> Result<SecurityRules, String> {
    Ok(SecurityRules {
        database,
        location: borg.canonical_location()?,
        may_have_moved: answered_yes(borg::RELOCATED),
        may_be_unknown: answered_yes(borg::UNKNOWN_UNENCRYPTED),
    })
}

fn store(
    borg: &Borg,
    server: Option<&Arc<Server>>,
    stall: Duration,
) -> borg_repository::Result<Arc<dyn Store>> {
    match (borg.local(), server) {
        (Some(dir), _) => Ok(Arc::new(Local::open(dir)?)),
        (None, Some(server)) => {
            let path = server.path().as_bytes().to_owned();
            let server = Arc::clone(server);
            let connect = move || {
                let serving = server.start()?;
                Ok(Connection {
                    reader: Box::new(serving.output),
                    writer: Box::new(serving.input),
                    holder: Box::new(serving.child),
                })
            };
            Ok(Arc::new(Remote::open(Box::new(connect), &path, stall)?))
        }
        (None, None) => Err(borg_repository::Error::NoRepository("it has no place".into())),
    }
}

fn to_error(borg: &Borg, e: borg_repository::Error) -> NotOpened {
    match e {
        e if e.is_unsupported() => NotOpened::OnlyBorg(e.to_string()),
        e => NotOpened::Failed(message(borg, e)),
    }
}

/// Reports failures in the same words as those of borg.
pub fn message(borg: &Borg, e: borg_repository::Error) -> Error {
    use borg_repository::Error as E;
    if let Err(interrupted) = interrupt::check() {
        return interrupted;
    }
    match e {
        E::Passphrase(file) => {
            let file = file.map(|file| file.display().to_string());
            borg::wrong_passphrase(borg, DOING, file.as_deref().unwrap_or(borg.repository()))
        }
        E::NoKey(_) => borg::no_key(borg, DOING),
        E::NoRepository(_) => borg::no_repository(borg, DOING).because(e),
        E::NotAllowed(_) => borg::not_allowed(borg, DOING),
        E::Gone(_) => borg::connection_closed(borg, DOING).because(e),
        E::Relocated { .. } => borg::unanswered(borg, DOING, borg::RELOCATED).because(e),
        E::Unknown => borg::unanswered(borg, DOING, borg::UNKNOWN_UNENCRYPTED),
        other => Error::failed(format!("cannot {DOING} {}", borg.repository())).because(other),
    }
}
