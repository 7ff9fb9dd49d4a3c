//! The archives that the repository had before a run.

use super::planned::Planned;
use super::whose;
use crate::archive::origin::Listed;
use crate::error::Result;

pub struct Existing {
    pub listed: Vec<Listed>,
    /// Today's archive, which is ours.
    pub today: Option<Listed>,
}

impl Existing {
    /// Lists them. `today` is the name of the new archive.
    ///
    /// # Errors
    /// The failure of borg, explained.
    pub fn list(planned: &Planned<'_>, today: &str) -> Result<Existing> {
        let listed = planned.job.retry(|| planned.borg.listed(planned.job.options.lock_wait))?;
        let today = whose::find(&listed, today).cloned();
        Ok(Existing { listed, today })
    }

    pub fn find(&self, name: &str) -> Option<&Listed> {
        whose::find(&self.listed, name)
    }

    /// The first of these names, counted from 1, that no archive has.
    pub fn free(&self, name: impl Fn(usize) -> String) -> String {
        (1..).map(name).find(|name| self.find(name).is_none()).unwrap_or_default()
    }

    /// Removes the archives that this run deleted from the list.
    pub fn forget(&mut self, deleted: &[String]) {
        self.listed.retain(|listed| !deleted.contains(&listed.archive.name));
    }
}
