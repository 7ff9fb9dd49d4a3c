//! The user's own commands around a backup: `before_backup`, `after_backup`, `on_success`, `on_failure`.

use std::time::Duration;

use super::json::JsonNode;
use super::reader::Reader;

/// The default for commands that may dump a database.
pub(super) const LONG: Duration = Duration::from_secs(3600);
/// The default for the last commands; systemd waits for both when it stops the service.
pub(super) const SHORT: Duration = Duration::from_secs(120);

/// Commands that run around a backup. Each gets the result so far as JSON on its standard input.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hooks {
    /// If it fails, nothing is backed up.
    pub before_backup: Option<Hook>,
    /// Runs after every backup, successful or not.
    pub after_backup: Option<Hook>,
    pub on_success: Option<Hook>,
    pub on_failure: Option<Hook>,
}

/// A command that runs without a shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// The program and its arguments; never empty.
    pub command: Vec<String>,
    /// The command is stopped after this time.
    pub deadline: Duration,
}

pub(super) const KEYS: [&str; 4] = ["before_backup", "after_backup", "on_success", "on_failure"];

impl Hooks {
    /// All hooks that are set, with their keys.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &Hook)> {
        let hooks = [&self.before_backup, &self.after_backup, &self.on_success, &self.on_failure];
        KEYS.into_iter().zip(hooks).filter_map(|(key, hook)| Some((key, hook.as_ref()?)))
    }
}

impl Reader {
    /// A list, or an object with a list and a deadline.
    pub(super) fn hook(&mut self, value: &JsonNode<'_>, deadline: Duration) -> Option<Hook> {
        if value.kind() == "a list" {
            return Some(Hook { command: self.arguments(value)?, deadline });
        }
        let Some(pairs) = value.object() else {
            let expected = "a command as a list, [\"program\", \"argument\", …]";
            return self.wrong(value.at(), expected, format!("this is {}", value.kind()));
        };
        let (entries, meant) = self.entries(pairs, &["command", "deadline"], |_| true);
        let seconds = entries.get("deadline").and_then(|v| self.seconds(v));
        let deadline = seconds.unwrap_or(deadline);
        match entries.get("command") {
            Some(command) => Some(Hook { command: self.arguments(command)?, deadline }),
            None if meant.contains(&"command") => None,
            None => self.wrong(value.last(), "the key `command`", "nothing is to be run"),
        }
    }

    fn arguments(&mut self, value: &JsonNode<'_>) -> Option<Vec<String>> {
        let Some(list) = value.list() else {
            let expected = "a list, [\"program\", \"argument\", …]";
            return self.wrong(value.at(), expected, format!("this is {}", value.kind()));
        };
        let Some((program, arguments)) = list.split_first() else {
            return self.wrong(value.at(), "a program", "the list is empty");
        };
        let mut command = vec![self.text(program)?];
        for argument in arguments {
            match argument.string() {
                Some(text) if text.contains('\0') => {
                    return self.wrong(argument.at(), "an argument", "no argument can hold \\u0000");
                }
                Some(text) => command.push(text),
                None => return self.wrong(argument.at(), "a string", format!("this is {}", argument.kind())),
            }
        }
        Some(command)
    }
}
