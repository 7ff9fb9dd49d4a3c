//! What goes into the archive, in which order, and under which name. Pure.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::archive::path::ItemPath;
use crate::config::Config;
use crate::error::{Error, Result};

/// What one run backs up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Each path once, what contains others before what it contains.
    pub entries: Vec<Entry>,
    /// In borg's pattern styles, relative to the root of the archive.
    pub excludes: Vec<String>,
    pub compression: String,
}

/// One file system, or a folder or file of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it is on this machine.
    pub source: PathBuf,
    /// Where it is in the archive.
    pub path: ItemPath,
}

impl Plan {
    /// # Errors
    /// When the configuration asks for nothing, or for what cannot be backed up.
    pub fn new(config: &Config) -> Result<Plan> {
        if let Some(dataset) = config.datasets_to_backup.first() {
            return Err(Error::usage("this version does not back up ZFS datasets yet")
                .hint(format!("{} lists {} in datasets_to_backup", config.file.display(), dataset.name))
                .hint("nothing was backed up"));
        }
        config.require_sources()?;
        let entries = config.filesystems_to_backup.iter().map(|path| Entry::of(path));
        let mut entries = entries.collect::<Result<Vec<Entry>>>()?;
        // A path is a prefix of what it contains, so it comes first.
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        entries.dedup();
        let excludes = config.exclude_patterns.clone();
        Ok(Plan { entries, excludes, compression: config.compression.clone() })
    }

    /// The paths that borg is given when the entries are staged: those inside no other.
    pub fn roots(&self) -> Vec<&ItemPath> {
        self.roots_where(|_, _| true)
    }

    /// The paths that borg is given when it reads the live tree and stays on one file system per
    /// path: those that it does not reach from another. `device` tells the device of a folder.
    pub fn live_roots(&self, device: impl Fn(&Path) -> Option<u64>) -> Vec<&ItemPath> {
        self.roots_where(|outer, inner| {
            let here = device(&outer.source);
            let between = inner.source.ancestors().take_while(|p| **p != outer.source);
            here.is_some() && between.into_iter().all(|p| device(p) == here)
        })
    }

    fn roots_where(&self, reaches: impl Fn(&Entry, &Entry) -> bool) -> Vec<&ItemPath> {
        let covers =
            |outer: &Entry, inner: &Entry| inner.path.is_within(&outer.path) && reaches(outer, inner);
        let mut roots: Vec<&Entry> = Vec::new();
        for entry in &self.entries {
            if !roots.iter().any(|root| covers(root, entry)) {
                roots.push(entry);
            }
        }
        roots.into_iter().map(|entry| &entry.path).collect()
    }
}

impl Entry {
    fn of(listed: &Path) -> Result<Entry> {
        let refused = || Error::usage(format!("cannot back up {}", listed.display()));
        let path = ItemPath::new(listed.as_os_str().as_bytes())
            .filter(|_| listed.is_absolute())
            .ok_or_else(|| refused().hint("a file system is listed by its absolute path, without `..`"))?;
        let mut source = b"/".to_vec();
        source.extend_from_slice(path.as_bytes());
        Ok(Entry { source: PathBuf::from(std::ffi::OsString::from_vec(source)), path })
    }
}

/// A path as borg is given it, with the root of the archive as working directory.
pub(super) fn borg_argument(path: &ItemPath) -> &OsStr {
    if path.is_root() { OsStr::new(".") } else { path.as_os_str() }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::{Dataset, Selection};

    pub fn config(paths: &[&str]) -> Config {
        Config {
            file: "/etc/x.conf".into(),
            backup_server: None,
            backup_user: None,
            backup_path: "/srv/backup".into(),
            bridge_vm: None,
            ssh_from: None,
            datasets_to_backup: vec![],
            filesystems_to_backup: paths.iter().map(PathBuf::from).collect(),
            exclude_patterns: vec![],
            keep_daily: 7,
            keep_weekly: 4,
            keep_monthly: 12,
            compression: "auto,zstd".into(),
            prune_on_days: None,
            compact_after_prune: false,
            keep_bookmarks: true,
            fail_on_warnings: false,
        }
    }

    fn plan(paths: &[&str]) -> Plan {
        Plan::new(&config(paths)).unwrap()
    }

    fn arguments<'a>(roots: &[&'a ItemPath]) -> Vec<&'a str> {
        roots.iter().map(|r| borg_argument(r).to_str().unwrap()).collect()
    }

    #[test]
    fn the_root_comes_first_and_is_the_only_root() {
        let plan = plan(&["/boot/efi", "/boot", "/", "/boot/"]);
        let sources: Vec<_> = plan.entries.iter().map(|e| e.source.to_str().unwrap()).collect();
        assert_eq!(sources, ["/", "/boot", "/boot/efi"]);
        assert_eq!(arguments(&plan.roots()), ["."]);
    }

    #[test]
    fn a_name_that_only_begins_alike_is_a_root_of_its_own() {
        assert_eq!(arguments(&plan(&["/a/b", "/a-b", "/a"]).roots()), ["a", "a-b"]);
    }

    #[test]
    fn datasets_are_refused_by_name_instead_of_left_out() {
        let mut config = config(&["/boot"]);
        config.datasets_to_backup = vec![Dataset { name: "tank/home".into(), selection: Selection::Only }];
        let error = Plan::new(&config).unwrap_err();
        assert_eq!(error.to_string(), "this version does not back up ZFS datasets yet");
        assert!(error.hints()[0].contains("tank/home"));
    }

    #[test]
    fn nothing_and_relative_paths_are_refused() {
        for paths in [&[][..], &["boot"], &["/boot/../etc"]] {
            assert_eq!(Plan::new(&config(paths)).unwrap_err().kind(), crate::error::Kind::Usage, "{paths:?}");
        }
    }

    #[test]
    fn on_the_live_tree_what_borg_cannot_reach_is_a_root_of_its_own() {
        let plan = plan(&["/a", "/a/same", "/a/other", "/a/other/back"]);
        // `back` is on the device of /a again, but behind `other`.
        let device = |p: &Path| match p.to_str() {
            Some("/a/other") => Some(2),
            _ => Some(1),
        };
        assert_eq!(arguments(&plan.live_roots(device)), ["a", "a/other", "a/other/back"]);
    }

    proptest! {
        #[test]
        fn parents_come_first_and_each_path_is_covered_by_exactly_one_root(
            paths in proptest::collection::vec("(/(a|b|a-|ab|\\.)){0,4}/?", 1..12)
        ) {
            let paths: Vec<String> = paths.iter().map(|p| format!("/{p}")).collect();
            let plan = Plan::new(&config(&paths.iter().map(String::as_str).collect::<Vec<_>>())).unwrap();
            for (i, earlier) in plan.entries.iter().enumerate() {
                for later in &plan.entries[i + 1..] {
                    prop_assert!(!earlier.path.is_within(&later.path), "{:?} after {:?}", later, earlier);
                }
            }
            for path in &paths {
                let path = ItemPath::new(path.as_bytes()).unwrap();
                prop_assert_eq!(plan.entries.iter().filter(|e| e.path == path).count(), 1);
                prop_assert_eq!(plan.roots().iter().filter(|r| path.is_within(r)).count(), 1);
            }
        }
    }
}
