//! A loop device as a guard.

use std::path::{Path, PathBuf};

use super::program::Program;

/// A loop device on a file.
pub struct Loop(PathBuf);

impl Loop {
    /// Read-only.
    pub fn attach(file: &Path) -> Self {
        let run = Program::new("losetup").args(["--read-only", "--find", "--show"]).arg(file).ok();
        Loop(run.stdout().trim_end().into())
    }

    /// The same, writable.
    pub fn writable(file: &Path) -> Self {
        let run = Program::new("losetup").args(["--find", "--show"]).arg(file).ok();
        Loop(run.stdout().trim_end().into())
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

impl Drop for Loop {
    fn drop(&mut self) {
        Program::new("losetup").arg("--detach").arg(&self.0).run();
    }
}
