//! Other names of files, made once the files are whole.

use std::ffi::CString;
use std::io::{self, ErrorKind};

use super::file::temporary;
use super::plan::Plan;
use super::problems::pass;
use super::write::{Link, Rest};
use crate::error::Result;
use crate::process::interrupt;
use crate::tools::directory::{Directory, c_name};

/// Makes all links.
///
/// # Errors
/// When the file system fails, and on a signal.
pub fn make(plan: &Plan<'_>, rest: &Rest) -> Result<()> {
    for link in &rest.links {
        interrupt::check()?;
        let Some(master) = rest.masters.get(&link.node) else { continue };
        let linked = link_one(plan, master, link);
        match pass(&plan.problems, &link.path, 1, "link", linked)? {
            Some(true) => plan.tally.made.add(1),
            Some(false) => plan.tally.right.add(1),
            None => {}
        }
    }
    Ok(())
}

/// Whether there was anything to be done.
fn link_one(plan: &Plan<'_>, master: &[u8], link: &Link) -> io::Result<bool> {
    let (from, from_name) = place(plan, master)?;
    let (to, to_name) = place(plan, &link.path)?;
    let stat = from.stat(&from_name)?.ok_or(ErrorKind::NotFound)?;
    let identity = (stat.st_dev, stat.st_ino);
    let Some(there) = to.stat(&to_name)? else {
        from.link(&from_name, &to, &to_name)?;
        return Ok(true);
    };
    if (there.st_dev, there.st_ino) == identity {
        return Ok(false);
    }
    if !link.replaces {
        // Somebody made it after the survey.
        return Err(ErrorKind::AlreadyExists.into());
    }
    let temporary = temporary(&to_name);
    if to.stat(&temporary)?.is_some() {
        to.remove(&temporary)?;
    }
    from.link(&from_name, &to, &temporary)?;
    to.rename(&temporary, &to_name).inspect_err(|_| drop(to.remove(&temporary)))?;
    Ok(true)
}

fn place(plan: &Plan<'_>, path: &[u8]) -> io::Result<(Directory, CString)> {
    let mut names: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    let name = c_name(names.pop().unwrap_or_default())?;
    Ok((plan.root.below(names.into_iter())?, name))
}
