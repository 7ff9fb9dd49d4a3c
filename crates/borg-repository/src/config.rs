//! The `config` of a repository: an INI file in the format of Python's ConfigParser.

use zeroize::Zeroizing;

use super::error::{Error, Result};
use super::id::Id;

/// The values that a reader needs.
pub struct Config {
    /// The id of the repository.
    pub id: Id,
    /// The number of segments in a directory of `data`.
    pub segments_per_dir: u32,
    /// The text of the key without white space, if it is stored in the repository.
    pub key: Option<Zeroizing<String>>,
}

impl Config {
    /// # Errors
    /// `Integrity` when this is not the config of a repository, `Unsupported` for a version other
    /// than 1.
    pub fn parse(text: &str) -> Result<Self> {
        let (mut version, mut id, mut per_dir, mut key) = (None, None, None, None);
        for (name, value) in options(text, "repository") {
            match &*name {
                "version" => version = Some(value),
                "id" => id = Id::from_hex(&value),
                "segments_per_dir" => per_dir = value.parse().ok().filter(|n| *n > 0),
                "key" => key = Some(Zeroizing::new(value.split_whitespace().collect::<String>())),
                _ => {}
            }
        }
        match version.as_deref().map(String::as_str) {
            Some("1") => {}
            Some(other) => return Err(Error::unsupported(format!("a repository of version {other}"))),
            None => return Err(Error::integrity("the config does not name the version of the repository")),
        }
        let id = id.ok_or_else(|| Error::integrity("the config of the repository has no valid id"))?;
        let per_dir = per_dir.ok_or_else(|| Error::integrity("the config has no valid segments_per_dir"))?;
        Ok(Config { id, segments_per_dir: per_dir, key: key.filter(|k| !k.is_empty()) })
    }
}

/// The names (in lower case) and values of `section`. A line that begins with white space continues
/// the previous value.
fn options(text: &str, section: &str) -> Vec<(String, Zeroizing<String>)> {
    let mut options: Vec<(String, Zeroizing<String>)> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            inside = name == section;
        } else if !inside {
            continue;
        } else if line.starts_with(char::is_whitespace) {
            if let Some((_, value)) = options.last_mut() {
                value.push('\n');
                value.push_str(trimmed);
            }
        } else if let Some((name, value)) = line.split_once(['=', ':']) {
            options.push((name.trim().to_lowercase(), Zeroizing::new(value.trim().to_owned())));
        }
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_several_lines_is_one() {
        let id = "ab".repeat(32);
        let text = format!(
            "# c\n[other]\nversion = 7\n[repository]\nVersion = 1\nsegments_per_dir: 1000\n; c\n\
             id = {id}\nkey = hqlh\n\tbG9y\n  aXRo=\n\nappend_only = 0\n"
        );
        let config = Config::parse(&text).unwrap();
        assert_eq!((config.id.to_string(), config.segments_per_dir), (id, 1000));
        assert_eq!(config.key.unwrap().as_str(), "hqlhbG9yaXRo=");
    }

    #[test]
    fn another_version_is_not_supported_and_a_config_of_nothing_is_broken() {
        let id = "ab".repeat(32);
        let text = format!("[repository]\nversion = 2\nid = {id}\nsegments_per_dir = 1000\n");
        assert!(Config::parse(&text).is_err_and(|e| e.is_unsupported()));
        let broken =
            ["", "[repository]\nversion = 1\n", "[repository]\nversion=1\nid=ab\nsegments_per_dir=0"];
        for text in broken {
            assert!(matches!(Config::parse(text), Err(Error::Integrity(_))), "{text}");
        }
    }
}
