//! What is going to be extracted, as borg lists it, and whether all of it stays where it belongs.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use borg_repository::ItemPath;
use parking_lot::Mutex;
use serde::Deserialize;

use super::{KEPT_LINES, Request};
use crate::error::{Error, Kind, Result};
use crate::process::{TimedPipe, interrupt};
use crate::tools::borg::{self, Borg, Line};

/// How long borg may be silent, besides the time that it waits for the repository.
const STALL: Duration = Duration::from_secs(600);

/// An item as `borg list` tells it. Bytes that are no UTF-8 come as `?`, the same wherever they stand.
#[derive(Debug, Clone, Deserialize)]
struct Entry {
    /// As `ls` writes it; `h` is a hard link.
    mode: String,
    path: String,
    /// Where a link leads.
    #[serde(default)]
    source: String,
    #[serde(default)]
    size: u64,
}

pub struct Listing {
    pub entries: u64,
    pub bytes: u64,
    /// What borg is to be asked for, so that it gives just these.
    pub patterns: Vec<OsString>,
    items: Vec<Entry>,
}

impl Listing {
    /// # Errors
    /// When borg cannot list it, has nothing of one of the paths, or something in it would come to lie elsewhere.
    pub fn of(borg: &Borg, request: &Request<'_>, lock_wait: Duration) -> Result<Listing> {
        let patterns = |of: fn(&[u8]) -> OsString| -> Vec<OsString> {
            request.paths.iter().map(|path| of(path.as_bytes())).collect()
        };
        let mut patterns_asked = patterns(borg::path_and_below);
        let mut items = list(borg, request.archive, &patterns_asked, lock_wait)?;
        if missing(&items, request.paths).is_some() {
            patterns_asked = patterns(borg::dotted_path_and_below);
            items = list(borg, request.archive, &patterns_asked, lock_wait)?;
        }
        if let Some(path) = missing(&items, request.paths) {
            let (path, archive) = (path.to_string(), request.archive);
            return Err(Error::new(Kind::NotFound, format!("borg has no {path} in the archive {archive}"))
                .hint("nothing was restored"));
        }
        judge(&items).map_err(|why| {
            Error::failed(format!("the archive {} is not what a backup makes", request.archive))
                .because(why)
                .hint("it would write elsewhere than it should; nothing was written")
        })?;
        let bytes = items.iter().map(|item| item.size).sum();
        Ok(Listing { entries: items.len() as u64, bytes, patterns: patterns_asked, items })
    }

    /// How many names there will be, with those of the directories above `paths`.
    pub fn names(&self, paths: &[ItemPath]) -> u64 {
        let mut names: HashSet<&str> = self.items.iter().map(|item| item.path.as_str()).collect();
        let label: Vec<String> = paths.iter().map(lossy).collect();
        names.extend(label.iter().flat_map(|path| above(path)));
        names.len() as u64
    }

    /// What is in the directory `to` already, so far as its name can be told.
    pub fn in_the_way(&self, to: &Path, overwrite: bool) -> Vec<PathBuf> {
        let is_in_the_way = |item: &&Entry| {
            let Ok(there) = std::fs::symlink_metadata(to.join(&item.path)) else { return false };
            if item.is_directory() || there.is_dir() {
                item.is_directory() != there.is_dir()
            } else {
                !overwrite
            }
        };
        self.items.iter().filter(is_in_the_way).map(|item| PathBuf::from(&item.path)).collect()
    }
}

/// The first of `paths` of which `items` has nothing.
fn missing<'a>(items: &[Entry], paths: &'a [ItemPath]) -> Option<&'a ItemPath> {
    let names: HashSet<&str> =
        items.iter().flat_map(|item| std::iter::once(&*item.path).chain(above(&item.path))).collect();
    paths.iter().find(|path| !names.contains(&*lossy(path)))
}

/// A path as borg's list has it.
fn lossy(path: &ItemPath) -> String {
    let chunks = path.as_bytes().utf8_chunks();
    chunks.flat_map(|chunk| [chunk.valid().to_owned(), "?".repeat(chunk.invalid().len())]).collect()
}

/// A path as extract takes it: a tar's `./a` is `a`.
fn without_dots(path: &str) -> &str {
    let mut path = path;
    while let Some(rest) =
        path.strip_prefix("./").map(|rest| rest.trim_start_matches('/')).filter(|r| !r.is_empty())
    {
        path = rest;
    }
    path
}

fn list(borg: &Borg, archive: &str, patterns: &[OsString], lock_wait: Duration) -> Result<Vec<Entry>> {
    let doing = "list what is to be restored";
    let log = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&log);
    let mut child = borg
        .command("list --json-lines", lock_wait)?
        .arg(borg::archive_argument(archive))
        .args(patterns)
        .spawn(move |line| {
            let mut log = sink.lock();
            if log.len() < KEPT_LINES {
                log.push(Line::parse(line));
            }
        })?;
    let to_error = || Error::failed(format!("cannot {doing}"));
    let pipe = child.stdout().ok_or_else(to_error)?;
    let lines = BufReader::new(TimedPipe::new(pipe, lock_wait + STALL)).lines();
    let parse = |line: std::io::Result<String>| -> Result<Entry> {
        interrupt::check()?;
        let line = line.map_err(|e| to_error().because(e))?;
        let mut entry: Entry = serde_json::from_str(&line).map_err(|e| to_error().because(e))?;
        entry.path = without_dots(&entry.path).to_owned();
        if entry.mode.starts_with('h') {
            entry.source = without_dots(&entry.source).to_owned();
        }
        Ok(entry)
    };
    let items = lines.map(parse).collect::<Result<Vec<_>>>()?;
    let ended = child.wait_or_interrupt()?;
    let log = log.lock();
    borg::warned(ended).map(|_| items).ok_or_else(|| borg::explain(borg, doing, ended, &log))
}

/// Why one of `items` would come to lie elsewhere than its path says, if one does.
fn judge(items: &[Entry]) -> Result<(), String> {
    let no_directories: HashSet<&str> =
        items.iter().filter(|item| !item.is_directory()).map(|item| item.path.as_str()).collect();
    let links: HashSet<&str> =
        items.iter().filter(|item| item.mode.starts_with('l')).map(|item| item.path.as_str()).collect();
    for item in items {
        let path = item.path.as_str();
        let source = item.mode.starts_with('h').then_some(item.source.as_str());
        for name in [Some(path), source].into_iter().flatten() {
            if !is_inside(name) {
                return Err(format!("`{name}` leads out of it"));
            }
            if let Some(above) = above(name).find(|above| no_directories.contains(above)) {
                return Err(format!("`{name}` lies below `{above}`, which is no directory"));
            }
        }
        if let Some(source) = source.filter(|source| links.contains(source)) {
            return Err(format!("`{path}` is a hard link to `{source}`, which is a symbolic one"));
        }
    }
    Ok(())
}

/// Whether the path is written in the one way in which it can be compared with others.
fn is_inside(path: &str) -> bool {
    let clean = ItemPath::new(path.as_bytes());
    path == "." || clean.is_some_and(|clean| !clean.is_root() && clean.as_bytes() == path.as_bytes())
}

/// The directories in which `path` is.
fn above(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(end, _)| &path[..end])
}

impl Entry {
    fn is_directory(&self) -> bool {
        self.mode.starts_with('d')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(items: &[(&str, &str, &str)]) -> Result<(), String> {
        let entry = |(mode, path, source): &(&str, &str, &str)| Entry {
            mode: mode.to_string(),
            path: path.to_string(),
            source: source.to_string(),
            size: 0,
        };
        judge(&items.iter().map(entry).collect::<Vec<_>>())
    }

    #[test]
    fn what_a_backup_makes_is_extracted() {
        let items = [
            ("drwx", ".", ""),
            ("drwx", "a", ""),
            ("-rw-", "a/x", ""),
            ("hrw-", "a/y", "a/x"),
            ("lrwx", "a/l", "/etc/../x"),
            ("-rw-", "a/..b/c", ""),
            ("prw-", "f", ""),
            // The same name twice is no harm.
            ("-rw-", "f", ""),
        ];
        assert_eq!(judged(&items), Ok(()));
    }

    #[test]
    fn a_tars_dots_are_taken_away_as_extract_does() {
        for (stored, taken) in
            [("./a", "a"), ("././/a/b", "a/b"), ("a/./b", "a/./b"), ("./", "./"), (".", ".")]
        {
            assert_eq!(without_dots(stored), taken);
        }
        assert_eq!(without_dots("./../x"), "../x");
    }

    #[test]
    fn what_borg_has_nothing_of_is_missing() {
        let items = [("drwx", "a", ""), ("-rw-", "b/c?", "")];
        let entry = |(mode, path, source): &(&str, &str, &str)| Entry {
            mode: mode.to_string(),
            path: path.to_string(),
            source: source.to_string(),
            size: 0,
        };
        let items: Vec<Entry> = items.iter().map(entry).collect();
        let paths = |all: &[&[u8]]| all.iter().map(|p| ItemPath::new(p).unwrap()).collect::<Vec<_>>();
        assert_eq!(missing(&items, &paths(&[b"a", b"b", b"b/c\xff"])), None);
        assert_eq!(missing(&items, &paths(&[b"a", b"bb"])).unwrap().as_bytes(), b"bb");
    }

    #[test]
    fn what_would_lead_elsewhere_is_refused() {
        let file = |path| ("-rw-", path, "");
        for path in ["../x", "a/../../x", "/etc/x", "./a", "a//b", "a/", "a/./b", "", "a\0b"] {
            assert!(judged(&[file(path)]).unwrap_err().contains("leads out"), "{path}");
        }
        let below = [("lrwx", "a", "/etc"), file("a/b/x")];
        assert_eq!(judged(&below).unwrap_err(), "`a/b/x` lies below `a`, which is no directory");
        assert!(judged(&[file("a/x"), ("drwx", "a", ""), ("lrwx", "a", "/etc")]).is_err(), "in any order");
        assert!(judged(&[("hrw-", "x", "../../etc/shadow")]).unwrap_err().contains("leads out"));
        assert!(
            judged(&[("lrwx", "a", "/etc"), ("hrw-", "x", "a/shadow")]).unwrap_err().contains("below `a`")
        );
        assert!(judged(&[("lrwx", "a", "/etc"), ("hrw-", "x", "a")]).unwrap_err().contains("symbolic"));
    }
}
