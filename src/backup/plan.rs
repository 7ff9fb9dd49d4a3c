//! What goes into the archive, in which order, and under which name. Pure.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use borg_repository::ItemPath;

use super::selection::{self, LeftOut};
use crate::archive::volumes;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::tools::mounts::Mount;
use crate::tools::zfs::Dataset;

/// What one run backs up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Each path once, what contains others before what it contains.
    pub entries: Vec<Entry>,
    /// Datasets that are selected, and cannot be in the archive.
    pub left_out: Vec<LeftOut>,
    /// Globs that match no dataset.
    pub unmatched: Vec<String>,
    /// In borg's pattern styles, relative to the root of the archive.
    pub excludes: Vec<String>,
    /// Directories with a CACHEDIR.TAG are left out.
    pub exclude_caches: bool,
    pub compression: String,
}

/// One place in the archive and what stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it is in the archive; on this machine, with a `/` before it.
    pub path: ItemPath,
    pub source: Source,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The file system, or directory or file of one, as it is while borg reads it.
    Live,
    /// A ZFS file system as it was at one moment.
    Filesystem(Dataset),
    /// All ZFS volumes as they were at one moment.
    Volumes(Vec<Dataset>),
}

impl Plan {
    /// `datasets` and `mounts` are all that there are; needed where the configuration names datasets.
    ///
    /// # Errors
    /// When the configuration asks for nothing, or for what cannot be backed up.
    pub fn new(config: &Config, datasets: &[Dataset], mounts: &[Mount]) -> Result<Plan> {
        config.require_sources()?;
        let selected = selection::select(&config.datasets_to_backup, datasets)?;
        let (places, left_out) = selection::places(selected.datasets, mounts)?;
        let mut entries = Vec::new();
        let mut volumes = Vec::new();
        for (dataset, place) in places {
            match place {
                Some(place) => entries.push(Entry::of(&place, Source::Filesystem(dataset))?),
                None => volumes.push(dataset),
            }
        }
        // Also without volumes: the manifest of the datasets is there.
        if !volumes.is_empty() || !entries.is_empty() {
            entries.push(Entry { path: path(volumes::FOLDER)?, source: Source::Volumes(volumes) });
        }
        for listed in &config.filesystems_to_backup {
            entries.push(Entry::of(listed, Source::Live)?);
        }
        // A path is a prefix of what it contains, so it comes first. Of two of one path the dataset
        // stays: it is all of one moment.
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        entries.dedup_by(|later, earlier| later.path == earlier.path);
        Ok(Plan {
            entries,
            left_out,
            unmatched: selected.unmatched,
            excludes: config.exclude_patterns.clone(),
            exclude_caches: config.exclude_caches,
            compression: config.compression.clone(),
        })
    }

    /// How many file systems, or directories of them, are in the archive.
    pub fn file_systems(&self) -> usize {
        self.entries.iter().filter(|e| !matches!(e.source, Source::Volumes(_))).count()
    }

    /// The places that the archive holds, as marks have them.
    pub fn places(&self) -> Vec<Vec<u8>> {
        self.held().into_iter().map(|(place, _)| place).collect()
    }

    /// The places that the archive holds, as marks have them, each with its name for people.
    pub fn held(&self) -> Vec<(Vec<u8>, String)> {
        let mut held = Vec::new();
        for entry in &self.entries {
            let place = entry.host().into_os_string().into_vec();
            match &entry.source {
                Source::Live => held.push((place, entry.host().display().to_string())),
                Source::Filesystem(dataset) => held.push((place, entry_name(entry, dataset))),
                Source::Volumes(volumes) => held.extend(volumes.iter().map(|volume| {
                    let place = [&place, &b"/"[..], volume.name.as_bytes()].concat();
                    (place, volume.name.clone())
                })),
            }
        }
        held
    }

    /// All datasets that are in the archive.
    pub fn datasets(&self) -> impl Iterator<Item = &Dataset> {
        let filesystems = self.entries.iter().filter_map(|entry| match &entry.source {
            Source::Filesystem(dataset) => Some(dataset),
            _ => None,
        });
        filesystems.chain(self.volumes())
    }

    /// Of these the volumes.
    pub fn volumes(&self) -> impl Iterator<Item = &Dataset> {
        self.entries.iter().flat_map(|entry| match &entry.source {
            Source::Volumes(volumes) => &volumes[..],
            _ => &[],
        })
    }

    /// The paths that borg is given when the entries are staged: those inside no other.
    pub fn roots(&self) -> Vec<&ItemPath> {
        self.roots_where(|_, _| true)
    }

    /// The paths that borg is given when it reads the live tree and stays on one file system per
    /// path: those that it does not reach from another. `device` returns the device of a directory.
    pub fn live_roots(&self, device: impl Fn(&Path) -> Option<u64>) -> Vec<&ItemPath> {
        self.roots_where(|outer, inner| {
            let (outer, inner) = (outer.host(), inner.host());
            let here = device(&outer);
            let between = inner.ancestors().take_while(|p| **p != outer);
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
    fn of(listed: &Path, source: Source) -> Result<Entry> {
        let refused = || Error::usage(format!("cannot back up {}", listed.display()));
        let path = ItemPath::new(listed.as_os_str().as_bytes())
            .filter(|_| listed.is_absolute())
            .ok_or_else(|| refused().hint("a file system is listed by its absolute path, without `..`"))?;
        Ok(Entry { path, source })
    }

    /// Where it is on this machine.
    pub fn host(&self) -> PathBuf {
        let mut host = b"/".to_vec();
        host.extend_from_slice(self.path.as_bytes());
        PathBuf::from(std::ffi::OsString::from_vec(host))
    }

    /// For messages.
    pub fn name(&self) -> String {
        match &self.source {
            Source::Live => self.host().display().to_string(),
            Source::Filesystem(dataset) => format!("the dataset {}", dataset.name),
            Source::Volumes(_) => "the volumes".to_owned(),
        }
    }
}

fn entry_name(entry: &Entry, dataset: &Dataset) -> String {
    format!("{} ({})", entry.host().display(), dataset.name)
}

fn path(bytes: &[u8]) -> Result<ItemPath> {
    ItemPath::new(bytes).ok_or_else(|| Error::failed("cannot make the path of the volumes"))
}

/// A path as borg is given it, with the root of the archive as working directory.
pub(super) fn borg_argument(path: &ItemPath) -> &OsStr {
    if path.is_root() { OsStr::new(".") } else { path.as_os_str() }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::{Dataset as Wanted, Hooks, Selection};
    use crate::tools::zfs::{DatasetKind, Mountpoint};

    pub fn config(paths: &[&str]) -> Config {
        Config {
            file: "/etc/x.conf".into(),
            backup_server: None,
            backup_user: None,
            remote_path: None,
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
            exclude_caches: true,
            stall_limit: std::time::Duration::from_secs(3600),
            archive_suffix: None,
            earlier_host_names: vec![],
            hooks: Hooks::default(),
        }
    }

    fn plan(paths: &[&str]) -> Plan {
        Plan::new(&config(paths), &[], &[]).unwrap()
    }

    fn arguments<'a>(roots: &[&'a ItemPath]) -> Vec<&'a str> {
        roots.iter().map(|r| borg_argument(r).to_str().unwrap()).collect()
    }

    #[test]
    fn the_root_comes_first_and_is_the_only_root() {
        let plan = plan(&["/boot/efi", "/boot", "/", "/boot/"]);
        let sources: Vec<_> = plan.entries.iter().map(|e| e.host().to_str().unwrap().to_owned()).collect();
        assert_eq!(sources, ["/", "/boot", "/boot/efi"]);
        assert_eq!(arguments(&plan.roots()), ["."]);
    }

    #[test]
    fn a_name_that_only_begins_alike_is_a_root_of_its_own() {
        assert_eq!(arguments(&plan(&["/a/b", "/a-b", "/a"]).roots()), ["a", "a-b"]);
    }

    fn wanted(name: &str, selection: Selection) -> Wanted {
        Wanted { name: name.into(), selection }
    }

    pub fn filesystem(name: &str, mountpoint: &str) -> Dataset {
        let mountpoint = match mountpoint {
            "none" => Mountpoint::None,
            "legacy" => Mountpoint::Legacy,
            path => Mountpoint::At(path.into()),
        };
        let kind = DatasetKind::Filesystem { mountpoint, mounted: false, can_mount: true };
        Dataset { name: name.into(), guid: 1, createtxg: 1, compression: "lz4".into(), readable: true, kind }
    }

    pub fn volume(name: &str) -> Dataset {
        let kind = DatasetKind::Volume { size: 1 << 20, block_size: 16384 };
        Dataset { kind, ..filesystem(name, "none") }
    }

    fn mounted(mut dataset: Dataset) -> Dataset {
        if let DatasetKind::Filesystem { mounted, .. } = &mut dataset.kind {
            *mounted = true;
        }
        dataset
    }

    fn mount(dir: &str, source: &str) -> Mount {
        Mount {
            dir: dir.into(),
            kind: "zfs".into(),
            source: source.into(),
            device: 0,
            options: String::new(),
            user: None,
        }
    }

    fn plan_of(wanted: Vec<Wanted>, all: &[Dataset], mounts: &[Mount]) -> Result<Plan> {
        Plan::new(&Config { datasets_to_backup: wanted, ..config(&[]) }, all, mounts)
    }

    fn names(plan: &Plan) -> Vec<&str> {
        plan.datasets().map(|d| d.name.as_str()).collect()
    }

    fn reasons(plan: &Plan) -> Vec<(&str, &str)> {
        plan.left_out.iter().map(|l| (l.name.as_str(), l.why.as_str())).collect()
    }

    #[test]
    fn a_star_crosses_slashes_and_each_dataset_is_taken_once() {
        let all = [
            volume("tank/qubes/work/private"),
            volume("tank/qubes/a/b/private"),
            volume("tank/qubes/work/root"),
            volume("tank/.borg-offsite-backup/x/private"),
        ];
        let wanted = vec![
            wanted("tank/qubes/*/private", Selection::Glob),
            wanted("tank/**/[a-w]*/priv?te", Selection::Glob),
            wanted("tank/nothing/*", Selection::Glob),
        ];
        let plan = plan_of(wanted, &all, &[]).unwrap();
        assert_eq!(names(&plan), ["tank/qubes/work/private", "tank/qubes/a/b/private"]);
        assert_eq!(plan.unmatched, ["tank/nothing/*"]);
        assert_eq!(arguments(&plan.roots()), ["dev/zvol"]);
    }

    #[test]
    fn recursive_means_all_below_and_nothing_that_only_begins_alike() {
        let all = [filesystem("tank/a", "/a"), filesystem("tank/a/b", "/b"), filesystem("tank/ab", "/ab")];
        let plan = plan_of(vec![wanted("tank/a", Selection::Recursive)], &all, &[]).unwrap();
        assert_eq!(names(&plan), ["tank/a", "tank/a/b"]);
    }

    #[test]
    fn a_name_that_is_no_dataset_is_an_error_and_no_pattern() {
        let all = [filesystem("tank/a", "/a")];
        for selection in [Selection::Only, Selection::Recursive] {
            let error = plan_of(vec![wanted("tank/*", selection)], &all, &[]).unwrap_err();
            assert_eq!(error.to_string(), "there is no dataset tank/*");
        }
    }

    #[test]
    fn what_has_no_place_is_left_out_with_a_reason() {
        let off = DatasetKind::Filesystem {
            mountpoint: Mountpoint::At("/off".into()),
            mounted: false,
            can_mount: false,
        };
        let all = [
            filesystem("tank/none", "none"),
            filesystem("tank/unmounted", "legacy"),
            filesystem("tank/old", "legacy"),
            Dataset { kind: off, ..filesystem("tank/off", "/off") },
            Dataset { readable: false, ..volume("tank/locked") },
        ];
        let mounts = [mount("/srv/old", "tank/old")];
        let plan = plan_of(vec![wanted("*", Selection::Glob)], &all, &mounts).unwrap();
        assert_eq!(arguments(&plan.roots()), ["dev/zvol", "srv/old"]);
        let expected = [
            ("tank/none", "it has no mount point"),
            ("tank/unmounted", "its mount point is legacy, and it is not mounted"),
            ("tank/off", "canmount is off"),
            ("tank/locked", "it is encrypted, and its key is not loaded"),
        ];
        assert_eq!(reasons(&plan), expected);
        let error = plan_of(vec![wanted("tank/locked", Selection::Only)], &all, &mounts).unwrap_err();
        assert_eq!(error.to_string(), "cannot back up tank/locked");
    }

    #[test]
    fn of_two_at_one_mount_point_the_one_that_is_seen_there_is_taken() {
        let all = [
            mounted(filesystem("tank/below", "/")),
            filesystem("tank/older", "/"),
            mounted(filesystem("tank/root", "/")),
        ];
        let mounts = [mount("/", "tank/below"), mount("/", "tank/root")];
        let plan = plan_of(vec![wanted("tank/*", Selection::Glob)], &all, &mounts).unwrap();
        assert_eq!(names(&plan), ["tank/root"]);
        let why = "tank/root has the same mount point";
        assert_eq!(reasons(&plan), [("tank/below", why), ("tank/older", why)]);
        let both = vec![wanted("tank/root", Selection::Only), wanted("tank/older", Selection::Only)];
        assert!(plan_of(both, &all, &mounts).is_err());
    }

    #[test]
    fn what_is_mounted_elsewhere_for_now_is_found_there() {
        let all = [mounted(filesystem("tank/a", "/a")), mounted(filesystem("tank/b", "/b"))];
        let mounts = [mount("/mnt/a", "tank/a"), mount("/mnt/b", "tank/b"), mount("/b", "tank/b")];
        let plan = plan_of(vec![wanted("tank/*", Selection::Glob)], &all, &mounts).unwrap();
        assert_eq!(arguments(&plan.roots()), ["b", "dev/zvol", "mnt/a"]);
    }

    #[test]
    fn a_dataset_takes_the_place_of_a_listed_folder() {
        let config = Config {
            datasets_to_backup: vec![wanted("tank/boot", Selection::Only)],
            ..config(&["/boot", "/boot/efi"])
        };
        let plan = Plan::new(&config, &[filesystem("tank/boot", "/boot")], &[]).unwrap();
        let live = plan.entries.iter().filter(|e| e.source == Source::Live);
        assert_eq!(live.map(Entry::host).collect::<Vec<_>>(), [Path::new("/boot/efi")]);
        assert_eq!(names(&plan), ["tank/boot"]);
    }

    #[test]
    fn nothing_and_relative_paths_are_refused() {
        for paths in [&[][..], &["boot"], &["/boot/../etc"]] {
            assert_eq!(
                Plan::new(&config(paths), &[], &[]).unwrap_err().kind(),
                crate::error::Kind::Usage,
                "{paths:?}"
            );
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
            let plan = Plan::new(&config(&paths.iter().map(String::as_str).collect::<Vec<_>>()), &[], &[]).unwrap();
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

        #[test]
        fn nested_mount_points_come_after_what_contains_them_whatever_the_names(
            places in proptest::collection::btree_map("[a-d]{1,3}", "(/(a|b|a-|ab)){0,4}", 1..12)
        ) {
            let all: Vec<Dataset> = places
                .iter()
                .map(|(name, place)| filesystem(&format!("tank/{name}"), &format!("{place}/")))
                .collect();
            let plan = plan_of(vec![wanted("tank/*", Selection::Glob)], &all, &[]).unwrap();
            for (i, earlier) in plan.entries.iter().enumerate() {
                for later in &plan.entries[i + 1..] {
                    prop_assert!(!earlier.path.is_within(&later.path), "{:?} after {:?}", later, earlier);
                }
            }
            prop_assert_eq!(plan.datasets().count() + plan.left_out.len(), all.len());
            let distinct: std::collections::BTreeSet<_> = places.values().collect();
            prop_assert_eq!(plan.datasets().count(), distinct.len());
        }
    }
}
