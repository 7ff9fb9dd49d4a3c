//! Where archives have volumes: at the paths of their devices, such as `dev/zvol/tank/v`.

use borg_repository::ItemPath;

/// The directory of volumes on a machine.
pub const DEVICES: &str = "/dev/zvol";
/// The same directory in an archive.
pub const DIRECTORY: &[u8] = DEVICES.as_bytes().split_at(1).1;
/// The file in it that describes the datasets. No pool can have this name.
pub const DATASET_LIST: &str = ".borg-offsite-backup.json";

/// The path of a volume, or of something else in the directory.
pub fn path_of(name: &[u8]) -> Vec<u8> {
    [DIRECTORY, name].join(&b'/')
}

/// The name (`tank/v`) of the volume whose bytes an archive has at `path`.
pub fn name_of(path: &[u8]) -> Option<&[u8]> {
    let name = path.strip_prefix(DIRECTORY)?.strip_prefix(b"/")?;
    (!name.is_empty() && name != DATASET_LIST.as_bytes()).then_some(name)
}

/// Whether the directory `path` is that of the volumes, or inside it.
pub fn has_volumes(path: &[u8]) -> bool {
    path.strip_prefix(DIRECTORY).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

/// Whether an archive has a volume's bytes at `path`.
pub fn is_volume(path: &ItemPath) -> bool {
    name_of(path.as_bytes()).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_known_by_its_path_and_the_dataset_list_is_none() {
        assert_eq!(name_of(b"dev/zvol/tank/a b"), Some(&b"tank/a b"[..]));
        assert_eq!(path_of(b"tank/v"), b"dev/zvol/tank/v");
        for no in
            [&b"dev/zvol"[..], b"dev/zvol/", b"dev/zvols/x", b"home/x", b"dev/zvol/.borg-offsite-backup.json"]
        {
            assert_eq!(name_of(no), None, "{}", no.escape_ascii());
        }
        assert!(has_volumes(b"dev/zvol") && has_volumes(b"dev/zvol/tank") && !has_volumes(b"dev/zvolx"));
    }
}
