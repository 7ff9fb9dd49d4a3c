//! A system for scripts to run in: a container or a virtual machine that `scripts/NAME-lab` makes.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use super::machine::binary;
use super::needs::{Need, available, left_out};
use super::program::Program;

/// More than the making of a lab takes, or its start and end around a script.
const PATIENCE: Duration = Duration::from_secs(3600);

pub struct Lab {
    pub name: &'static str,
    pub needs: &'static [Need],
    /// How many seconds a script may take.
    pub limit: u32,
}

impl Lab {
    /// Whether it is there; it is made where it is not.
    pub fn is_there(&self) -> bool {
        static WHY_NOT: OnceLock<Option<String>> = OnceLock::new();
        if !available(self.needs) {
            return false;
        }
        let why_not = WHY_NOT.get_or_init(|| {
            let run = self.program("setup.sh").run();
            let why = format!("the {} lab could not be made: {}", self.name, run.stderr());
            (run.code() != Some(0)).then_some(why)
        });
        if let Some(why) = why_not {
            left_out(why);
        }
        why_not.is_none()
    }

    /// Runs `script` of `tests/NAME` in it, beside the program, `lib.sh` and `files`.
    #[track_caller]
    pub fn run(&self, script: &str, files: &[&Path]) {
        let tests = project("tests").join(self.name);
        let mut lab = self.program("run.sh").args(["-t", &self.limit.to_string()]);
        for file in [binary(), &tests.join("lib.sh")].iter().chain(files) {
            lab = lab.arg("-i").arg(file);
        }
        println!("{}", lab.arg(tests.join(script)).ok().stdout());
    }

    fn program(&self, name: &str) -> Program {
        Program::new(project("scripts").join(format!("{}-lab", self.name)).join(name)).within(PATIENCE)
    }
}

pub fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
