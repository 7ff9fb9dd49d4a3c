//! The end of a restore: what killed ones left is removed, and directories get their attributes, the lowest first.

use std::os::fd::AsFd;

use rustix::fs::FileType;

use super::file::{is_temporary, is_unfinished};
use super::parent::join;
use super::plan::Plan;
use super::scope::Scope;
use super::survey::{DEEPEST, Survey};
use super::write::Rest;
use crate::archive::tree::{Body, NodeId, Tree};
use crate::error::Result;
use crate::process::interrupt;
use crate::tools::directory::{Directory, c_name, is_locked_by_us};
use crate::tools::inode::Inode;

/// What a restore needs at its end.
pub struct Finish<'f> {
    pub plan: &'f Plan<'f>,
    pub survey: &'f Survey,
    pub rest: &'f Rest,
}

impl Finish<'_> {
    /// # Errors
    /// On a signal.
    pub fn run(&self) -> Result<()> {
        let plan = self.plan;
        let Ok(root) = plan.root.below(std::iter::empty()) else { return Ok(()) };
        self.directory(&root, Tree::ROOT, b"", &plan.scope, 0)?;
        let is_listed = plan.tree().node(Tree::ROOT)?.is_some_and(|root| {
            let made = plan.archived.archive.start_ns();
            !root.meta.made_up && (root.meta.mtime, root.meta.atime, root.meta.ctime) != (made, made, made)
        });
        if plan.scope.is_all() && is_listed {
            self.give(&root, Tree::ROOT, b".")?;
        }
        Ok(())
    }

    fn directory(
        &self,
        directory: &Directory,
        node: NodeId,
        path: &[u8],
        scope: &Scope,
        depth: usize,
    ) -> Result<()> {
        let plan = self.plan;
        if self.survey.knows(node) {
            self.remove_abandoned(directory, node)?;
        }
        for child in scope.children(plan.tree(), node)? {
            interrupt::check()?;
            let Some(found) = plan.tree().node(child.node)? else { continue };
            let (Body::Directory, Ok(name)) = (found.body, c_name(&child.name)) else { continue };
            let is_directory =
                |stat: rustix::fs::Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            if depth >= DEEPEST || !directory.stat(&name).ok().flatten().is_some_and(is_directory) {
                continue;
            }
            let path = join(path, &child.name);
            let Ok(mut below) = directory.child(&name) else { continue };
            self.directory(&below, child.node, &path, child.scope, depth + 1)?;
            let is_ours = child.scope.is_all() || self.rest.made.contains(&child.node);
            if is_ours {
                below.keep_mode();
                self.give(&below, child.node, &path)?;
            }
        }
        Ok(())
    }

    /// Removes what a killed restore has begun beside other files.
    fn remove_abandoned(&self, directory: &Directory, node: NodeId) -> Result<()> {
        for name in directory.names().unwrap_or_default() {
            if !is_temporary(name.to_bytes()) || self.plan.tree().child(node, name.to_bytes())?.is_some() {
                continue;
            }
            let Ok(Some(stat)) = directory.stat(&name) else { continue };
            let is_abandoned = match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile if is_unfinished(&stat) => {
                    directory.open_to_write(&name).is_ok_and(|file| is_locked_by_us(&file))
                }
                // A link to a file that has its own name, too.
                FileType::RegularFile => stat.st_nlink > 1,
                kind => kind != FileType::Directory,
            };
            if is_abandoned {
                let _ = directory.remove(&name);
            }
        }
        Ok(())
    }

    fn give(&self, directory: &Directory, node: NodeId, path: &[u8]) -> Result<()> {
        let Some(attributes) = self.plan.attributes(node)? else { return Ok(()) };
        let inode = Inode::Open(directory.as_fd());
        let is_made_up = self.plan.tree().node(node)?.is_some_and(|node| node.meta.made_up);
        if is_made_up {
            // The archive says nothing of it; it was made for its owner alone.
            if self.rest.made.contains(&node) {
                let _ = inode.set_mode(0o755);
            }
            return Ok(());
        }
        if inode.stat().is_ok_and(|stat| !attributes.differ_from(inode, &stat).unwrap_or(true)) {
            return Ok(());
        }
        for (what, e) in attributes.give_to(inode) {
            self.plan.problems.incomplete(path, format!("cannot give it its {what}: {e}"));
        }
        Ok(())
    }
}
