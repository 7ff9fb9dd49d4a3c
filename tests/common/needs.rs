//! What a test needs of the machine. Where it is not there the test is left out and says so; in
//! CI that is a failure, so that nothing is left out unseen.

use std::path::Path;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    Root,
    Fuse,
    LoopDevices,
    Sshd,
}

impl Need {
    fn missing(self) -> Option<&'static str> {
        let (there, otherwise) = match self {
            Need::Root => (is_root(), "it must be run by root"),
            Need::Fuse => {
                let device = std::fs::File::options().read(true).write(true).open("/dev/fuse");
                (device.is_ok(), "/dev/fuse cannot be opened")
            }
            Need::LoopDevices => {
                let control = std::fs::File::options().read(true).write(true).open("/dev/loop-control");
                (is_root() && control.is_ok(), "loop devices need root and /dev/loop-control")
            }
            Need::Sshd => (Path::new("/usr/sbin/sshd").exists(), "there is no /usr/sbin/sshd"),
        };
        (!there).then_some(otherwise)
    }
}

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Whether everything in `needs` is there. Says what is not.
pub fn available(needs: &[Need]) -> bool {
    match needs.iter().find_map(|need| need.missing()) {
        None => true,
        Some(why) => {
            left_out(why);
            false
        }
    }
}

/// Says why a test is left out.
///
/// # Panics
/// In CI.
pub fn left_out(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "this check cannot run: {why}");
    eprintln!("left out: {why}");
}
