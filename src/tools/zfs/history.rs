//! Reads the log of a pool, to find out whether a volume got other blocks than those that were
//! written to it.
//!
//! `zfs receive -F` and a rollback put other blocks into a volume, which keeps its guid, its
//! createtxg and its bookmarks. Blocks that fell back are older than the bookmark, so neither
//! `written#` nor `zfs send -i #` reports them. Only the log does, which is a ring. It is believed
//! if it still holds both ends of the period in question.

use std::collections::HashSet;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;

use parking_lot::Mutex;

use super::command::PATIENCE;
use super::listing::Mark;
use crate::error::{Error, Result};
use crate::process::{Command, Ended, TimedPipe, interrupt};

/// Operations that do not change the blocks of a volume without other traces.
const HARMLESS: [&str; 11] = [
    "snapshot",
    "destroy",
    "create",
    "clone",
    "promote",
    "set",
    "inherit",
    "hold",
    "release",
    "bookmark",
    "remove bookmark",
];
/// The rest of a longer line does not matter.
const LONGEST_LINE: u64 = 64 << 10;
/// The most entries that are kept; a pool with more proves nothing.
const MOST: usize = 1 << 20;

/// The log of a pool, as far as it concerns volumes. It names datasets without their pool, which
/// may have been renamed by an import.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Our snapshots: transaction group and dataset.
    taken: HashSet<(u64, String)>,
    /// Datasets that may have got other blocks, and when.
    replaced: Vec<(u64, String)>,
    /// When datasets were renamed.
    renamed: Vec<u64>,
}

impl History {
    /// Reads the whole log of `pool`. `ours` is the prefix of the snapshots that may be asked
    /// about.
    ///
    /// # Errors
    /// When `zpool` fails, or the log is too long.
    pub fn read(pool: &str, ours: &str) -> Result<History> {
        let to_error = || Error::failed(format!("cannot read the log of the pool {pool}"));
        let messages = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&messages);
        let lock = |messages: &Mutex<Vec<String>>| messages.lock().join("; ");
        let mut child = Command::new("zpool").args(["history", "-i", pool]).spawn(move |line| {
            let mut messages = sink.lock();
            messages.push(String::from_utf8_lossy(line).into_owned());
        })?;
        let stdout = child.stdout().ok_or_else(to_error)?;
        let found = parse(BufReader::new(TimedPipe::new(stdout, PATIENCE)), pool, ours);
        interrupt::check()?;
        let ended = if found.is_ok() { child.wait_or_interrupt()? } else { child.stop() };
        match found {
            Ok(history) if ended == Ended::Code(0) => Ok(history),
            Ok(_) => {
                Err(to_error().because(format!("`zpool history` ended with {ended}: {}", lock(&messages))))
            }
            Err(e) => Err(to_error().because(e)),
        }
    }

    /// Proves that a volume got no other blocks than those written to it. The period begins at
    /// `then`, the createtxg of our snapshot of the dataset `was`, and ends at `now`, a snapshot of
    /// ours, whose dataset may have been renamed in between.
    ///
    /// # Errors
    /// The reason why this is not proven.
    pub fn only_written(&self, was: &str, then: u64, now: &Mark) -> Result<()> {
        let (was, is) = (in_pool(was), in_pool(now.name.split('@').next().unwrap_or_default()));
        let not = |why: &str| Err(Error::failed(why));
        if !self.taken.contains(&(then, was.to_owned())) {
            return not("the log of its pool does not reach back to that moment");
        }
        if !self.taken.contains(&(now.createtxg, is.to_owned())) {
            return not("the log of its pool does not tell of what was done just now");
        }
        let since = |txg: u64| txg >= then;
        let any_name = self.renamed.iter().any(|txg| since(*txg));
        let replaced =
            self.replaced.iter().any(|(txg, name)| since(*txg) && (any_name || name == was || name == is));
        match replaced {
            true => not(
                "other blocks were put into it (`zfs receive -F`, `zfs rollback`), as the log of its pool tells",
            ),
            false => Ok(()),
        }
    }

    fn add(&mut self, line: &str, pool: &str, ours: &str) -> io::Result<()> {
        let Some(entry) = HistoryRecord::parse(line) else { return Ok(()) };
        if let Some((dataset, name)) = entry.object.split_once('@') {
            if entry.is("snapshot", pool) && name.starts_with(ours) {
                self.taken.insert((entry.txg, dataset.to_owned()));
            }
        } else if entry.doing.starts_with("rename ") {
            self.renamed.push(entry.txg);
        } else if !HARMLESS.iter().any(|harmless| entry.is(harmless, pool)) {
            // `tank/v/%recv` and `tank/v/%rollback` mean `tank/v`.
            let dataset = entry.object.split_once("/%").map_or(entry.object, |(dataset, _)| dataset);
            self.replaced.push((entry.txg, dataset.to_owned()));
        }
        let kept = self.taken.len() + self.replaced.len() + self.renamed.len();
        if kept > MOST { Err(io::Error::other("it is too long")) } else { Ok(()) }
    }
}

/// `2026-11-27.04:45:43 [txg:32] clone swap tank/v/%recv (126) parent=v`
struct HistoryRecord<'a> {
    txg: u64,
    /// The operation and the pool: `clone swap tank`.
    doing: &'a str,
    /// The dataset or snapshot without its pool.
    object: &'a str,
}

impl<'a> HistoryRecord<'a> {
    /// `None` if it is not an entry of the kernel's about a dataset below the pool's root.
    fn parse(line: &'a str) -> Option<HistoryRecord<'a>> {
        let (_, rest) = line.split_once(" [txg:")?;
        let (txg, rest) = rest.split_once("] ")?;
        // Names have no brackets.
        let (rest, _) = rest.split_once(" (")?;
        let (doing, object) = rest.split_once('/')?;
        Some(HistoryRecord { txg: txg.parse().ok()?, doing, object })
    }

    /// Whether it is this operation in `pool`, or in a pool with another name: `clone tank`, but
    /// not `clone swap tank`.
    fn is(&self, operation: &str, pool: &str) -> bool {
        let named = self.doing.strip_prefix(operation).and_then(|rest| rest.strip_prefix(' '));
        named.is_some_and(|named| named == pool || !named.contains(' '))
    }
}

/// A dataset's name without its pool.
fn in_pool(dataset: &str) -> &str {
    dataset.split_once('/').map_or("", |(_, rest)| rest)
}

fn parse(mut log: impl BufRead, pool: &str, ours: &str) -> io::Result<History> {
    let (mut history, mut line) = (History::default(), Vec::new());
    loop {
        line.clear();
        if log.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(history);
        }
        history.add(&String::from_utf8_lossy(&line), pool, ours)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by ZFS 2.1.11.
    const LOG: &str = "History for 'tank':\n\
        2026-11-27.04:45:28 [txg:4] set feature@async_destroy=enabled\n\
        2026-11-27.04:45:28 zpool create -f tank /dev/vde\n\
        2026-11-27.04:45:41 [txg:30] snapshot tank/a b@ours-1 (116)  \n\
        2026-11-27.04:45:41 [txg:30] snapshot tank/v@ours-1 (117)  \n\
        2026-11-27.04:45:42 (58ms) ioctl destroy_snaps\n    input:\n        snaps:\n            tank/v@ours-1\n\
        2026-11-27.04:45:42 [txg:31] destroy tank/v@ours-1 (117)  \n\
        2026-11-27.04:45:43 [txg:32] receive tank/v/%recv (126)  \n\
        2026-11-27.04:45:43 [txg:32] finish receiving tank/v/%recv (126) snap=S3\n\
        2026-11-27.04:45:43 [txg:32] clone swap tank/v/%recv (126) parent=v\n\
        2026-11-27.04:45:43 [txg:32] snapshot tank/v@S3 (135)  \n\
        2026-11-27.04:45:43 [txg:32] destroy tank/v/%recv (126) (bptree, mintxg=17)\n\
        2026-11-27.04:45:43 zfs receive -F tank/v\n\
        2026-11-27.04:45:44 [txg:40] snapshot tank/v@ours-2 (140)  \n\
        2026-11-27.04:45:44 [txg:40] snapshot tank/a b@ours-2 (141)  \n\
        2026-11-27.04:45:44 [txg:41] set tank/a b (20) compression=15\n";

    fn history(more: &str) -> History {
        parse(format!("{LOG}{more}").as_bytes(), "tank", "ours-").unwrap()
    }

    fn why_not(history: &History, was: &str, then: u64, is: &str, now: u64) -> String {
        let name = format!("{is}@ours-9");
        let now = Mark { name, guid: 1, createtxg: now, creation: 1, volsize: None };
        history.only_written(was, then, &now).err().map(|e| e.chain()).unwrap_or_default()
    }

    #[test]
    fn a_volume_that_was_received_over_or_rolled_back_proves_nothing_and_its_neighbour_does() {
        let log = history("");
        assert!(why_not(&log, "tank/v", 30, "tank/v", 40).contains("other blocks"));
        assert_eq!(why_not(&log, "tank/a b", 30, "tank/a b", 40), "");
        assert_eq!(why_not(&log, "tank/a b", 30, "imported/a b", 40), "");
        let log = history("2026-11-27.04:45:44 [txg:44] clone swap tank/a b/%rollback (179) parent=a b\n");
        assert!(why_not(&log, "tank/a b", 30, "tank/a b", 40).contains("other blocks"));
        let log = history("2026-11-27.04:45:44 [txg:44] some new thing tank/a b (20)\n");
        assert!(why_not(&log, "tank/a b", 30, "tank/a b", 40).contains("other blocks"));
    }

    #[test]
    fn what_the_log_does_not_reach_is_not_proven() {
        let log = history("");
        assert!(why_not(&log, "tank/a b", 29, "tank/a b", 40).contains("does not reach back"));
        assert!(why_not(&log, "tank/a b", 30, "tank/a b", 50).contains("just now"));
        assert!(why_not(&log, "tank/w", 30, "tank/w", 40).contains("does not reach back"));
    }

    #[test]
    fn after_a_rename_whatever_was_received_may_have_been_it() {
        let moved = "2026-11-27.04:45:45 [txg:50] rename tank/a b (20) -> tank/w\n\
            2026-11-27.04:45:45 [txg:51] snapshot tank/w@ours-3 (150)  \n";
        assert!(why_not(&history(moved), "tank/a b", 30, "tank/w", 51).contains("other blocks"));
        let only = |from: &str| history(from).only_written("tank/w", 51, &mark("tank/w@ours-3", 51)).is_ok();
        assert!(only(moved));
    }

    fn mark(name: &str, createtxg: u64) -> Mark {
        Mark { name: name.into(), guid: 1, createtxg, creation: 1, volsize: None }
    }

    #[test]
    fn a_line_without_an_end_takes_no_memory() {
        let endless = io::repeat(b'x').take(8 << 20);
        assert_eq!(parse(BufReader::new(endless), "tank", "ours-").unwrap(), History::default());
    }
}
