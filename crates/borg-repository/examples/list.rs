//! Lists the archives of a local repository, or the items of one archive:
//!
//! `BORG_PASSPHRASE=… cargo run --example list -- REPOSITORY [ARCHIVE]`

mod common;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;

use common::Result;

pub fn run(arguments: &[OsString], passphrase: &[u8], out: &mut dyn Write) -> Result {
    let (dir, name) = match arguments {
        [dir] => (dir, None),
        [dir, name] => (dir, Some(name)),
        _ => return Err("usage: list REPOSITORY [ARCHIVE]".into()),
    };
    let repository = common::open(Path::new(dir), passphrase)?;
    let Some(name) = name else {
        for entry in &repository.manifest().archives {
            // Nobody has checked the name for what a terminal would do with it.
            writeln!(out, "{}", String::from_utf8_lossy(&entry.name).escape_debug())?;
        }
        return Ok(());
    };
    let archive = common::archive(&repository, name)?;
    let mut written = Ok(());
    repository.items(
        &archive,
        || Ok(()),
        |item, _| {
            if written.is_ok() {
                written = writeln!(out, "{} {}", item.size, item.path);
            }
        },
    )?;
    Ok(written?)
}

#[allow(dead_code)]
fn main() -> Result {
    common::main(run)
}
