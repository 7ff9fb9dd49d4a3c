//! Runs the user's commands around a backup. Each gets what is known so far as JSON on its standard
//! input, and each has a deadline.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use serde_json::{Map, Value};

use super::facts;
use super::report::{Outcome, Report};
use crate::config::{Config, Hook, Hooks as Set};
use crate::error::{Error, Result};
use crate::process::{Command, Ended, Mounts, interrupt};

/// The number of lines of a hook's output that an error shows.
const LAST_LINES: usize = 5;
/// Secrets that only borg needs.
const SECRETS: [&str; 4] =
    ["BORG_PASSPHRASE", "BORG_PASSPHRASE_FD", "BORG_PASSCOMMAND", "BORG_NEW_PASSPHRASE"];

/// The hooks of one configuration.
pub struct Hooks<'a> {
    config: &'a Config,
    /// Hooks run in the machine's mounts, and not in those of the staged tree.
    mounts: Mounts,
}

impl<'a> Hooks<'a> {
    /// Must be made before [`super::create`].
    ///
    /// # Errors
    /// When `/proc` is not there.
    pub fn new(config: &'a Config) -> Result<Hooks<'a>> {
        Ok(Hooks { config, mounts: Mounts::here()? })
    }

    fn set(&self) -> &Set {
        &self.config.hooks
    }

    /// Runs `before_backup`; returns whether there is one.
    ///
    /// # Errors
    /// When it fails, takes too long, or a signal asks this process to end.
    pub(super) fn before(&self, report: &Report) -> Result<bool> {
        let Some(hook) = &self.set().before_backup else { return Ok(false) };
        let answer = self.answer("before_backup", report);
        self.run("before_backup", hook, answer, interrupt::requested).map(|()| true)
    }

    /// Runs `after_backup`, even after a signal; returns whether there is one.
    ///
    /// # Errors
    /// When it fails, or takes too long.
    pub(super) fn after(&self, report: &Report, outcome: &Result<Outcome>) -> Result<bool> {
        let Some(hook) = &self.set().after_backup else { return Ok(false) };
        let mut answer = self.answer("after_backup", report);
        answer.extend(facts::outcome(outcome));
        self.run("after_backup", hook, answer, || false).map(|()| true)
    }

    /// Runs `on_success` if `exit_code` is 0, otherwise `on_failure`.
    ///
    /// # Errors
    /// When it fails, or takes too long.
    pub fn notify(&self, report: &Report, exit_code: u8) -> Result<()> {
        let (key, hook) = match exit_code {
            0 => ("on_success", &self.set().on_success),
            _ => ("on_failure", &self.set().on_failure),
        };
        let Some(hook) = hook else { return Ok(()) };
        let mut answer = self.answer(key, report);
        answer.extend(facts::outcome(&report.outcome));
        answer.insert("exit_code".into(), exit_code.into());
        self.run(key, hook, answer, || false)
    }

    /// The input of every hook.
    fn answer(&self, event: &str, report: &Report) -> Map<String, Value> {
        let mut answer = facts::numbers(report);
        answer.insert("event".into(), event.into());
        answer.insert("config".into(), self.config.name().into());
        answer
    }

    fn run(
        &self,
        key: &str,
        hook: &Hook,
        answer: Map<String, Value>,
        interrupted: impl Fn() -> bool,
    ) -> Result<()> {
        let failed = |why: String| Error::failed(format!("{key} failed: {why}"));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        let program = &hook.command[0];
        let command = Command::new(program).args(&hook.command[1..]).seeing(&self.mounts).die_with_parent();
        let command = SECRETS.iter().fold(command, |command, name| command.env_remove(name));
        let mut child = command
            .input(Value::Object(answer).to_string().as_bytes())?
            .spawn_merged(move |line| keep(&mut sink.lock(), line))
            .map_err(|e| failed(e.chain()))?;
        let end = Instant::now() + hook.deadline;
        let ended = child.wait_unless(|| interrupted() || Instant::now() >= end)?;
        let why = match ended {
            Some(Ended::Code(0)) => return Ok(()),
            Some(ended) => format!("`{program}` ended with {ended}"),
            None => {
                child.stop();
                if interrupted() {
                    interrupt::check()?;
                }
                format!("`{program}` took longer than {} s and was stopped", hook.deadline.as_secs())
            }
        };
        let lines = lines.lock();
        Err(lines.iter().fold(failed(why), |error, line| error.hint(format!("it said: {line}"))))
    }
}

/// Keeps the last lines.
fn keep(lines: &mut Vec<String>, line: &[u8]) {
    if line.is_empty() {
        return;
    }
    if lines.len() == LAST_LINES {
        lines.remove(0);
    }
    lines.push(String::from_utf8_lossy(line).into_owned());
}
