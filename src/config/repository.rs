//! A configuration that is only the address of a repository, for machines that have no file.

use std::ffi::OsStr;
use std::path::{Path, PathBuf, absolute};

use super::address::Address;
use super::keys;
use super::model::Config;
use crate::error::{Error, Result};

const FORMS: &str = "an address is `ssh://user@host:port/path`, `user@host:path`, or a directory";

impl Config {
    /// The configuration for the repository at `address`, with defaults for everything else.
    ///
    /// # Errors
    /// [`Kind::Usage`](crate::error::Kind::Usage) when it is not the address of a repository.
    pub fn of_repository(address: &OsStr, key_file: Option<&Path>) -> Result<Self> {
        let to_error = |why: &str| {
            let address = address.display();
            Error::usage(format!("`{address}` is not the address of a repository: {why}")).hint(FORMS)
        };
        let text = address.to_str().ok_or_else(|| to_error("it is not UTF-8"))?;
        let mut config = Config { key_file: key_file.map(Path::to_owned), ..keys::defaults() };
        let remote = match text.starts_with("ssh://") {
            true => Some(Address::parse(text).ok_or_else(|| to_error("it needs a host and a path"))?),
            false => Address::parse_scp(text).filter(|_| !text.starts_with("file://")),
        };
        match remote {
            // ssh would take it for an option.
            Some(remote)
                if remote.server().starts_with('-') || remote.user().is_some_and(|u| u.starts_with('-')) =>
            {
                return Err(to_error("a host or an account does not begin with `-`"));
            }
            Some(remote) => {
                config.backup_server = Some(remote.server());
                config.backup_user = remote.user().map(str::to_owned);
                config.backup_path = remote.path().to_owned();
            }
            None => config.backup_path = directory(text).ok_or_else(|| to_error("there is no path"))?,
        }
        if config.backup_path.contains("::") {
            return Err(to_error("`::` begins the name of an archive")
                .hint("the archive is an argument of its own: `list ::2026-11-23`"));
        }
        Ok(config)
    }
}

/// `file:///path`, or a path from the working directory.
fn directory(text: &str) -> Option<String> {
    let path = text.strip_prefix("file://").unwrap_or(text);
    absolute(PathBuf::from(path)).ok()?.into_os_string().into_string().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<(Option<String>, Option<String>, String)> {
        let config = Config::of_repository(OsStr::new(text), None)?;
        Ok((config.backup_user, config.backup_server, config.backup_path))
    }

    #[test]
    fn every_form_of_an_address_is_taken() {
        let some = |text: &str| Some(text.to_owned());
        for (text, expected) in [
            ("ssh://me@host:2222/srv/b", (some("me"), some("host:2222"), "/srv/b")),
            ("ssh://[::1]/~/b", (None, some("[::1]"), "/~/b")),
            ("me@host:b", (some("me"), some("host"), "/./b")),
            ("/srv/b", (None, None, "/srv/b")),
            ("file:///srv/b", (None, None, "/srv/b")),
        ] {
            let (user, server, path) = expected;
            assert_eq!(of(text).unwrap(), (user, server, path.to_owned()), "{text}");
        }
        let here = std::env::current_dir().unwrap().join("b");
        assert_eq!(of("b").unwrap().2, here.to_str().unwrap());
    }

    #[test]
    fn the_rest_is_as_in_an_empty_configuration() {
        let config = Config::of_repository(OsStr::new("/b"), Some(Path::new("/k"))).unwrap();
        let expected = Config { backup_path: "/b".into(), key_file: Some("/k".into()), ..keys::defaults() };
        assert_eq!(config, expected);
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_forms() {
        for text in [
            "",
            "ssh://host",
            "ssh://host:x/b",
            "/srv/b::2026-11-23",
            "host:b::x",
            "file://",
            "ssh://-oProxyCommand=x/b",
            "-x@h:b",
            "-h:b",
        ] {
            let error = of(text).unwrap_err();
            assert!(error.hints()[0].contains("ssh://"), "{text}: {error}");
        }
    }
}
