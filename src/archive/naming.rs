//! How a person names a volume: by its path as `list` prints it, or only by its name.

use borg_repository::ItemPath;

use super::volumes;
use crate::error::{Error, Result};

/// The paths that `wanted` may stand for, the most likely first: the path as it is written (a
/// leading `/` is ignored), and the path of the volume with this name (`tank/qubes/work/private`).
///
/// # Errors
/// When `wanted` is empty, or is not a path that an archive can hold.
pub fn candidates(wanted: &[u8]) -> Result<[ItemPath; 2]> {
    let label = wanted.escape_ascii();
    let path = |bytes: &[u8]| {
        ItemPath::new(bytes)
            .filter(|path| !path.is_root())
            .ok_or_else(|| Error::usage(format!("`{label}` is no path that an archive can hold")))
    };
    let listed = path(wanted)?;
    let volume = path(&volumes::path_of(listed.as_bytes()))?;
    Ok([listed, volume])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_named_by_its_path_or_by_its_name() {
        let paths = |text: &str| candidates(text.as_bytes()).unwrap().map(|path| path.to_string());
        assert_eq!(paths("tank/v"), ["tank/v", "dev/zvol/tank/v"]);
        assert_eq!(paths("/dev/zvol/tank/v")[0], "dev/zvol/tank/v");
        for no in ["", "/", "a/../b"] {
            assert!(candidates(no.as_bytes()).is_err(), "{no}");
        }
    }
}
