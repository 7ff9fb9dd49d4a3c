//! What the examples share: the command line, and opening a repository.

use std::error::Error;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use borg_repository::{Archive, Credentials, Local, Repository};

pub type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

/// Runs an example with the arguments of the command line and the passphrase of the environment.
#[allow(dead_code)]
pub fn main(run: impl Fn(&[OsString], &[u8], &mut dyn Write) -> Result) -> Result {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let passphrase = std::env::var("BORG_PASSPHRASE").unwrap_or_default();
    run(&arguments, passphrase.as_bytes(), &mut io::stdout().lock())
}

/// Opens a local repository. A real program would also compare it with borg's security database, and
/// ask for a passphrase.
pub fn open(dir: &Path, passphrase: &[u8]) -> Result<Repository> {
    let keys = std::env::home_dir().map(|home| home.join(".config/borg/keys"));
    let key_files: Vec<PathBuf> = keys.into_iter().collect();
    let mut passphrase = Some(Arc::new(passphrase.to_vec().into()));
    let credentials = Credentials {
        key_files: &key_files,
        passphrases: &mut || passphrase.take(),
        security: None,
        may_lack_key: false,
    };
    Ok(Repository::open(Arc::new(Local::open(dir)?), credentials)?)
}

/// The archive of this name.
pub fn archive(repository: &Repository, name: &OsString) -> Result<Archive> {
    let manifest = repository.manifest();
    let entry = manifest.archives.iter().find(|entry| entry.name == name.as_encoded_bytes());
    Ok(repository.archive(&entry.ok_or_else(|| format!("there is no archive {name:?}"))?.id)?)
}
