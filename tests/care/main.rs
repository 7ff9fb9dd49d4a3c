//! What stands around a backup that nobody looks at: contrib/monitoring, contrib/notices and
//! contrib/systemd, each tried.
#![allow(clippy::disallowed_methods)]

#[path = "../common/promtool.rs"]
mod promtool;
#[path = "../common/schema.rs"]
mod schema;
#[path = "../common/terminal.rs"]
mod terminal;
#[allow(dead_code)]
#[path = "../backup/world.rs"]
mod world;

mod completions;
mod docs;
mod json;
mod machine;
mod monitoring;
mod notices;
mod pages;
mod passphrase;
mod systemd;

use std::path::PathBuf;

fn contrib(relative: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/contrib")).join(relative)
}
