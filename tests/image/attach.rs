//! An image becomes a device, and its file system is mounted.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;

use serial_test::{parallel, serial};

use crate::common::schema::assert_valid;
use crate::common::{
    ARCHIVE, Mounted, Need, Program, Random, assert_same_bytes, available, binary, each_borg,
};
use crate::device::damage;
use crate::images::{KINDS, Scene, is_free, letter, write_ext4};

#[test]
#[parallel]
fn an_image_becomes_a_device_and_nothing_is_left_when_it_is_detached() {
    if !available(&[Need::Root, Need::Fuse, Need::LoopDevices]) {
        return;
    }
    each_borg(|flavour| {
        let scene = Scene::with(flavour, |tank| std::fs::write(tank.join("v"), letter()).unwrap());
        // A device has whole sectors.
        let whole = &letter()[..letter().len() / 512 * 512];
        for said in ["tank/v", "dev/zvol/tank/v", "/dev/zvol/tank/v"] {
            let device = scene.attach(said, &[]);
            assert_eq!(std::fs::read(&device).unwrap(), whole);
            assert!(
                File::options()
                    .write(true)
                    .open(&device)
                    .is_err_and(|e| e.raw_os_error() == Some(libc::EACCES))
                    || File::options().write(true).open(&device).unwrap().write_at(b"x", 0).is_err()
            );
            let [attached] = &scene.attached()[..] else { panic!("{:?}", scene.attached()) };
            assert_eq!(attached["path"], "dev/zvol/tank/v");
            assert_eq!((&attached["state"], &attached["writable"]), (&"up".into(), &false.into()));
            scene.detach(&device);
            assert!(is_free(&device));
            scene.assert_nothing_left();
        }
    });
}

#[test]
#[parallel]
fn what_was_attached_is_told_as_json_and_is_listed_as_the_same() {
    let Some(scene) = Scene::plain() else { return };
    let dir = scene.directory("inside");
    let run = scene.command("tank/v", &["--mount", dir.to_str().unwrap(), "--json"]).ok();
    let told = assert_valid("attach", &run.stdout());
    assert_eq!((&told["mounted"], &told["path"]), (&dir.to_str().into(), &"dev/zvol/tank/v".into()));
    assert_valid("attached", &scene.machine.offsite(["attached"]).arg("--json").ok().stdout());
    assert_eq!(scene.attached(), [told]);
    scene.detach(&dir);
    scene.assert_nothing_left();
}

#[test]
#[parallel]
fn file_systems_that_were_being_written_to_are_mounted_read_only() {
    for kind in KINDS {
        let Some(scene) = Scene::new(|tank| kind.write_dirty(&tank.join("v"))) else { return };
        let dir = scene.directory("inside");
        let run = scene.command("tank/v", &["--mount", dir.to_str().unwrap()]).ok();
        assert!(std::fs::read(dir.join("letter")).unwrap() == letter(), "{kind:?}");
        let options = Program::new("findmnt").args(["-n", "-o", "FSTYPE,OPTIONS"]).arg(&dir).ok().stdout();
        for option in [kind.name(), "ro,", "nosuid", "nodev", "noexec"] {
            assert!(options.contains(option), "{options}");
        }
        assert!(std::fs::write(dir.join("x"), "").is_err());
        assert_same_bytes(std::path::Path::new(run.stdout().trim()), &scene.original("tank/v"));
        scene.detach(&dir);
        scene.assert_nothing_left();
    }
}

#[test]
#[parallel]
fn the_next_step_that_is_printed_works() {
    let Some(scene) = Scene::plain() else { return };
    let run = scene.command("tank/v", &[]).ok();
    let said = run.stderr();
    let next = said.lines().find_map(|line| line.strip_prefix("Mount it:")).unwrap().trim();
    let dir = scene.directory("by hand");
    let words: Vec<_> =
        next.split(' ').map(|word| if word == "DIR" { dir.to_str().unwrap() } else { word }).collect();
    Program::new(words[0]).args(&words[1..]).ok();
    assert!(std::fs::read(dir.join("letter")).unwrap() == letter());
    // Whoever has it mounted is told how to go on.
    let refused = scene.machine.offsite(["detach"]).arg(run.stdout().trim()).run();
    assert_eq!(refused.code(), Some(75), "{refused}");
    assert!(refused.stderr().contains(&format!("umount {}", dir.display())), "{refused}");
    Program::new("umount").arg(&dir).ok();
    let end = said.lines().find_map(|line| line.strip_prefix("Detach it:")).unwrap().trim();
    let words: Vec<_> = end.split(' ').skip(1).collect();
    scene.machine.offsite(words).ok();
    scene.assert_nothing_left();
}

#[test]
// It detaches by the name of the archive, which other tests have attached, too.
#[serial]
fn a_mount_that_shows_all_of_the_archive_is_used_and_stays() {
    let Some(scene) = Scene::plain() else { return };
    let backing = |device: &std::path::Path| {
        let name = device.file_name().unwrap().to_str().unwrap();
        std::fs::read_to_string(format!("/sys/block/{name}/loop/backing_file")).unwrap()
    };
    let mounted = Mounted::new(&scene.machine, ARCHIVE, &[]);
    let device = scene.attach("tank/v", &[]);
    assert!(backing(&device).starts_with(mounted.dir().to_str().unwrap()), "{}", backing(&device));
    let refused = scene.machine.offsite(["umount"]).arg(mounted.dir()).fails();
    assert!(refused.contains(&format!("`borg-offsite-backup detach {}`", device.display())), "{refused}");
    scene.detach(ARCHIVE);
    assert!(mounted.path("dev/zvol/tank/v").exists());
    mounted.umount(&scene.machine);
    // One that shows a part is not: another file could stand under the path.
    let part = Mounted::new(&scene.machine, ARCHIVE, &["--strip-components", "0", "dev"]);
    let device = scene.attach("tank/v", &[]);
    assert!(!backing(&device).starts_with(part.dir().to_str().unwrap()), "{}", backing(&device));
    scene.detach(&device);
    part.umount(&scene.machine);
    scene.assert_nothing_left();
}

#[test]
#[parallel]
fn an_archive_that_took_the_name_of_the_mounted_one_is_not_taken_for_it() {
    let Some(scene) = Scene::new(|tank| std::fs::write(tank.join("v"), [b'a'; 8192]).unwrap()) else {
        return;
    };
    let old = Mounted::new(&scene.machine, ARCHIVE, &[]);
    scene.repository.borg(&scene.machine, "delete").arg(ARCHIVE).ok();
    std::fs::write(scene.original("tank/v"), [b'b'; 8192]).unwrap();
    scene.repository.create(&scene.machine, &ARCHIVE[2..]);
    let device = scene.attach("tank/v", &[]);
    assert_eq!(std::fs::read(&device).unwrap(), [b'b'; 8192]);
    scene.detach(&device);
    old.umount(&scene.machine);
}

#[test]
#[parallel]
fn a_partition_is_attached_and_mounted_by_its_number() {
    let Some(scene) = Scene::new(|tank| {
        let content = tempfile::tempdir().unwrap();
        std::fs::write(content.path().join("letter"), letter()).unwrap();
        write_ext4(&content.path().with_extension("fs"), content.path());
        let fs = std::fs::read(content.path().with_extension("fs")).unwrap();
        std::fs::remove_file(content.path().with_extension("fs")).unwrap();
        let disk = File::create(tank.join("disk")).unwrap();
        disk.set_len(40 << 20).unwrap();
        // 4 MiB of nothing, then the file system.
        let table = "label: gpt\nstart=2048, size=8192\nstart=16384, size=49152\n";
        let script = tank.join("table");
        std::fs::write(&script, table).unwrap();
        Program::new("sh").arg("-c").arg("sfdisk -q disk <table && rm table").current_dir(tank).ok();
        disk.write_all_at(&fs, 16384 * 512).unwrap();
    }) else {
        return;
    };
    let dir = scene.directory("inside");
    let mount = dir.to_str().unwrap();
    let device = scene.attach("tank/disk", &["--partition", "2", "--mount", mount]);
    assert!(std::fs::read(dir.join("letter")).unwrap() == letter());
    assert_eq!(
        Program::new("blockdev").arg("--getsize64").arg(&device).ok().stdout().trim(),
        (49152 * 512).to_string()
    );
    scene.detach(&device);
    let said = scene.command("tank/disk", &["--partition", "3"]).fails();
    assert!(said.contains("partition 2: 24 MiB, 8 MiB from the beginning"), "{said}");
    let said = scene.command("tank/disk", &["--mount", mount]).fails();
    assert!(
        said.contains("gpt") && said.contains("--partition N") && said.contains("partition 1: 4 MiB"),
        "{said}"
    );
    scene.assert_nothing_left();
}

#[test]
#[parallel]
fn partitions_and_sectors_are_as_they_are_asked_for() {
    let Some(scene) = Scene::new(|tank| {
        File::create(tank.join("disk")).unwrap().set_len(8 << 20).unwrap();
        Program::new("sh").arg("-c").arg("echo start=2048 | sfdisk -q disk").current_dir(tank).ok();
    }) else {
        return;
    };
    // Not every kernel knows partitions; each tells whether it was to look for them.
    let part = |device: &std::path::Path| {
        let name = device.file_name().unwrap().to_str().unwrap().to_owned();
        std::fs::read_to_string(format!("/sys/block/{name}/loop/partscan")).unwrap().trim() == "1"
    };
    let sector = |device: &std::path::Path| Program::new("blockdev").arg("--getss").arg(device).ok().stdout();
    let device = scene.attach("tank/disk", &[]);
    assert!(!part(&device) && sector(&device).trim() == "512");
    scene.detach(&device);
    let device = scene.attach("tank/disk", &["--partscan"]);
    assert!(part(&device));
    scene.detach(&device);
    let device = scene.attach("tank/disk", &["--sector-size", "4096"]);
    assert!(sector(&device).trim() == "4096");
    scene.detach(&device);
    let said = scene.command("tank/disk", &["--sector-size", "1000"]).fails();
    assert!(said.contains("512, 1024, 2048 or 4096"), "{said}");
    scene.assert_nothing_left();
}

#[test]
#[parallel]
fn what_is_no_file_system_is_named_and_never_activated() {
    let Some(scene) = Scene::new(|tank| {
        let mut luks = vec![0; 2 << 20];
        luks[..8].copy_from_slice(b"LUKS\xba\xbe\x00\x01");
        std::fs::write(tank.join("secret"), luks).unwrap();
        std::fs::write(tank.join("empty"), vec![0; 1 << 20]).unwrap();
    }) else {
        return;
    };
    let run = scene.command("tank/secret", &[]).ok();
    let device = run.stdout().trim().to_owned();
    assert!(run.stderr().contains(&format!("cryptsetup open --readonly {device}")), "{run}");
    scene.detach(&device);
    let dir = scene.directory("inside");
    let mount = ["--mount", dir.to_str().unwrap()];
    let said = scene.command("tank/secret", &mount).fails();
    assert!(said.contains("crypto_LUKS") && said.contains("cryptsetup"), "{said}");
    let said = scene.command("tank/empty", &mount).fails();
    assert!(said.contains("no file system"), "{said}");
    scene.assert_nothing_left();
}

#[test]
#[parallel]
fn what_is_not_there_is_told_with_what_is_and_no_link_leads_out_of_the_archive() {
    let Some(scene) = Scene::new(|tank| {
        std::fs::write(tank.join("one"), [1; 4096]).unwrap();
        std::fs::create_dir(tank.join("deep")).unwrap();
        std::fs::write(tank.join("deep/two"), [2; 4096]).unwrap();
        symlink("/etc/hostname", tank.join("link")).unwrap();
        symlink("/etc", tank.join("directory")).unwrap();
    }) else {
        return;
    };
    for said in ["tank/three", "tank/link", "tank/directory/hostname"] {
        let said = scene.command(said, &[]).fails();
        assert!(said.contains("there is no image") && said.contains("it has tank/deep/two"), "{said}");
        assert!(said.contains("it has tank/one"), "{said}");
    }
    let said = scene.command("tank/deep", &[]).fails();
    assert!(said.contains("is no file"), "{said}");
    let said = scene.machine.offsite(["attach"]).args(["::2026-03-15", "tank/one"]).fails();
    assert!(said.contains("there is no archive 2026-03-15") && said.contains("the nearest is"), "{said}");
    scene.assert_nothing_left();
}

#[test]
#[parallel]
fn who_is_not_root_is_told_that_root_is_needed() {
    let Some(scene) = Scene::plain() else { return };
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(scene.machine.path(""), PermissionsExt::from_mode(0o755)).unwrap();
    // Wherever it was built, nobody may run it.
    let program = scene.machine.path("offsite");
    std::fs::copy(binary(), &program).unwrap();
    let run = scene.machine.program("setpriv").args(["--reuid", "65534", "--clear-groups"]).arg(program);
    let run = run.arg("--config").arg(scene.machine.config()).args(["attach", ARCHIVE, "tank/v"]).run();
    assert_eq!(run.code(), Some(2), "{run}");
    assert!(run.stderr().contains("only root"), "{run}");
}

#[test]
#[parallel]
fn what_nobody_could_be_told_of_is_taken_down_again() {
    let Some(scene) = Scene::plain() else { return };
    let command = format!(
        "exec {:?} --config {:?} attach {} tank/v >/dev/full",
        binary(),
        scene.machine.config(),
        ARCHIVE
    );
    let run = scene.machine.program("sh").args(["-c", &command]).run();
    assert_eq!(run.code(), Some(1), "{run}");
    assert!(run.stderr().contains("nothing is attached"), "{run}");
    scene.assert_nothing_left();
}

#[test]
#[parallel]
fn what_is_no_place_is_no_attachment() {
    let Some(scene) = Scene::plain() else { return };
    let run = scene.machine.offsite(["detach"]).arg("/no/such/x").run();
    assert_eq!(run.code(), Some(1), "{run}");
    assert!(run.stderr().contains("/no/such/x is no attachment of ours"), "{run}");
    assert!(!run.stderr().contains("mount point") && !run.stderr().contains("mkdir"), "{run}");
}

#[test]
#[parallel]
fn the_manifest_of_the_datasets_is_no_volume() {
    let Some(scene) = Scene::new(|tank| {
        std::fs::write(tank.join("v"), vec![1; 1 << 20]).unwrap();
        std::fs::write(tank.parent().unwrap().join(".borg-offsite-backup.json"), "{}").unwrap();
        let home = tank.ancestors().nth(3).unwrap().join("home");
        std::fs::create_dir(&home).unwrap();
        std::fs::write(home.join("f"), "f").unwrap();
    }) else {
        return;
    };
    let said = scene.command("tank/none", &[]).fails();
    assert!(said.contains("it has tank/v") && !said.contains(".json"), "{said}");
    let run = scene.machine.offsite(["mount"]).arg(ARCHIVE).arg(scene.machine.mount_point()).ok();
    scene.machine.offsite(["umount"]).arg(scene.machine.mount_point()).ok();
    assert!(run.stderr().contains("dev/zvol/tank/v ") && !run.stderr().contains(".json"), "{run}");
    // What is not shown is not offered either.
    let dir = scene.machine.mount_point();
    let run = scene.machine.offsite(["mount"]).arg(ARCHIVE).arg(&dir).arg("home").ok();
    scene.machine.offsite(["umount"]).arg(&dir).ok();
    assert!(run.stderr().contains("is at") && !run.stderr().contains("Volumes:"), "{run}");
}

#[test]
#[parallel]
fn an_image_that_borgs_repair_filled_with_zeros_is_refused_with_the_reason() {
    let Some(scene) = Scene::plain() else { return };
    crate::device::damage(&scene.repository);
    let repair = scene.repository.borg(&scene.machine, "check --repair");
    repair.env("BORG_CHECK_I_KNOW_WHAT_I_AM_DOING", "YES").run();
    let said = scene.command("tank/v", &[]).fails();
    assert!(said.contains("`borg check --repair` put zeros") && said.contains("verify"), "{said}");
    scene.assert_nothing_left();
}

/// What 4 KiB at each place of a device are: `None` where reading fails.
fn blocks(device: &Path) -> Vec<Option<Vec<u8>>> {
    let file = File::open(device).unwrap();
    let size = (&file).seek(SeekFrom::End(0)).unwrap();
    let block = |at: u64| {
        let mut bytes = vec![0; 4096];
        file.read_exact_at(&mut bytes, at * 4096).ok().map(|()| bytes)
    };
    (0..size / 4096).map(block).collect()
}

#[test]
#[parallel]
fn a_damaged_image_is_attached_with_errors_or_zeros_in_the_place_of_what_is_lost() {
    const CHUNK: usize = 4 << 20;
    let bytes = Random::new(8).bytes(6 * CHUNK);
    let Some(scene) = Scene::new(|tank| std::fs::write(tank.join("v"), &bytes).unwrap()) else { return };
    damage(&scene.repository);
    let mut zeroed = bytes.clone();
    let mut lost = None;
    let mut check = |option: &str| {
        let device = scene.attach("tank/v", &[option]);
        let blocks = blocks(&device);
        scene.detach(&device);
        let at =
            blocks.iter().zip(bytes.chunks(4096)).position(|(block, whole)| block.as_deref() != Some(whole));
        let chunk = at.unwrap_or_else(|| panic!("{option}: nothing is lost")) * 4096 / CHUNK;
        assert_eq!(*lost.get_or_insert(chunk), chunk, "{option}");
        zeroed[chunk * CHUNK..(chunk + 1) * CHUNK].fill(0);
        for (n, block) in blocks.iter().enumerate() {
            let expected = (option == "--salvage=zeros" || n * 4096 / CHUNK != chunk)
                .then(|| &zeroed[n * 4096..(n + 1) * 4096]);
            assert!(block.as_deref() == expected, "{option}: block {n}");
        }
    };
    check("--salvage=zeros");
    check("--salvage");
    // After borg's own repair the same is lost, and without the option the image stays closed.
    let repair = scene.repository.borg(&scene.machine, "check --repair");
    repair.env("BORG_CHECK_I_KNOW_WHAT_I_AM_DOING", "YES").run();
    let refused = scene.command("tank/v", &[]).fails();
    assert!(refused.contains("--salvage"), "{refused}");
    check("--salvage=eio");
    check("--salvage=zeros");
    // Nobody who did not ask for zeros gets them from the mount of somebody who did.
    let device = scene.attach("tank/v", &["--salvage=zeros"]);
    scene.command("tank/v", &[]).fails();
    scene.detach(&device);
    scene.assert_nothing_left();
}
