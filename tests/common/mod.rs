//! What the test targets share: a machine for each test, and guards around programs, repositories,
//! mounts, loop devices and a real sshd. Each cleans up when it is dropped.

// Every target uses a part of this.
#![allow(dead_code, unused_imports)]

pub mod compare;
pub mod fake;
pub mod lab;
pub mod loopdev;
pub mod machine;
pub mod mounted;
pub mod needs;
pub mod own_mounts;
pub mod program;
pub mod promtool;
pub mod random;
pub mod repository;
pub mod run;
pub mod schema;
pub mod sshd;
pub mod started;
pub mod terminal;
pub mod tree;
pub mod wait;
pub mod xattr;

pub use compare::{assert_same_bytes, assert_same_trees};
pub use fake::FakeBorg;
pub use loopdev::Loop;
pub use machine::{Machine, STAGING, binary, today, write_script};
pub use mounted::{Mounted, SOURCES, each_way};
pub use needs::{Need, available};
pub use own_mounts::{bind, is_mounted, mounts, tmpfs, with_own_mounts};
pub use program::Program;
pub use random::Random;
pub use repository::{ARCHIVE, DAY, Flavour, Repository, each_borg};
pub use run::Run;
pub use sshd::Sshd;
pub use started::Started;
pub use terminal::Terminal;
pub use tree::NastyTree;
pub use wait::{SOON, wait_until};
