//! Reads who holds the lock of a local repository.

use std::path::Path;

use serde::Deserialize;

/// A holder of a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub host: String,
    pub pid: u64,
    /// The exclusive lock, which allows writing.
    pub exclusive: bool,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let host = self.host.split('@').next().unwrap_or(&self.host);
        let what = if self.exclusive { "writing" } else { "reading" };
        write!(f, "pid {} on {host}, {what}", self.pid)?;
        let local = nix::unistd::gethostname().is_ok_and(|h| h.to_str().is_some_and(|h| same_host(h, host)));
        match std::fs::read(format!("/proc/{}/cmdline", self.pid)) {
            Ok(cmdline) if local && !cmdline.is_empty() => {
                let words: Vec<_> = cmdline
                    .split(|b| *b == 0)
                    .filter(|w| !w.is_empty())
                    .map(String::from_utf8_lossy)
                    .collect();
                write!(f, " ({})", words.join(" "))
            }
            _ => Ok(()),
        }
    }
}

fn same_host(a: &str, b: &str) -> bool {
    a.split('.').next() == b.split('.').next()
}

/// The holders of the lock of the repository at `path`; none if they cannot be read.
pub fn holders(path: &Path) -> Vec<Holder> {
    let exclusive = std::fs::read_dir(path.join("lock.exclusive")).into_iter().flatten().flatten();
    let mut all: Vec<Holder> = exclusive.filter_map(|e| parse_name(e.file_name().to_str()?)).collect();
    #[derive(Deserialize, Default)]
    struct Roster {
        #[serde(default)]
        shared: Vec<(String, u64, u64)>,
        #[serde(default)]
        exclusive: Vec<(String, u64, u64)>,
    }
    let roster: Roster = std::fs::read(path.join("lock.roster"))
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    let named = |exclusive| move |(host, pid, _)| Holder { host, pid, exclusive };
    all.extend(roster.exclusive.into_iter().map(named(true)));
    all.extend(roster.shared.into_iter().map(named(false)));
    all.dedup();
    all
}

/// `host@node.pid-thread`
fn parse_name(name: &str) -> Option<Holder> {
    let (host, rest) = name.rsplit_once('.')?;
    let pid = rest.split('-').next()?.parse().ok()?;
    Some(Holder { host: host.to_owned(), pid, exclusive: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_holders_are_found() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("lock.exclusive")).unwrap();
        std::fs::write(dir.path().join("lock.exclusive/a.example@123.77-0"), "").unwrap();
        std::fs::write(dir.path().join("lock.roster"), r#"{"shared": [["b@1", 88, 0]], "exclusive": []}"#)
            .unwrap();
        let all = holders(dir.path());
        assert_eq!(all[0], Holder { host: "a.example@123".into(), pid: 77, exclusive: true });
        assert_eq!(all[1], Holder { host: "b@1".into(), pid: 88, exclusive: false });
        assert_eq!(all[0].to_string(), "pid 77 on a.example, writing");
    }
}
