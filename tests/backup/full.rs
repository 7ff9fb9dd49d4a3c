//! Room that is not there: in borg's cache directory, in the repository.

use crate::common::{Machine, Run, tmpfs, today};

/// A borg whose cache has 2 MB, and 15,000 files for it to remember.
fn with_full_cache() -> Machine {
    let mut machine = Machine::with_repository();
    for n in 0..15_000 {
        machine.write(&format!("data/{n}{}", "x".repeat(100)), n.to_string());
    }
    machine.list(&["data"]);
    tmpfs(&machine.path("cache"), "size=2M");
    machine
}

fn create(machine: &Machine, args: &[&str]) -> Run {
    machine.offsite(["create"]).args(args).env("BORG_CACHE_DIR", machine.path("cache")).run()
}

#[test]
fn an_archive_that_is_whole_is_not_lost_to_a_full_cache() {
    let mut machine = with_full_cache();
    machine.set("fail_on_warnings", true);
    let whole = format!("the archive {} is complete", today());
    let ran = create(&machine, &[]).exits(3).says(&whole).says("No space left on device").says("cache");
    assert!(!ran.stderr().contains("looked at"), "{}", ran.stderr());
    assert!(!machine.path("home/.cache/borg-offsite-backup/totals.json").exists());
    let told = machine.run(["telemetry", "--json"]).succeeds().stdout();
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert!(told["archives"][0]["original_size"].as_u64().unwrap() > 15_000, "{told}");
    assert_eq!(machine.archives(), [today()]);
    assert_eq!(machine.paths(&today()).len(), 15_001);
    create(&machine, &["--if-exists", "skip"]).exits(0).says("There is an archive");
    // With room again all is as ever.
    machine.run(["create", "--if-exists", "replace"]).succeeds();
    assert_eq!(machine.archives(), [today()]);
}

#[test]
fn a_quota_that_is_reached_is_named_with_all_that_makes_room() {
    let mut machine = Machine::isolated();
    machine.run(["init", "-e", "none", "--storage-quota", "20M"]).succeeds();
    machine.write_random("data/large", 40 << 20);
    machine.list(&["data"]);
    machine.run(["create"]).exits(1).says("the storage quota of").says("`borg-offsite-backup compact`");
}
