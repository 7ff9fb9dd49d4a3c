//! What a run of `create` is asked for; nothing in it changes while the run goes on.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Local};

use super::hooks::Hooks;
use super::monitor::{Event, Monitor};
use super::retry::retry_on_disconnect;
use crate::archive::identity::Identity;
use crate::config::Config;
use crate::error::Result;

/// What is done about an archive of today that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfExists {
    Fail,
    Skip,
    /// It is removed when the new one stands.
    Replace,
}

/// How [`super::create`] is to go about it.
#[derive(Debug, Clone)]
pub struct Options {
    pub if_exists: IfExists,
    /// Nothing is made and nothing removed; the user sees what would be archived.
    pub dry_run: bool,
    /// How long each call of borg waits for the repository's lock.
    pub lock_wait: Duration,
    /// Added to `borg create` as they are.
    pub borg_options: Vec<OsString>,
}

/// One run, from its configuration to its monitor.
pub struct Job<'a> {
    pub config: &'a Config,
    pub options: &'a Options,
    pub hooks: &'a Hooks<'a>,
    pub monitor: &'a Arc<dyn Monitor>,
    pub identity: &'a Identity,
    /// Names and dates the archive, however long it takes until borg begins.
    pub begun: DateTime<Local>,
}

impl Job<'_> {
    pub fn tell(&self, event: Event<'_>) {
        self.monitor.tell(event);
    }

    /// # Errors
    /// As [`retry_on_disconnect`].
    pub fn retry<T>(&self, work: impl FnMut() -> Result<T>) -> Result<T> {
        retry_on_disconnect(&**self.monitor, work)
    }
}
