use proptest::prelude::*;

use super::*;
use crate::config::{Dataset as Wanted, Selection, keys};
use crate::tools::zfs::{DatasetKind, Mountpoint};

pub fn config(paths: &[&str]) -> Config {
    Config {
        backup_path: "/srv/backup".into(),
        filesystems_to_backup: paths.iter().map(PathBuf::from).collect(),
        ..keys::defaults()
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
fn a_dataset_takes_the_place_of_a_listed_directory() {
    let config = Config {
        datasets_to_backup: vec![wanted("tank/boot", Selection::Only)],
        ..config(&["/boot", "/boot/efi"])
    };
    let plan = Plan::new(&config, &[filesystem("tank/boot", "/boot")], &[]).unwrap();
    let live = plan.entries.iter().filter(|e| e.source == PlanSource::Live);
    assert_eq!(live.map(PlanEntry::host).collect::<Vec<_>>(), [Path::new("/boot/efi")]);
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
