//! What gets into the archive, and how.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use crate::common::{Flavour, Machine, STAGING, bind, tmpfs, today};

#[test]
fn nested_file_systems_are_in_the_archive_under_their_normal_paths() {
    let mut machine = Machine::with_repository();
    tmpfs(&machine.path("boot"), "mode=750,uid=12,gid=34");
    machine.write("boot/vmlinuz", "kernel");
    tmpfs(&machine.path("boot/efi"), "");
    machine.write("boot/efi/grub.cfg", "menu");
    std::os::unix::fs::chown(machine.path("boot/vmlinuz"), Some(1234), Some(4321)).unwrap();
    fs::set_permissions(machine.path("boot/vmlinuz"), fs::Permissions::from_mode(0o4711)).unwrap();
    machine.list(&["boot/efi", "boot"]);
    machine.run(["create"]).succeeds().says("Done in");

    let paths = machine.paths(&today());
    assert_eq!(paths.iter().filter(|p| *p == "boot/efi/grub.cfg").count(), 1, "{paths:?}");
    let mut sorted = paths.clone();
    sorted.sort();
    assert_eq!(sorted, ["boot", "boot/efi", "boot/efi/grub.cfg", "boot/vmlinuz"]);
    assert_eq!(machine.content(&today(), "boot/efi/grub.cfg"), "menu");

    let format = ["list", "--format", "{path} {mode} {uid}:{gid} {isomtime}{NL}", &format!("::{}", today())];
    let output = machine.borg(format).env("TZ", "UTC").run();
    let listed = output.stdout();
    assert!(listed.lines().any(|l| l.contains("boot/vmlinuz -rws--x--x 1234:4321 ")), "{listed}");
    assert!(listed.lines().any(|l| l.contains("/boot drwxr-x--- 12:34 ")), "{listed}");
    let mtime = fs::metadata(machine.path("boot/vmlinuz")).unwrap().mtime();
    let mtime = chrono::DateTime::from_timestamp(mtime, 0).unwrap().format("%Y-%m-%dT%H:%M:%S");
    assert!(listed.contains(&mtime.to_string()), "{mtime} is not in {listed}");
    machine.assert_nothing_is_left();
}

#[test]
fn a_file_system_below_a_listed_one_is_left_out_unless_it_is_listed() {
    let mut machine = Machine::with_repository();
    machine.write("home/me/letter", "dear");
    tmpfs(&machine.path("data"), "");
    machine.write("data/kept", "1");
    tmpfs(&machine.path("data/other"), "");
    machine.write("data/other/secret", "2");
    // Also one of the same device: it is another mount all the same.
    bind(&machine.path("data/other"), &machine.path("data/again"));
    machine.list(&["data"]);
    machine.run(["create"]).succeeds();
    let mut paths = machine.paths(&today());
    paths.sort();
    assert_eq!(paths, ["data", "data/again", "data/kept", "data/other"]);
}

#[test]
fn the_root_file_system_can_be_listed_and_one_below_an_unlisted_mount_too() {
    let root = fs::metadata("/").unwrap().dev();
    let places = ["/tmp", "/var/tmp", "/root"];
    let place = places.into_iter().find(|p| fs::metadata(p).is_ok_and(|m| m.dev() == root)).unwrap();
    let mut machine = Machine::builder(Flavour::V12).own_mounts().on_disk(place).build().initialised();
    machine.write("tree/on-root", "1");
    tmpfs(&machine.path("tree/boot"), "mode=755");
    machine.write("tree/boot/not-listed", "2");
    tmpfs(&machine.path("tree/boot/efi"), "");
    machine.write("tree/boot/efi/listed", "3");
    let efi = machine.path("tree/boot/efi");
    machine.set("filesystems_to_backup", vec!["/", efi.to_str().unwrap()]);
    let tree = machine.path("tree");
    // All but the way to our own tree.
    let way: Vec<String> = tree
        .ancestors()
        .filter(|p| *p != Path::new("/"))
        .map(|p| p.to_str().unwrap().trim_start_matches('/').to_owned())
        .collect();
    let only = format!("re:^(?!({})$)(?!{}/)(?!\\.$)", way.join("$|"), way[0]);
    machine.set("exclude_patterns", vec![only]);
    machine.run(["create"]).succeeds();
    let paths = machine.paths(&today());
    let ours: Vec<&str> = paths.iter().map(String::as_str).filter(|p| p.starts_with("tree/")).collect();
    let mut sorted = ours.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, ["tree/boot", "tree/boot/efi", "tree/boot/efi/listed", "tree/on-root"]);
    assert!(paths.contains(&".".to_owned()), "the root's own metadata is missing: {paths:?}");
    assert!(paths.iter().all(|p| !p.starts_with('/')), "{paths:?}");
    machine.assert_nothing_is_left();
}

#[test]
fn a_listed_file_is_backed_up_alone() {
    let mut machine = Machine::with_repository();
    machine.write("etc/one", "1");
    machine.write("etc/two", "2");
    machine.list(&["etc/one"]);
    machine.run(["create"]).succeeds();
    assert_eq!(machine.paths(&today()), ["etc/one"]);
    assert_eq!(machine.content(&today(), "etc/one"), "1");
}

#[test]
fn exclude_patterns_work_in_each_of_borgs_styles() {
    let mut machine = Machine::with_repository();
    for name in ["plain.tmp", "fm.log", "sh/deep/er/node_modules/x", "re-123", "re-abc", "kept"] {
        machine.write(&format!("data/{name}"), "x");
    }
    for name in ["pp/under/it", "pf", "pf-not", " blank ", "#hash"] {
        machine.write(&format!("data/{name}"), "x");
    }
    let data = machine.path("data");
    let data = data.to_str().unwrap().trim_start_matches('/');
    let patterns = [
        "*/plain.tmp".to_owned(),
        "fm:*.log".to_owned(),
        format!("sh:{data}/**/node_modules"),
        "re:re-[0-9]+$".to_owned(),
        format!("pp:{data}/pp"),
        format!("pf:{data}/pf"),
    ];
    machine.set("exclude_patterns", patterns.to_vec());
    machine.list(&["data"]);
    machine.run(["create"]).succeeds();
    let mut paths = machine.paths(&today());
    paths.retain(|p| !p.ends_with("deep") && !p.ends_with("er"));
    paths.sort();
    let expected =
        ["data", "data/ blank ", "data/#hash", "data/kept", "data/pf-not", "data/re-abc", "data/sh"];
    assert_eq!(paths, expected);
}

#[test]
fn a_pattern_that_borg_cannot_read_is_an_error_in_one_line() {
    let mut machine = Machine::with_repository();
    machine.write("data/x", "x");
    machine.list(&["data"]);
    machine.set("exclude_patterns", vec!["re:*("]);
    for args in [&["create"][..], &["create", "--dry-run"]] {
        let ran = machine.run(args).exits(1).says("re.error: nothing to repeat").says("in exclude_patterns");
        assert!(!ran.stderr().contains("File "), "{}", ran.stderr());
    }
    assert!(machine.archives().is_empty());
    machine.assert_nothing_is_left();
}

#[test]
fn a_tagged_cache_is_left_out_and_its_tag_kept() {
    let mut machine = Machine::with_repository();
    machine.write("data/cache/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n");
    machine.write("data/cache/big", "x");
    machine.write("data/kept", "x");
    machine.write("data/mine/CACHEDIR.TAG", "no signature");
    machine.write("data/by pattern/x", "x");
    machine.set("exclude_patterns", vec!["fm:*/by pattern"]);
    machine.list(&["data"]);
    let ran = machine.run(["-v", "create"]).succeeds().says("new; 1 directory left out as caches");
    let told = ran.stderr();
    let named: Vec<_> = told.lines().filter(|line| line.contains("left out as a cache: ")).collect();
    assert!(named.len() == 1 && named[0].ends_with("/data/cache"), "{}", ran.stderr());
    assert!(!ran.stdout().contains("cache"), "the list was not asked for: {}", ran.stdout());
    let mut paths = machine.paths(&today());
    paths.sort();
    let with_tag =
        ["data", "data/cache", "data/cache/CACHEDIR.TAG", "data/kept", "data/mine", "data/mine/CACHEDIR.TAG"];
    assert_eq!(paths, with_tag);
    // A list of the user's is his own, and counted from.
    let ran = machine.run(["create", "--if-exists", "replace", "--", "--list"]).succeeds();
    assert!(
        ran.stdout().contains("/data/kept") && ran.stderr().contains("1 directory left out as caches"),
        "{}",
        ran.stderr()
    );

    machine.set("exclude_caches", false);
    let ran = machine.run(["create", "--if-exists", "replace"]).succeeds();
    assert!(!ran.stderr().contains("left out"), "{}", ran.stderr());
    assert!(machine.paths(&today()).contains(&"data/cache/big".to_owned()));
}

#[test]
fn a_path_that_is_missing_or_a_link_is_refused_before_anything_is_made() {
    let mut machine = Machine::with_repository();
    machine.write("data/x", "x");
    machine.list(&["data", "gone"]);
    machine.run(["create"]).exits(1).says("cannot back up").says("/gone");
    std::os::unix::fs::symlink(machine.path("data"), machine.path("link")).unwrap();
    machine.list(&["link"]);
    machine.run(["create"]).exits(2).says("symbolic link").says("/data in filesystems_to_backup instead");
    assert!(machine.archives().is_empty());
    assert!(!Path::new(STAGING).exists());
}

#[test]
fn datasets_on_a_machine_without_zfs_are_an_error_and_not_left_out() {
    let mut machine = Machine::with_repository();
    machine.write("data/x", "x");
    machine.list(&["data"]);
    machine.set("datasets_to_backup", vec!["tank/home"]);
    // Here there is no ZFS.
    machine.run(["create"]).exits(1).says("cannot start zfs");
    assert!(machine.archives().is_empty());
}

#[test]
fn a_dry_run_lists_what_it_would_take_and_changes_nothing() {
    let mut machine = Machine::with_repository();
    machine.write("data/taken", "x");
    machine.write("data/left.log", "x");
    machine.list(&["data"]);
    machine.set("exclude_patterns", vec!["fm:*.log"]);
    let ran = machine.run(["create", "--dry-run"]).succeeds().says("dry run");
    let told = ran.stdout();
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines.iter().any(|l| l.starts_with("- ") && l.ends_with("data/taken")), "{lines:?}");
    assert!(lines.iter().any(|l| l.starts_with("x ") && l.ends_with("data/left.log")), "{lines:?}");
    assert!(machine.archives().is_empty());
    machine.assert_nothing_is_left();
}

#[test]
fn borgs_own_options_are_passed_on() {
    let mut machine = Machine::with_repository();
    machine.write("data/x", "x");
    machine.list(&["data"]);
    let ran = machine.run(["create", "--", "--comment", "before the move", "--list"]).succeeds();
    assert!(ran.stdout().contains("A "), "{}", ran.stdout());
    let info = machine.borg(["info", &format!("::{}", today())]).run();
    assert!(info.stdout().contains("before the move"));
}

#[test]
fn an_option_that_keeps_borg_from_making_the_archive_removes_no_old_one() {
    let mut machine = Machine::with_repository();
    machine.write("data/x", "old");
    machine.list(&["data"]);
    machine.run(["create"]).succeeds();
    machine
        .run(["create", "--if-exists", "replace", "--", "--dry-run"])
        .exits(1)
        .says("did not confirm that it made the archive");
    assert_eq!(machine.archives(), [today()]);
}

#[test]
fn quiet_prints_nothing_when_all_is_well() {
    let mut machine = Machine::with_repository();
    machine.write("data/x", "x");
    machine.list(&["data"]);
    machine.offsite(["create"]).env("QUIET", "yes").run().says_nothing();
    assert_eq!(machine.archives(), [today()]);
}
