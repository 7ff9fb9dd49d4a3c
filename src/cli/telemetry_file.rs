//! Writes to the target of `--telemetry-file`.

use std::path::Path;

use super::console;
use crate::backup::Telemetry;
use crate::error::Result;

/// Writes the metrics to `target`, or to standard output for `-`.
///
/// # Errors
/// When they cannot be written.
pub fn write(telemetry: &Telemetry, target: &Path) -> Result<()> {
    if target == Path::new("-") || target == Path::new("/dev/stdout") {
        return console::print(telemetry.text().trim_end());
    }
    telemetry.write(target)
}
