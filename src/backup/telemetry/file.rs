//! The file that the textfile collector reads.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The directory in the packages of Debian and Fedora, and in the documentation of the collector.
const COLLECTORS: [&str; 3] = [
    "/var/lib/prometheus/node-exporter",
    "/var/lib/node_exporter/textfile_collector",
    "/var/lib/node_exporter",
];

/// The file is replaced atomically.
pub fn write(target: &Path, text: &str) -> Result<()> {
    let target = place(target)?;
    let to_error =
        |e: io::Error| Error::failed(format!("cannot write telemetry to {}", target.display())).because(e);
    if fs::metadata(&target).is_ok_and(|m| !m.is_file()) {
        return Err(to_error(io::Error::other("it is no file")));
    }
    let parent = target.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // The collector reads only files that end with .prom.
    let mut new =
        tempfile::Builder::new().prefix(".").suffix(".new").tempfile_in(parent).map_err(to_error)?;
    new.write_all(text.as_bytes()).map_err(to_error)?;
    new.as_file().set_permissions(fs::Permissions::from_mode(0o644)).map_err(to_error)?;
    new.as_file().sync_all().map_err(to_error)?;
    new.persist(&target).map_err(|e| to_error(e.error)).map(drop)
}

fn place(target: &Path) -> Result<PathBuf> {
    if target.components().count() != 1 || target.is_absolute() {
        return Ok(target.to_owned());
    }
    let found = COLLECTORS.iter().map(Path::new).find(|dir| dir.is_dir());
    found.map(|dir| dir.join(target)).ok_or_else(|| {
        Error::failed(format!("cannot write telemetry to {}", target.display()))
            .because(format!("there is no {}", COLLECTORS.join(", nor ")))
            .hint("install the node exporter (Debian: apt install prometheus-node-exporter)")
            .hint("or name the file with its directory: --telemetry-file /var/lib/…/backup.prom")
    })
}
