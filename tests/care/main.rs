//! What stands around a backup that nobody looks at: contrib/monitoring, contrib/notices and
//! contrib/systemd, each tried.

#[path = "../common/mod.rs"]
mod common;

mod completions;
mod docs;
mod installed;
mod json;
mod monitoring;
mod notices;
mod pages;
mod passphrase;
mod systemd;

use std::path::PathBuf;

fn contrib(relative: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/contrib")).join(relative)
}
