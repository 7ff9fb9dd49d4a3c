//! Deletes what the archive does not have, once everything else is written.

use super::deletions::Deletion;
use super::plan::Plan;
use super::problems::is_of_entry;
use crate::error::{Error, Result};
use crate::process::interrupt;
use crate::tools::directory::c_name;

/// Deletes what was found, and is still what it was.
///
/// # Errors
/// When the file system fails, and on a signal.
pub fn delete(plan: &Plan<'_>, deletions: &[Deletion]) -> Result<()> {
    for deletion in deletions {
        interrupt::check()?;
        let deleted = delete_one(plan, deletion);
        match deleted {
            Ok(true) => plan.tally.deleted.add(1),
            Ok(false) => {}
            Err(e) if is_of_entry(&e) => {
                plan.problems.incomplete(&deletion.path, format!("cannot delete it: {e}"));
            }
            Err(e) => {
                return Err(Error::failed("cannot delete what the archive lacks").because(e));
            }
        }
    }
    Ok(())
}

fn delete_one(plan: &Plan<'_>, deletion: &Deletion) -> std::io::Result<bool> {
    let mut names: Vec<&[u8]> = deletion.path.split(|byte| *byte == b'/').collect();
    let name = c_name(names.pop().unwrap_or_default())?;
    let parent = plan.root.below(names.into_iter())?;
    match parent.stat(&name)? {
        Some(stat) if (stat.st_dev, stat.st_ino) == (deletion.device, deletion.inode) => {}
        _ => return Ok(false),
    }
    match deletion.is_directory {
        true => parent.remove_directory(&name)?,
        false => parent.remove(&name)?,
    }
    Ok(true)
}
