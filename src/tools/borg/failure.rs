//! Turns borg's messages into an error that names the object and the next step.

use super::client::Borg;
use super::lock;
use super::log::{Level, Line};
use crate::error::{Error, Kind};
use crate::process::{Ended, is_program};

/// The variable that answers borg's question about an unencrypted repository.
pub const UNKNOWN_UNENCRYPTED: &str = "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK";
/// The variable that answers borg's question about a repository that moved.
pub const RELOCATED: &str = "BORG_RELOCATED_REPO_ACCESS_IS_OK";

/// The error for a borg that ended with `ended` and printed `lines`, when it should `doing` ("list
/// the archives").
pub fn explain(borg: &Borg, doing: &str, ended: Ended, lines: &[Line]) -> Error {
    let repository = borg.repository();
    let failed = |kind, why: &str| Error::new(kind, format!("cannot {doing}: {why}"));
    let id = lines.iter().rev().find_map(|line| match line {
        Line::Message { id: Some(id), .. } => Some(id.as_str()),
        _ => None,
    });
    let question = lines.iter().find_map(|line| match line {
        Line::Question { id } => Some(id.as_str()),
        _ => None,
    });
    if let Some(id) = question {
        return unanswered(borg, doing, id);
    }
    match id.unwrap_or_default() {
        "PassphraseWrong" => wrong_passphrase(borg, doing, &key_of(borg)),
        "NoPassphraseFailure" | "PasscommandFailure" => {
            failed(Kind::Failed, "no passphrase could be had").because(summary(lines, ended))
        }
        "KeyfileNotFoundError" | "RepoKeyNotFoundError" => no_key(borg, doing).because(summary(lines, ended)),
        "LockTimeout" | "LockError" | "LockErrorT" | "LockFailed" => locked(borg, failed, lines, ended),
        "PathNotAllowed" => not_allowed(borg, doing),
        "Repository.DoesNotExist" => no_repository(borg, doing),
        "Repository.InvalidRepository" => {
            failed(Kind::NotFound, &format!("the directory at {repository} holds no repository"))
                .hint("in an empty one, `borg-offsite-backup init -v -e keyfile-blake2` makes a new one")
        }
        "Archive.DoesNotExist" => failed(Kind::NotFound, "the archive is not there any more")
            .hint("`borg-offsite-backup list` shows those that are"),
        "ConnectionClosed" | "ConnectionClosedWithHint" | "ConnectionBrokenWithHint" => {
            connection_closed(borg, doing).because(summary(lines, ended))
        }
        _ if over_quota(lines) => {
            failed(Kind::Failed, &format!("the storage quota of {repository} is reached"))
                .because(summary(lines, ended))
                .hint("`borg-offsite-backup delete` and `prune` remove archives, but free no space;")
                .hint("`borg-offsite-backup compact` after them does; or the server's owner raises the quota")
        }
        _ if broke_off(lines) => connection_closed(borg, doing).because(summary(lines, ended)),
        "IntegrityError" | "IntegrityErrorBase" | "Repository.ObjectNotFound" | "DecompressionError" => {
            failed(Kind::Damaged, &format!("the data in {repository} is damaged"))
                .because(summary(lines, ended))
        }
        "ArchiveTAMInvalid" => not_authentic(doing),
        "MandatoryFeatureUnsupported" => {
            failed(Kind::Failed, &format!("{repository} was written by a newer borg"))
                .because(summary(lines, ended))
                .hint("install a borg that knows this feature")
        }
        _ if missing_key_file(lines, borg) => {
            failed(Kind::Failed, &format!("there is no key file {}", borg.key_file().display()))
                .hint("put the key that you saved there, mode 0600, or set BORG_KEY_FILE")
        }
        _ => failed(Kind::Failed, &format!("borg failed on {repository}")).because(summary(lines, ended)),
    }
}

/// Whether borg reports that it does not know this option.
pub(super) fn knows_no(option: &str, lines: &[Line]) -> bool {
    let refused = |text: &str| text.contains("unrecognized arguments: ") && text.contains(option);
    lines.iter().any(|l| matches!(l, Line::Message { text, .. } if refused(text)))
}

pub(super) fn is_wrong_passphrase(lines: &[Line]) -> bool {
    lines.iter().any(|l| matches!(l, Line::Message { id: Some(id), .. } if id == "PassphraseWrong"))
}

/// The error for a passphrase that does not open `key`.
pub fn wrong_passphrase(borg: &Borg, doing: &str, key: &str) -> Error {
    if let Some(guess) = borg.guess() {
        return guess.failure(doing, key);
    }
    Error::failed(format!("cannot {doing}: the passphrase is wrong for the key in {key}"))
        .hint("set BORG_PASSPHRASE, BORG_PASSCOMMAND or BORG_PASSPHRASE_FD")
}

/// The error for a missing key.
pub fn no_key(borg: &Borg, doing: &str) -> Error {
    Error::failed(format!("cannot {doing}: there is no key for {}", borg.repository()))
        .hint(format!("put the key that you saved at {}, mode 0600,", borg.key_file().display()))
        .hint("or where borg keeps keys: ~/.config/borg/keys (BORG_KEYS_DIR)")
}

/// The error for a missing repository.
pub fn no_repository(borg: &Borg, doing: &str) -> Error {
    Error::new(Kind::NotFound, format!("cannot {doing}: there is no repository at {}", borg.repository()))
        .hint("`borg-offsite-backup init -v -e keyfile-blake2` makes a new one")
}

/// The error for a repository that the server does not allow.
pub fn not_allowed(borg: &Borg, doing: &str) -> Error {
    let repository = borg.repository();
    Error::failed(format!("cannot {doing}: the server does not allow {repository} to this account"))
        .hint("see `--restrict-to-repository` in the server's authorized_keys or login shell")
}

/// The error for a server that cannot be reached, or went away.
pub fn connection_closed(borg: &Borg, doing: &str) -> Error {
    Error::new(
        Kind::Disconnected,
        format!("cannot {doing}: the connection to {} was closed", borg.repository()),
    )
    .hint("see whether the server runs, lets this account in, and has borg")
}

/// The error for a question of borg's that the variable `id` would answer.
pub fn unanswered(borg: &Borg, doing: &str, id: &str) -> Error {
    let error = Error::failed(format!("cannot {doing}: {}", asked(id, borg.repository())));
    match is_program("borg") {
        true => error
            .hint("`borg-offsite-backup info` asks on the terminal; a yes is remembered")
            .hint(format!("or set {id}=yes")),
        false => error.hint(format!("if that is right: {id}=yes")),
    }
}

/// The error for an archive with a wrong signature.
pub fn not_authentic(doing: &str) -> Error {
    Error::failed(format!("cannot {doing}: the archive's metadata is not authentic"))
        .hint("either it was written without the key: then trust nothing in it;")
        .hint(
            "or a borg before 1.2.5 renamed, recreated or repaired it, which left a wrong signature: if you",
        )
        .hint("did that, `BORG_WORKAROUNDS=ignore_invalid_archive_tam` lets it be read")
}

fn asked(id: &str, repository: &str) -> String {
    match id {
        UNKNOWN_UNENCRYPTED => {
            format!("{repository} is not encrypted, and this account never used it before")
        }
        RELOCATED => {
            format!("{repository} was at another place when this account last used it")
        }
        _ => format!("borg asks a question about {repository} ({id})"),
    }
}

fn locked(borg: &Borg, failed: impl Fn(Kind, &str) -> Error, lines: &[Line], ended: Ended) -> Error {
    let repository = borg.repository();
    if lines.iter().any(|l| matches!(l, Line::Message { id: Some(id), .. } if id == "LockFailed")) {
        return failed(Kind::Failed, &format!("{repository} cannot be locked"))
            .because(summary(lines, ended))
            .hint("borg must be able to write in the repository's directory; without a lock work `list`, `info`,")
            .hint("`extract`, `diff`, `export-tar`, and without `--source stream` `mount`, `restore` and `verify`");
    }
    let holders = borg.local().map(lock::holders).unwrap_or_default();
    let error = failed(Kind::Busy, &format!("{repository} is locked"));
    let error = if holders.is_empty() {
        error
            .because(summary(lines, ended))
            .hint("who holds it is written in the repository's lock.roster and lock.exclusive, on the server")
    } else {
        let names: Vec<String> = holders.iter().map(ToString::to_string).collect();
        error.hint(format!("held by: {}", names.join("; ")))
    };
    error.hint("try again when it is done; `break-lock` only if you are sure that it is dead")
}

/// Whether the connection ended while borg was writing, which it reports as an exception.
fn broke_off(lines: &[Line]) -> bool {
    let names = ["BrokenPipeError", "ConnectionResetError"];
    lines.iter().any(|l| matches!(l, Line::Message { text, .. } if names.iter().any(|n| text.contains(n))))
}

/// A server reports this as an exception without an id of its own.
fn over_quota(lines: &[Line]) -> bool {
    let names = ["StorageQuotaExceeded", "storage quota"];
    lines.iter().any(|line| match line {
        Line::Message { id, text, .. } => {
            names.iter().any(|n| text.contains(n) || id.as_deref().is_some_and(|id| id.contains(n)))
        }
        _ => false,
    })
}

fn missing_key_file(lines: &[Line], borg: &Borg) -> bool {
    let name = borg.key_file().display().to_string();
    lines.iter().any(|l| {
        matches!(l, Line::Message { text, .. } if text.contains("FileNotFoundError") && text.contains(&name))
    })
}

/// The place of the key, for the message about a wrong passphrase.
fn key_of(borg: &Borg) -> String {
    let file = borg.key_file();
    if file.exists() { file.display().to_string() } else { borg.repository().to_owned() }
}

/// A short form of borg's messages: its errors, or if there are none, its last lines.
fn summary(lines: &[Line], ended: Ended) -> Error {
    let text = |wanted: fn(Level) -> bool| -> Vec<&str> {
        let relevant = |line| match line {
            &Line::Message { level, ref text, .. } if wanted(level) => {
                // In a Python traceback, only the exception itself is useful to a person.
                text.lines().rev().find(|l| l.contains("Error:")).or_else(|| text.lines().next())
            }
            _ => None,
        };
        lines.iter().filter_map(relevant).filter(|l| !l.trim().is_empty()).collect()
    };
    let mut message = text(|level| level >= Level::Warning);
    let skip = message.len().saturating_sub(4);
    message.drain(..skip);
    match message.as_slice() {
        [] => Error::failed(format!("borg ended with {ended} and said nothing")),
        lines => Error::failed(format!("borg ended with {ended} and said: {}", lines.join("; "))),
    }
}
