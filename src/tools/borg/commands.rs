//! borg as a command, with its environment.

use std::ffi::OsString;
use std::time::Duration;

use super::client::Borg;
use super::passphrase::Passphrase;
use crate::error::Result;
use crate::process::Command;

impl Borg {
    /// `borg SUBCOMMAND` for our own use: it logs JSON lines, asks nothing, uses UTC, and waits
    /// `lock_wait` for a lock.
    ///
    /// # Errors
    /// When the passphrase cannot be handed over.
    pub fn command(&self, subcommand: &str, lock_wait: Duration) -> Result<Command> {
        let mut words = subcommand.split(' ');
        let first = words.next().unwrap_or_default();
        let command = Command::new("borg")
            .arg(first)
            .args(self.bypass(first))
            .args(words)
            .args(["--log-json", "--lock-wait", &lock_wait.as_secs().to_string()])
            .env("TZ", "UTC")
            // borg also does nothing while it waits for a lock.
            .stalls_after(
                self.stall_limit + lock_wait,
                match self.local {
                    Some(_) => "see whether the disks that it reads and writes answer at all",
                    None => {
                        "the server may hang; `stall_limit` in the configuration says how long that is borne"
                    }
                },
            );
        self.environment(command, false)
    }

    /// `borg ARGS…` as the user wrote them, with the user's terminal and locale. Options are added
    /// only for a repository that cannot be written.
    ///
    /// # Errors
    /// When the passphrase cannot be handed over.
    pub fn pass_through(&self, args: &[OsString]) -> Result<Command> {
        let command = Command::new("borg").args(self.bypassing(args));
        let command = match std::env::var_os("LC_ALL") {
            Some(locale) => command.env("LC_ALL", locale),
            None => command.env_remove("LC_ALL"),
        };
        // A new key gets the given passphrase, or none.
        let is_new = args.first().is_some_and(|command| command == "init");
        let command = if is_new { command.env("BORG_KEY_FILE", &self.key_file) } else { command };
        match is_new && self.passphrase_is_unsaid() {
            true => Ok(self.environment(command, true)?.env("BORG_PASSPHRASE", "")),
            false => self.environment(command, true),
        }
    }

    /// With `asks`, ssh and borg may ask the person at the terminal.
    fn environment(&self, command: Command, asks: bool) -> Result<Command> {
        let mut command = command.env("BORG_REPO", &self.repository);
        // Otherwise borg looks for the key in its own directory.
        if self.key_file_is_set || self.key_file.exists() {
            command = command.env("BORG_KEY_FILE", &self.key_file);
        }
        if let Some(route) = &self.route {
            command = command.env("BORG_RSH", route.rsh(asks)?);
        }
        if let Some(program) = &self.remote_path {
            command = command.env("BORG_REMOTE_PATH", program);
        }
        match &self.passphrase {
            Passphrase::Inherited => Ok(command),
            Passphrase::Read(secret) => command.secret_fd("BORG_PASSPHRASE_FD", secret),
            Passphrase::Guessed(_) => {
                let secret = self.passphrase()?;
                // Without the variable, borg also tries the empty passphrase, and then asks, or
                // reports that none was given.
                match secret.is_empty() {
                    true if asks && self.passphrase_is_unsaid() => Ok(command),
                    true => Ok(command.env("BORG_PASSPHRASE", "")),
                    false => command.secret_fd("BORG_PASSPHRASE_FD", &secret),
                }
            }
        }
    }
}
