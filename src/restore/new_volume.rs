//! A volume that is made to be restored to.

use std::path::{Path, PathBuf};

use crate::archive::datasets::Described;
use crate::archive::volumes;
use crate::error::{Error, Kind, Result};
use crate::tools::zfs;

/// A new volume. Dropped, it is destroyed: it is [kept](NewVolume::keep) as soon as something is
/// written to it.
pub struct NewVolume {
    name: String,
    device: PathBuf,
    kept: bool,
}

impl NewVolume {
    /// Makes the volume that `target` names, by its device or as ZFS does (`tank/v`), like the one
    /// that was archived: with its size, block size and compression. It takes space only for what is
    /// written.
    ///
    /// # Errors
    /// When there is something of this name, one of its parents is missing, or ZFS refuses.
    pub fn make(target: &Path, archived: &Described) -> Result<NewVolume> {
        let name = name(target)?;
        if zfs::exists(&name)? {
            return Err(Error::usage(format!("cannot make the volume {name}: it exists already"))
                .hint("without `--create` it is restored to: what differs in it is overwritten"));
        }
        if let Some(missing) = missing_parent(&name, zfs::exists)? {
            return Err(no_parent(&name, missing));
        }
        let (Some(size), Some(block_size)) = (archived.volsize, archived.volblocksize) else {
            return Err(Error::failed(format!("the archive does not say how large {} was", archived.name)));
        };
        zfs::create_volume(&name, size, block_size, &archived.compression)?;
        let mut made = NewVolume { name, device: PathBuf::new(), kept: false };
        made.device = zfs::wait_for_device(&made.name)?;
        Ok(made)
    }

    /// Where the kernel shows it.
    pub fn device(&self) -> &Path {
        &self.device
    }

    /// From here on it stays, whatever happens.
    pub fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for NewVolume {
    fn drop(&mut self) {
        if !self.kept
            && let Err(e) = zfs::destroy(&self.name)
        {
            tracing::warn!("{}", e.chain());
        }
    }
}

/// The volume that `target` names: `tank/v`, or its device `/dev/zvol/tank/v`.
fn name(target: &Path) -> Result<String> {
    let name = target.strip_prefix(volumes::DEVICES).unwrap_or(target).to_str();
    let is_name = |name: &&str| {
        let parts = || name.split('/');
        parts().count() > 1
            && !name.starts_with('-')
            && !name.contains(['@', '#'])
            && parts().all(|p| !p.is_empty())
    };
    name.filter(is_name).map(str::to_owned).ok_or_else(|| {
        Error::usage(format!("{} names no volume that could be made", target.display()))
            .hint("with `--create` the target is the name of a volume of ZFS, such as tank/restored")
    })
}

/// The first of the file systems above `name` that does not exist.
fn missing_parent(name: &str, exists: impl Fn(&str) -> Result<bool>) -> Result<Option<&str>> {
    for (end, _) in name.match_indices('/') {
        if !exists(&name[..end])? {
            return Ok(Some(&name[..end]));
        }
    }
    Ok(None)
}

fn no_parent(name: &str, missing: &str) -> Error {
    let error = |what: &str| {
        Error::new(Kind::NotFound, format!("cannot make the volume {name}: there is no {what} {missing}"))
    };
    match missing.contains('/') {
        true => error("file system").hint(format!("make it with `zfs create -p {missing}`")),
        false => error("pool").hint("`zpool import` shows which pools could be had"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_named_as_zfs_names_it_or_by_its_device() {
        let said = |text: &str| name(Path::new(text)).ok();
        assert_eq!(said("tank/a b/v").as_deref(), Some("tank/a b/v"));
        assert_eq!(said("/dev/zvol/tank/v").as_deref(), Some("tank/v"));
        for no in ["tank", "/dev/sda", "-o/x", "tank/v@x", "tank//v", "tank/", ""] {
            assert_eq!(said(no), None, "{no}");
        }
    }

    #[test]
    fn the_missing_parent_is_the_uppermost_one() {
        let exists = |name: &str| Ok(["tank", "tank/a"].contains(&name));
        assert_eq!(missing_parent("tank/a/v", exists).unwrap(), None);
        assert_eq!(missing_parent("tank/a/b/c/v", exists).unwrap(), Some("tank/a/b"));
        assert_eq!(missing_parent("other/v", exists).unwrap(), Some("other"));
    }
}
