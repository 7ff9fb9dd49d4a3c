//! `init`: borg's own command; afterwards we say what must be kept.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use crate::cli::exit::Exit;
use crate::cli::globals::Globals;
use crate::config::Config;
use crate::error::Result;
use crate::process::{Command, Ended};
use crate::tools::borg::Borg;

/// Where the key of a new repository is.
#[derive(Debug, PartialEq, Eq)]
enum Key {
    File,
    Repository,
    None,
}

/// Runs `command`, which is `borg ARGS…`, on the terminal. Unless borg succeeds, ends this process
/// with its exit code.
///
/// # Errors
/// When there is no borg.
pub fn run(
    command: Command,
    globals: &Globals,
    config: &Config,
    borg: &Borg,
    args: &[OsString],
) -> Result<Exit> {
    match command.on_terminal()? {
        Ended::Code(0) => {}
        Ended::Code(code) => std::process::exit(code),
        Ended::Signal(signal) => std::process::exit(128 + signal),
    }
    if let Some(key) = key(args) {
        globals.console().say(&reminder(&key, config, borg));
    }
    Ok(Exit::Done)
}

/// By borg's names of the encryption modes.
fn key(args: &[OsString]) -> Option<Key> {
    let mut words = args.iter().map(|arg| arg.as_bytes());
    let mut mode = None;
    while let Some(word) = words.next() {
        if matches!(word, b"-e" | b"--encryption") {
            mode = words.next();
        } else if let Some(value) = word.strip_prefix(b"--encryption=").or(word.strip_prefix(b"-e")) {
            mode = Some(value);
        }
    }
    let mode = mode?;
    Some(match mode {
        b"none" => Key::None,
        _ if mode.starts_with(b"keyfile") => Key::File,
        _ => Key::Repository,
    })
}

fn reminder(key: &Key, config: &Config, borg: &Borg) -> String {
    let file = borg.key_file().display();
    let (place, how) = match key {
        Key::File => {
            (file.to_string(), "borg-offsite-backup key export --paper      (to print; or copy the file)")
        }
        Key::Repository => (
            "in the repository, and lost with it".to_owned(),
            "borg-offsite-backup key export --paper      (to print; or `key export :: FILE`)",
        ),
        Key::None => ("none: whoever has the repository can read it".to_owned(), ""),
    };
    let passphrase = match Borg::passphrase_source() {
        Some(variable) => format!("what {variable} gives; write it down"),
        None => "empty: whoever has the key can read the backups".to_owned(),
    };
    let mut lines =
        vec!["\nTo restore when this machine is gone you need, on another machine or on paper:".to_owned()];
    let mut line = |name: &str, text: &str| lines.push(format!("  {name:<15}{text}"));
    line("key", &place);
    if *key != Key::None {
        line("", how);
        line("passphrase", &passphrase);
    }
    line("configuration", &config.name());
    if *key != Key::None {
        lines.push("Without the key nobody, you included, can ever read the backups.".to_owned());
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_tells_where_the_key_is() {
        let key_of = |args: &[&str]| key(&args.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(key_of(&["init", "-e", "keyfile-blake2"]), Some(Key::File));
        assert_eq!(key_of(&["init", "--encryption=repokey", "-v"]), Some(Key::Repository));
        assert_eq!(key_of(&["init", "-eauthenticated"]), Some(Key::Repository));
        assert_eq!(key_of(&["init", "--encryption", "none"]), Some(Key::None));
        assert_eq!(key_of(&["init"]), None);
    }
}
