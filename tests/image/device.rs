//! Devices to write to, and images to write.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::common::program::Run;
use crate::common::{Flavour, Program, Random, Repository, Sandbox};

pub const DAY: &str = "2026-03-14";
pub const ARCHIVE: &str = "::2026-03-14";
/// The image's path in the archive, as a volume has it.
pub const VOLUME: &str = "dev/zvol/tank/work";
pub const MIB: usize = 1 << 20;

/// So that also a small image has many, some 128 KiB each, 512 KiB where there are only zeros.
pub const SMALL_CHUNKS: [&str; 2] = ["--chunker-params", "15,19,17,4095"];

/// A loop device that can be written, on a file.
pub struct Disk(PathBuf);

impl Disk {
    pub fn on(file: &Path) -> Self {
        let run = Program::new("losetup").args(["--find", "--show"]).arg(file).ok();
        Disk(run.stdout().trim_end().into())
    }

    /// One on a new file `name` of the sandbox with these bytes.
    pub fn with(sandbox: &Sandbox, name: &str, bytes: &[u8]) -> Self {
        std::fs::write(sandbox.path(name), bytes).unwrap();
        Disk::on(&sandbox.path(name))
    }

    pub fn device(&self) -> &Path {
        &self.0
    }

    /// What is on the device, past the page cache.
    pub fn bytes(&self) -> Vec<u8> {
        Program::new("blockdev").arg("--flushbufs").arg(&self.0).ok();
        std::fs::read(&self.0).unwrap()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        Program::new("losetup").arg("--detach").arg(&self.0).run();
    }
}

/// An image of `mib` MiB: noise, then zeros in its second quarter, then noise; `tail` bytes besides.
pub fn image(mib: usize, tail: usize) -> Vec<u8> {
    let mut bytes = Random::new(7).bytes(mib * MIB + tail);
    bytes[mib * MIB / 4..mib * MIB / 2].fill(0);
    bytes
}

/// A sandbox whose repository has `bytes` as [`VOLUME`] of the archive [`DAY`].
pub fn archived(flavour: Flavour, bytes: &[u8]) -> (Sandbox, Repository) {
    archived_as(flavour, "repokey-blake2", bytes, &SMALL_CHUNKS)
}

pub fn archived_as(
    flavour: Flavour,
    encryption: &str,
    bytes: &[u8],
    options: &[&str],
) -> (Sandbox, Repository) {
    let sandbox = Sandbox::new(flavour);
    let path = sandbox.source().join(VOLUME);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, bytes).unwrap();
    let repository = Repository::init(&sandbox, encryption);
    repository.create_with(&sandbox, DAY, options);
    (sandbox, repository)
}

/// `restore` of the volume to `target`.
pub fn restore(sandbox: &Sandbox, target: &Path, options: &[&str]) -> Program {
    let program = sandbox.offsite("restore").arg(ARCHIVE).arg("tank/work").arg("--to").arg(target);
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
