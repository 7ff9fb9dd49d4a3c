//! Decides which archives are ours. `create` touches no other.

use crate::archive::identity::Identity;
use crate::archive::name::is_checkpoint;
use crate::archive::origin::Listed;
use crate::error::{Error, Result};

/// The archive with this name.
pub fn find<'a>(listed: &'a [Listed], name: &str) -> Option<&'a Listed> {
    listed.iter().find(|listed| listed.archive.name == name)
}

/// Those that we made and that are complete.
pub fn ours(identity: &Identity, listed: &[Listed]) -> Vec<Listed> {
    let is_ours = |l: &&Listed| !is_checkpoint(&l.archive.name) && identity.made(&l.origin);
    listed.iter().filter(is_ours).cloned().collect()
}

/// Checks that the existing archive `there` is ours.
///
/// # Errors
/// [`crate::error::Kind::Usage`] when it is not, with its maker and the next steps: another attempt
/// would not help.
pub fn check(identity: &Identity, there: &Listed, repository: &str) -> Result<()> {
    if identity.made(&there.origin) {
        return Ok(());
    }
    if there.origin.is_unknown() {
        let what = format!("the archive {} in {repository} cannot be read", there.archive.name);
        return Err(Error::failed(what)
            .hint("nothing was backed up, and nothing was changed: its maker is unknown")
            .hint(
                "`borg-offsite-backup check` shows what is damaged, `check --repair` repairs what it can",
            ));
    }
    let (name, maker) = (&there.archive.name, identity.describe(&there.origin));
    let error = Error::usage(format!("the archive {name} in {repository} was made by {maker}"))
        .hint("nothing was backed up, and nothing was changed")
        .hint("give each machine a repository of its own; docs/server.md shows how")
        .hint("or set `archive_suffix` in this configuration; it is appended to the names of its archives");
    Err(match there.origin.mark {
        None => error.hint("if this machine made it, list the host's name in `earlier_host_names`"),
        Some(_) => error,
    })
}
