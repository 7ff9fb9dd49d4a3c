//! Recognises directories that are not repositories of borg 1.x.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

/// The longest README or config that is read, in bytes.
const LOOKED_AT: u64 = 64 << 10;
/// How many of its directories are searched.
const CHILDREN: usize = 100;

/// What the directory is, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    pub what: String,
    pub next: String,
}

impl Foreign {
    fn new(what: &str, next: &str) -> Option<Self> {
        Some(Foreign { what: what.to_owned(), next: next.to_owned() })
    }

    /// A repository of borg 2.
    pub fn borg_2() -> Option<Self> {
        Self::new(
            "a repository of borg 2",
            "borg 2 reads it; this program and borg 1.1 to 1.4 read repositories that borg 1.x made",
        )
    }

    pub fn attic() -> Option<Self> {
        Self::new(
            "a repository of Attic",
            "`borg upgrade` of borg 1.1 or 1.2 turns a copy of it into one of borg",
        )
    }

    /// A repository of restic: the server only knows that its config is not text.
    pub fn restic() -> Option<Self> {
        Self::new(
            "a repository of restic",
            "`restic -r` reads it; a repository of borg needs another directory",
        )
    }
}

/// What the directory at `path` is; `None` if it may be a repository of borg 1.x, or is unknown.
pub fn at(path: &Path) -> Option<Foreign> {
    let meta = fs::metadata(path).ok()?;
    if !meta.is_dir() {
        return Foreign::new("no directory", "`backup_path` names the directory that `borg init` has made");
    }
    let is_dir = |name: &str| path.join(name).is_dir();
    let is_file = |name: &str| path.join(name).is_file();
    if is_dir("config") {
        return Foreign::borg_2();
    }
    if is_dir("snapshots") && is_dir("keys") && is_file("config") {
        return Foreign::restic();
    }
    if is_file("kopia.repository.f") || is_file("kopia.repository") {
        return other("Kopia");
    }
    if is_dir("rdiff-backup-data") {
        return other("rdiff-backup");
    }
    if is_dir("chunks") && is_dir("snapshots") && is_file("config") {
        return other("Duplicacy");
    }
    match text(&path.join("config")) {
        Some(config) => of_borg(path, &config),
        None if is_file("config") => Foreign::new(
            "no repository of borg: its config is no text",
            "see which program made the directory; `backup_path` names the one that `borg init` has made",
        ),
        None => without_config(path),
    }
}

fn other(program: &str) -> Option<Foreign> {
    Foreign::new(
        &format!("a repository of {program}"),
        &format!("{program} reads it; a repository of borg needs another directory"),
    )
}

/// A directory with a config like borg's.
fn of_borg(path: &Path, config: &str) -> Option<Foreign> {
    if text(&path.join("README")).is_some_and(|readme| readme.to_lowercase().contains("attic")) {
        return Foreign::attic();
    }
    let mut lines = config.lines().map(str::trim);
    lines.find(|line| *line == "[repository]")?;
    let version = lines.find_map(|line| line.strip_prefix("version")?.trim().strip_prefix('='))?;
    if version.trim() == "2" { Foreign::borg_2() } else { None }
}

fn without_config(path: &Path) -> Option<Foreign> {
    let names: Vec<_> = fs::read_dir(path).ok()?.flatten().take(CHILDREN).map(|e| e.file_name()).collect();
    let named = |start: &str| names.iter().any(|name| name.as_encoded_bytes().starts_with(start.as_bytes()));
    if named("duplicity-full") {
        return other("duplicity");
    }
    let is_one = |dir: &Path| {
        dir.join("data").is_dir()
            && text(&dir.join("config")).is_some_and(|config| config.contains("[repository]"))
    };
    let near = names.iter().map(|name| path.join(name)).chain(path.parent().map(Path::to_owned));
    let near = near.into_iter().find(|dir| is_one(dir))?;
    Foreign::new(
        "no repository of borg",
        &format!("there is one at {}", near.display().to_string().escape_debug()),
    )
}

/// The beginning of a file, if it is text.
fn text(path: &Path) -> Option<String> {
    let mut text = Vec::new();
    fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    File::open(path).ok()?.take(LOOKED_AT).read_to_end(&mut text).ok()?;
    String::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn what(fill: impl FnOnce(&Path)) -> Option<String> {
        let dir = tempfile::tempdir().unwrap();
        fill(dir.path());
        at(dir.path()).map(|foreign| foreign.what)
    }

    fn dirs(dir: &Path, names: &[&str]) {
        names.iter().for_each(|name| fs::create_dir_all(dir.join(name)).unwrap());
    }

    fn borg(dir: &Path, version: u32) {
        dirs(dir, &["data"]);
        fs::write(dir.join("README"), "This is a Borg Backup repository.\n").unwrap();
        fs::write(dir.join("config"), format!("[repository]\nversion = {version}\n")).unwrap();
    }

    #[test]
    fn a_repository_of_borg_1_is_nothing_foreign_and_neither_is_what_nobody_knows() {
        assert_eq!(what(|dir| borg(dir, 1)), None);
        assert_eq!(what(|dir| dirs(dir, &["a", "b"])), None);
        assert_eq!(what(|_| ()), None);
        assert_eq!(at(Path::new("/no/such/directory")), None);
    }

    #[test]
    fn repositories_of_other_programs_are_known() {
        let restic = |dir: &Path| {
            dirs(dir, &["data", "index", "keys", "locks", "snapshots"]);
            fs::write(dir.join("config"), [0xff, 0, 0x9b]).unwrap();
        };
        let attic = |dir: &Path| {
            borg(dir, 1);
            fs::write(dir.join("README"), "This is an Attic repository\n").unwrap();
        };
        assert_eq!(what(|dir| dirs(dir, &["config", "data"])).unwrap(), "a repository of borg 2");
        assert_eq!(what(|dir| borg(dir, 2)).unwrap(), "a repository of borg 2");
        assert_eq!(what(restic).unwrap(), "a repository of restic");
        assert_eq!(what(attic).unwrap(), "a repository of Attic");
        assert_eq!(what(|dir| dirs(dir, &["rdiff-backup-data"])).unwrap(), "a repository of rdiff-backup");
        let unknown = |dir: &Path| fs::write(dir.join("config"), [0xff]).unwrap();
        assert!(what(unknown).unwrap().contains("its config is no text"));
    }

    #[test]
    fn a_repository_that_is_near_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let repository = dir.path().join("host");
        borg(&repository, 1);
        for wrong in [dir.path(), &repository.join("data")] {
            assert!(at(wrong).unwrap().next.ends_with("/host"), "{wrong:?}");
        }
        assert_eq!(at(&repository.join("config")).unwrap().what, "no directory");
    }
}
