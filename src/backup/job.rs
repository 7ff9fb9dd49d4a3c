//! The parameters of a run of `create`, which do not change during the run.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Local};

use super::events::{Event, Listener};
use super::hooks::Hooks;
use super::retry::retry_on_disconnect;
use crate::archive::identity::Identity;
use crate::config::Config;
use crate::error::Result;

/// What to do about an existing archive of today.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfExists {
    Fail,
    Skip,
    /// Remove it when the new one is complete.
    Replace,
}

/// Options of [`super::create`].
#[derive(Debug, Clone)]
pub struct Options {
    pub if_exists: IfExists,
    /// Makes and removes nothing; the user sees what would be archived.
    pub dry_run: bool,
    /// How long each call of borg waits for the repository's lock.
    pub lock_wait: Duration,
    /// Added to `borg create` unchanged.
    pub borg_options: Vec<OsString>,
}

/// A run: its configuration, options and listener.
pub struct Job<'a> {
    pub config: &'a Config,
    pub options: &'a Options,
    pub hooks: &'a Hooks<'a>,
    pub listener: &'a Arc<dyn Listener>,
    pub identity: &'a Identity,
    /// Names and dates the archive, even if borg starts much later.
    pub begun: DateTime<Local>,
}

impl Job<'_> {
    pub fn tell(&self, event: Event<'_>) {
        self.listener.tell(event);
    }

    /// # Errors
    /// As [`retry_on_disconnect`].
    pub fn retry<T>(&self, work: impl FnMut() -> Result<T>) -> Result<T> {
        retry_on_disconnect(&**self.listener, work)
    }
}
