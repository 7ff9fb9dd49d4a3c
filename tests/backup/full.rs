//! Room that is not there: in borg's cache directory, in the repository.

use std::process::Command;

use crate::world::{Ran, World, today};

/// A borg whose cache has 2 MB, and 15,000 files for it to remember.
fn world_with_full_cache() -> World {
    let mut world = World::new();
    for n in 0..15_000 {
        world.write(&format!("data/{n}{}", "x".repeat(100)), n.to_string());
    }
    world.list(&["data"]);
    std::fs::create_dir(world.path("cache")).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=2M", "tmpfs"])
        .arg(world.path("cache"))
        .status();
    assert!(mounted.unwrap().success());
    world
}

fn create(world: &World, args: &[&str]) -> Ran {
    let mut command = world.command(&[&["create"], args].concat());
    Ran::from(command.env("BORG_CACHE_DIR", world.path("cache")).output().unwrap())
}

#[test]
fn an_archive_that_is_whole_is_not_lost_to_a_full_cache() {
    let mut world = world_with_full_cache();
    world.set("fail_on_warnings", true);
    let whole = format!("the archive {} is complete", today());
    let ran = create(&world, &[]).exits(3).says(&whole).says("No space left on device").says("cache");
    assert!(!ran.stderr.contains("looked at"), "{}", ran.stderr);
    assert!(!world.path("home/cache/borg-offsite-backup/totals.json").exists());
    let told = world.run(&["telemetry", "--json"]).succeeds().stdout;
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert!(told["archives"][0]["original_size"].as_u64().unwrap() > 15_000, "{told}");
    assert_eq!(world.archives(), [today()]);
    assert_eq!(world.paths(&today()).len(), 15_001);
    create(&world, &["--if-exists", "skip"]).exits(0).says("There is an archive");
    // With room again all is as ever.
    world.run(&["create", "--if-exists", "replace"]).succeeds();
    assert_eq!(world.archives(), [today()]);
}

#[test]
fn a_quota_that_is_reached_is_named_with_all_that_makes_room() {
    let mut world = World::without_repository();
    world.set("backup_path", world.path("repository").to_str().unwrap());
    world.run(&["init", "-e", "none", "--storage-quota", "20M"]).succeeds();
    world.write_random("data/large", 40 << 20);
    world.list(&["data"]);
    world.run(&["create"]).exits(1).says("the storage quota of").says("`borg-offsite-backup compact`");
}
