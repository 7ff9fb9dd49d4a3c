//! A table of facts, sorted by hash and cut into pages, of which a look-up reads one.

use std::ops::ControlFlow;

use zerocopy::IntoBytes;

use super::pages::{BlobWriter, Page, PageSet};
use super::path_hash::PathHash;
use super::records::{Fact, records};
use crate::error::Result;

/// The number of facts in a page: some 4 KiB.
const PER_PAGE: usize = 128;

/// Where a table is, and half of the first hash of each page.
#[derive(Default)]
pub struct Table {
    pub firsts: Vec<u64>,
    /// The number of its first blob.
    pub blob: u32,
}

/// A page of a table.
pub struct Facts(Vec<Fact>);

impl Page for Facts {
    fn parse(bytes: &[u8]) -> Option<Self> {
        records(bytes).map(Facts)
    }

    fn bytes(&self) -> usize {
        self.0.len() * size_of::<Fact>()
    }
}

impl Table {
    /// Sorts and writes `facts`.
    ///
    /// # Errors
    /// Those of `writer`.
    pub fn write(facts: &mut [Fact], writer: &mut dyn BlobWriter) -> Result<Self> {
        facts.sort_unstable_by_key(Fact::key);
        let mut table = Table { firsts: Vec::new(), blob: writer.next() };
        for page in facts.chunks(PER_PAGE) {
            table.firsts.push(page[0].hash.first());
            writer.write(page.as_bytes())?;
        }
        Ok(table)
    }

    /// Passes the facts with this hash to `each`, in their order, until it breaks.
    ///
    /// # Errors
    /// When a page cannot be read.
    pub fn find(
        &self,
        pages: &PageSet,
        hash: PathHash,
        each: &mut dyn FnMut(&Fact) -> ControlFlow<()>,
    ) -> Result<()> {
        // The facts may begin at the end of the page before the first one that begins with the hash.
        let first = self.firsts.partition_point(|first| *first < hash.first()).saturating_sub(1);
        for page in first..self.firsts.len() {
            if self.firsts[page] > hash.first() {
                break;
            }
            let facts = pages.page::<Facts>(self.blob + page as u32)?;
            let start = facts.0.partition_point(|fact| fact.hash < hash);
            for fact in facts.0[start..].iter().take_while(|fact| fact.hash == hash) {
                if each(fact).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// All facts with this hash.
    ///
    /// # Errors
    /// When a page cannot be read.
    pub fn facts(&self, pages: &PageSet, hash: PathHash) -> Result<Vec<Fact>> {
        let mut facts = Vec::new();
        self.find(pages, hash, &mut |fact| {
            facts.push(*fact);
            ControlFlow::Continue(())
        })?;
        Ok(facts)
    }

    /// Passes all facts to `each`.
    ///
    /// # Errors
    /// When a page cannot be read, and those of `each`.
    pub fn all(&self, pages: &PageSet, each: &mut dyn FnMut(&Fact) -> Result<()>) -> Result<()> {
        for page in 0..self.firsts.len() {
            pages.page::<Facts>(self.blob + page as u32)?.0.iter().try_for_each(&mut *each)?;
        }
        Ok(())
    }
}
