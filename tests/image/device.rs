//! Devices to write to, and images to write.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::common::{ARCHIVE, DAY, Flavour, Loop, Machine, Program, Random, Repository, Run};

/// The image's path in the archive, as a volume has it.
pub const VOLUME: &str = "dev/zvol/tank/work";
pub const MIB: usize = 1 << 20;

/// So that also a small image has many, some 128 KiB each, 512 KiB where there are only zeros.
pub const SMALL_CHUNKS: [&str; 2] = ["--chunker-params", "15,19,17,4095"];

/// A writable device on a new file `name` of the machine with these bytes.
pub fn new_disk(machine: &Machine, name: &str, bytes: &[u8]) -> Loop {
    machine.write(name, bytes);
    Loop::writable(&machine.path(name))
}

/// An image of `mib` MiB: noise, then zeros in its second quarter, then noise; `tail` bytes besides.
pub fn image(mib: usize, tail: usize) -> Vec<u8> {
    let mut bytes = Random::new(7).bytes(mib * MIB + tail);
    bytes[mib * MIB / 4..mib * MIB / 2].fill(0);
    bytes
}

/// A machine whose repository has `bytes` as [`VOLUME`] of the archive [`DAY`].
pub fn archived(flavour: Flavour, bytes: &[u8]) -> (Machine, Repository) {
    archived_as(flavour, "repokey-blake2", bytes, &SMALL_CHUNKS)
}

pub fn archived_as(
    flavour: Flavour,
    encryption: &str,
    bytes: &[u8],
    options: &[&str],
) -> (Machine, Repository) {
    let machine = Machine::new(flavour);
    let path = machine.source().join(VOLUME);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, bytes).unwrap();
    let repository = Repository::init(&machine, encryption);
    repository.create_with(&machine, DAY, options);
    (machine, repository)
}

/// `restore` of the volume to `target`.
pub fn restore(machine: &Machine, target: &Path, options: &[&str]) -> Program {
    let program = machine.offsite(["restore"]).arg(ARCHIVE).arg("tank/work").arg("--to").arg(target);
    program.args(["--json", "--yes"]).args(options)
}

/// What a run told on standard output, as JSON.
pub fn told(run: &Run) -> serde_json::Value {
    serde_json::from_str(&run.stdout()).unwrap_or_else(|e| panic!("{e}: {run}"))
}

/// A number of what a run told.
#[track_caller]
pub fn number(told: &serde_json::Value, name: &str) -> u64 {
    told[name].as_u64().unwrap_or_else(|| panic!("no {name} in {told}"))
}

/// Flips a bit of a file, or device, in place.
pub fn flip(path: &Path, at: u64) {
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    file.sync_all().unwrap();
}

/// The segment of the repository that has most of its data.
pub fn largest_segment(repository: &Repository) -> PathBuf {
    let segments = std::fs::read_dir(repository.dir().join("data/0")).unwrap().map(|e| e.unwrap().path());
    segments.max_by_key(|path| path.metadata().unwrap().len()).unwrap()
}

/// Flips a bit in the middle of the repository's data.
pub fn damage(repository: &Repository) {
    let segment = largest_segment(repository);
    flip(&segment, segment.metadata().unwrap().len() / 2);
}
