//! The name of borg on the server, with borg's placeholders filled in.

use std::ffi::OsString;

use super::client::Borg;
use crate::tools::accounts;

impl Borg {
    /// The program to run on the server; `Err` gives the reason why only borg knows it.
    pub(super) fn remote_program(&self) -> Result<OsString, String> {
        let Some(raw) = &self.remote_path else { return Ok("borg".into()) };
        match raw.to_str() {
            Some(text) if text.contains(['{', '}']) => Ok(filled(text, value)?.into()),
            _ => Ok(raw.clone()),
        }
    }
}

/// Replaces each `{name}` in `text` by its `value`.
fn filled(text: &str, value: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let only_borg = |what: &str| format!("only borg fills in {what} in the path of borg on the server");
    let (mut filled, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(['{', '}']) {
        filled.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            // Two braces stand for one.
            filled.push_str(brace);
            rest = after;
            continue;
        }
        let (name, after) = rest.split_once('}').filter(|_| brace == "{").ok_or_else(|| only_borg(brace))?;
        filled.push_str(&value(name).ok_or_else(|| only_borg(&format!("{{{name}}}")))?);
        rest = after;
    }
    Ok(filled + rest)
}

/// The value of a placeholder, if it is the same for every caller.
fn value(name: &str) -> Option<String> {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    match name {
        "hostname" => set("BORG_HOSTNAME").or_else(|| nix::unistd::gethostname().ok()?.into_string().ok()),
        "user" => set("BORG_USERNAME").or_else(|| {
            let user = accounts::user_of(nix::unistd::getuid().as_raw()).ok()??;
            Some(user.name)
        }),
        "borgversion" => version(usize::MAX),
        "borgmajor" => version(1),
        "borgminor" => version(2),
        "borgpatch" => version(3),
        _ => None,
    }
}

/// The first components of the version of the local borg.
fn version(parts: usize) -> Option<String> {
    let version = Borg::version().ok()?;
    let version = version.strip_prefix("borg ")?;
    let digits = |part: &str| part.chars().take_while(char::is_ascii_digit).collect::<String>();
    match parts {
        usize::MAX => Some(version.to_owned()),
        parts => Some(version.split('.').take(parts).map(digits).collect::<Vec<_>>().join(".")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_and_what_only_borg_knows_is_said() {
        let value = |name: &str| (name == "borgmajor").then(|| "1".to_owned());
        assert_eq!(filled("/opt/borg{borgmajor}/borg", value).unwrap(), "/opt/borg1/borg");
        assert_eq!(filled("{{x}}{borgmajor}", value).unwrap(), "{x}1");
        for text in ["{now}", "{borgmajor", "a}b", "{}"] {
            assert!(filled(text, value).is_err(), "{text}");
        }
    }

    #[test]
    fn the_version_is_that_of_the_borg_that_is_here() {
        if super::super::Borg::version().is_err() {
            return;
        }
        let whole = value("borgversion").unwrap();
        let (major, minor) = (value("borgmajor").unwrap(), value("borgminor").unwrap());
        assert_eq!(major, "1");
        assert!(whole.starts_with(&minor) && minor.starts_with("1."), "{minor} {whole}");
    }
}
