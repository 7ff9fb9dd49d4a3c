//! Tries passphrases on the key if none was given.

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::client::Borg;
use super::credential::{self, credential};
use super::passphrase::{Guess, Passphrase, STORED, Secret, stored};
use crate::error::Result;
use crate::tools::terminal;

/// Passphrases for the key, one after the other, until one opens it.
pub struct Tries<'a> {
    borg: &'a Borg,
    at: Option<usize>,
}

impl Iterator for Tries<'_> {
    type Item = Result<Secret>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(at) = self.at {
            match self.borg.passphrase_failed(at) {
                Ok(true) => {}
                Ok(false) => return None,
                Err(e) => return Some(Err(e)),
            }
        }
        self.at = Some(self.borg.passphrase_tried());
        Some(self.borg.passphrase())
    }
}

impl Borg {
    /// The passphrases to try on the key. The last one that was requested is the right one.
    pub fn passphrases(&self) -> Tries<'_> {
        Tries { borg: self, at: None }
    }

    /// Without the one that root keeps for services: for a repository that is not the configured
    /// one.
    pub fn forget_stored_passphrase(&mut self) {
        if let Passphrase::Guessed(_) = self.passphrase {
            self.passphrase = Passphrase::Guessed(Arc::new(Mutex::new(Guess::new(None))));
        }
    }

    /// Whether only the key can tell which of several passphrases borg needs.
    pub fn passphrase_is_open(&self) -> bool {
        self.guess().is_some_and(|guess| guess.stored && guess.at == 0)
    }

    /// Whether a person may be asked for a passphrase.
    pub fn passphrase_may_be_asked(&self) -> bool {
        self.guess().is_some() && terminal::is_attended()
    }

    /// Whether no passphrase opens the key.
    pub fn passphrase_is_wrong(&self) -> bool {
        self.guess().is_some_and(|guess| guess.is_wrong)
    }

    /// Whether no passphrase was given, so that borg tries the empty one, and asks.
    pub(super) fn passphrase_is_unsaid(&self) -> bool {
        self.guess().is_some_and(|guess| guess.asked == 0 && guess.tried[guess.at].is_empty())
    }

    /// What was tried, for [`Borg::passphrase_failed`].
    pub(super) fn passphrase_tried(&self) -> usize {
        self.guess().map_or(0, |guess| guess.at)
    }

    /// Reports that the tried passphrase is wrong. Returns whether there is another.
    ///
    /// # Errors
    /// When a signal interrupts the question.
    pub(super) fn passphrase_failed(&self, tried: usize) -> Result<bool> {
        let question = format!("Passphrase for the key of {}: ", self.repository().escape_debug());
        self.guess().map_or(Ok(false), |mut guess| guess.after(tried, &question))
    }

    pub(super) fn guess(&self) -> Option<MutexGuard<'_, Guess>> {
        match &self.passphrase {
            Passphrase::Guessed(guess) => Some(guess.lock()),
            _ => None,
        }
    }

    /// The name of what gives the passphrase: the first variable that borg would read, a
    /// credential, or a file; `None` if there is none.
    pub fn passphrase_source() -> Option<&'static str> {
        ["BORG_PASSPHRASE", "BORG_PASSCOMMAND", "BORG_PASSPHRASE_FD"]
            .into_iter()
            .find(|name| std::env::var_os(name).is_some())
            .or_else(|| credential(credential::PASSPHRASE).map(|_| "the credential of systemd"))
            .or_else(|| stored().ok().flatten().map(|_| STORED))
    }
}
