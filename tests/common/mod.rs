//! What the test targets share: guards around temporary directories, repositories, mounts, loop
//! devices and a real sshd. Each cleans up when it is dropped.

// Every target uses a part of this.
#![allow(dead_code, unused_imports)]

pub mod compare;
pub mod fake;
pub mod loopdev;
pub mod mounted;
pub mod needs;
pub mod own_mounts;
pub mod program;
pub mod pty;
pub mod random;
pub mod repository;
pub mod sandbox;
pub mod schema;
pub mod sshd;
pub mod tree;
pub mod xattr;

pub use compare::{assert_same_bytes, assert_same_trees};
pub use fake::FakeBorg;
pub use loopdev::Loop;
pub use mounted::{Mounted, SOURCES, each_way};
pub use needs::{Need, available};
pub use own_mounts::with_own_mounts;
pub use program::Program;
pub use pty::Terminal;
pub use random::Random;
pub use repository::{Flavour, Repository, each_borg};
pub use sandbox::{Sandbox, binary};
pub use sshd::Sshd;
pub use tree::NastyTree;
