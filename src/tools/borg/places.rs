//! Where borg finds what belongs to a repository, for readers without borg: its address, key,
//! passphrase, and security database.

use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::client::{Borg, home};
use super::passphrase::{Passphrase, Secret};
use crate::config::address::{Address, normal};
use crate::error::{Error, Result};
use crate::process::{Command, Ended};
use crate::secret;

/// The answers that borg takes as a yes.
const YES: [&str; 6] = ["Yes", "YES", "yes", "Y", "y", "1"];

impl Borg {
    /// The passphrase that borg would get.
    ///
    /// # Errors
    /// When BORG_PASSCOMMAND fails.
    pub fn passphrase(&self) -> Result<Secret> {
        match &self.passphrase {
            Passphrase::Read(secret) => Ok(secret.clone()),
            Passphrase::Guessed(_) => {
                Ok(self.guess().map(|guess| guess.current().clone()).unwrap_or_default())
            }
            Passphrase::Inherited => match std::env::var_os("BORG_PASSPHRASE") {
                Some(passphrase) => {
                    let secret = Zeroizing::new(passphrase.into_vec());
                    secret::guard_in_place(&secret);
                    Ok(secret.into())
                }
                None => pass_command(),
            },
        }
    }

    /// Files and directories that may have the key: our own file, then borg's directory.
    pub fn key_places(&self) -> Vec<PathBuf> {
        let directory = set("BORG_KEYS_DIR").or_else(|| Some(config_dir()?.join("keys")));
        [self.key_file.clone()].into_iter().chain(directory).collect()
    }

    /// borg's security database; `None` without a home directory.
    pub fn security_dir(&self) -> Option<PathBuf> {
        set("BORG_SECURITY_DIR").or_else(|| Some(config_dir()?.join("security")))
    }

    /// The address of the repository as in borg's security database; `Err` gives the reason why
    /// only borg knows it.
    pub fn canonical_location(&self) -> Result<String, String> {
        match self.local {
            Some(_) => self.without_braces().map(normal),
            None => self.address().map(|address| address.canonical()),
        }
    }

    pub(super) fn address(&self) -> Result<Address, String> {
        let text = self.without_braces()?;
        Address::parse(text).ok_or_else(|| format!("{text} is no address that it knows"))
    }

    fn without_braces(&self) -> Result<&str, String> {
        match self.repository.contains('{') {
            true => Err("only borg fills in what stands in braces in its address".into()),
            false => Ok(&self.repository),
        }
    }
}

/// Whether the environment answers borg's question `variable` with yes.
pub fn answered_yes(variable: &str) -> bool {
    std::env::var(variable).is_ok_and(|answer| YES.contains(&&*answer))
}

/// Whether BORG_WORKAROUNDS contains `name`.
pub fn has_workaround(name: &str) -> bool {
    std::env::var("BORG_WORKAROUNDS").is_ok_and(|list| list.split(',').any(|one| one == name))
}

fn set(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn config_dir() -> Option<PathBuf> {
    let base = || set("BORG_BASE_DIR").or_else(|| home().ok()).map(|base| base.join(".config"));
    let xdg = || set("XDG_CONFIG_HOME").filter(|_| set("BORG_BASE_DIR").is_none());
    set("BORG_CONFIG_DIR").or_else(|| Some(xdg().or_else(base)?.join("borg")))
}

fn pass_command() -> Result<Secret> {
    let line = std::env::var("BORG_PASSCOMMAND").unwrap_or_default();
    let to_error = || Error::failed("cannot get the passphrase from BORG_PASSCOMMAND");
    let words = shlex::split(&line).filter(|words| !words.is_empty());
    let words = words.ok_or_else(|| to_error().because("it is not a valid command line"))?;
    let output = Command::new(&words[0]).args(&words[1..]).output()?;
    if output.ended != Ended::Code(0) {
        return Err(to_error().because(format!("it ended with {}", output.ended)));
    }
    let mut secret = Zeroizing::new(output.stdout);
    while secret.last() == Some(&b'\n') {
        secret.pop();
    }
    secret::guard_in_place(&secret);
    Ok(secret.into())
}
