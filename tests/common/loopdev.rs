//! A loop device as a guard.

use std::path::{Path, PathBuf};

use super::program::Program;

/// A loop device on a file, and the mount of it if there is one.
pub struct Loop {
    device: PathBuf,
    mounted: Option<PathBuf>,
}

impl Loop {
    /// Read-only.
    pub fn attach(file: &Path) -> Self {
        let run = Program::new("losetup").args(["--read-only", "--find", "--show"]).arg(file).ok();
        Loop { device: run.stdout().trim_end().into(), mounted: None }
    }

    /// The same, writable.
    pub fn writable(file: &Path) -> Self {
        let run = Program::new("losetup").args(["--find", "--show"]).arg(file).ok();
        Loop { device: run.stdout().trim_end().into(), mounted: None }
    }

    pub fn device(&self) -> &Path {
        &self.device
    }

    /// Mounts the ext4 on it, without replaying its journal.
    pub fn mount(&mut self, dir: &Path) {
        Program::new("mount").args(["-t", "ext4", "-o", "ro,noload"]).arg(&self.device).arg(dir).ok();
        self.mounted = Some(dir.to_owned());
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        if let Some(dir) = &self.mounted {
            Program::new("umount").arg(dir).run();
        }
        Program::new("losetup").arg("--detach").arg(&self.device).run();
    }
}
