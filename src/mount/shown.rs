//! The archives that a mount shows, and their numbers. A number belongs to one archive for the life
//! of the mount, so inodes stay the same when archives come and go, and open files in a deleted
//! archive can still be read.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, MutexGuard, RwLock};

use super::attr::Attr;
use crate::archive::left_out::LeftOut;
use crate::archive::name::Archive;
use crate::error::Result;

/// The name of the link to the newest archive.
pub const LATEST: &str = "latest";
/// The longest name of a directory, in bytes.
const LONGEST_NAME: usize = 255;

/// Chooses the target of the link `latest` from the archives that are shown, in their order. An
/// error is temporary: the choice is made again.
pub type ChooseLatest = Box<dyn Fn(&[Archive]) -> Result<Option<Archive>> + Send + Sync>;

/// The archives of a mount.
pub struct ShownArchives {
    list: RwLock<List>,
    choose_latest: ChooseLatest,
    /// The archives for which the choice failed.
    undecided: Mutex<Option<Vec<Archive>>>,
}

#[derive(Default)]
struct List {
    /// By number, including those that are no longer shown.
    slots: Vec<Arc<Slot>>,
    shown: BTreeSet<usize>,
    by_name: HashMap<String, usize>,
    latest: Option<usize>,
    /// How often `latest` has changed.
    turns: u32,
    left_out: LeftOut,
}

/// An archive that is shown, or was shown earlier.
pub struct Slot {
    pub archive: Archive,
    /// Held while the archive is loaded, so that this happens once.
    pub loading: Mutex<()>,
    /// The owner and mode of its root, known once it was loaded. They protect the archive from then
    /// on.
    pub root: OnceLock<Attr>,
}

impl ShownArchives {
    /// A single archive. Its name need not be valid as a directory.
    pub fn single(archive: Archive) -> Self {
        let slots = vec![Arc::new(Slot::new(archive))];
        let list = RwLock::new(List { slots, shown: BTreeSet::from([0]), ..List::default() });
        ShownArchives { list, choose_latest: Box::new(|_| Ok(None)), undecided: Mutex::default() }
    }

    pub fn of(archives: Vec<Archive>, choose_latest: ChooseLatest) -> Self {
        let shown = ShownArchives { list: RwLock::default(), choose_latest, undecided: Mutex::default() };
        shown.update(archives);
        shown
    }

    /// Replaces the archives that are shown. Those whose names are invalid for a directory are left
    /// out, with one warning.
    pub fn update(&self, archives: Vec<Archive>) {
        let mut left_out = LeftOut::default();
        let (fit, unfit): (Vec<_>, Vec<_>) = archives.into_iter().partition(|a| is_name(&a.name));
        unfit.iter().for_each(|archive| left_out.add(archive.name.as_bytes()));
        // Choosing may read from the repository, so the list is not locked meanwhile.
        let latest = self.choose(&fit);
        let mut list = self.list.write();
        list.take(fit, latest);
        if left_out != list.left_out && !left_out.is_empty() {
            tracing::warn!("archives whose names no directory can have are not shown: {left_out}");
        }
        list.left_out = left_out;
    }

    /// Tries the choice of `latest` again if the last one failed.
    pub fn choose_again(&self) {
        let undecided = self.undecided().take();
        if let Some(archives) = undecided {
            let latest = self.choose(&archives);
            self.list.write().point(latest);
        }
    }

    fn choose(&self, archives: &[Archive]) -> Option<Archive> {
        let chosen = (self.choose_latest)(archives);
        *self.undecided() = chosen.is_err().then(|| archives.to_vec());
        chosen.ok().flatten()
    }

    fn undecided(&self) -> MutexGuard<'_, Option<Vec<Archive>>> {
        self.undecided.lock()
    }

    pub fn slot(&self, number: usize) -> Option<Arc<Slot>> {
        self.read(|list| list.slots.get(number).cloned())
    }

    pub fn is_shown(&self, number: usize) -> bool {
        self.read(|list| list.shown.contains(&number))
    }

    /// The number of the archive that is shown under this name.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.read(|list| list.by_name.get(name).copied())
    }

    /// The numbers of the shown archives, from `first` on.
    pub fn shown(&self, first: usize) -> Vec<usize> {
        self.read(|list| list.shown.range(first..).copied().collect())
    }

    pub fn count(&self) -> usize {
        self.read(|list| list.shown.len())
    }

    /// The target of `latest`, and how often it has changed.
    pub fn latest(&self) -> Option<(String, u32)> {
        self.read(|list| Some((list.slots[list.latest?].archive.name.clone(), list.turns)))
    }

    fn read<T>(&self, what: impl FnOnce(&List) -> T) -> T {
        what(&self.list.read())
    }
}

impl List {
    fn take(&mut self, archives: Vec<Archive>, latest: Option<Archive>) {
        let known: HashMap<(String, String), usize> = self.slots.iter().enumerate().map(key).collect();
        self.by_name.clear();
        for archive in archives {
            let number = known.get(&(archive.id.clone(), archive.name.clone())).copied();
            let number = number.unwrap_or_else(|| {
                self.slots.push(Arc::new(Slot::new(archive.clone())));
                self.slots.len() - 1
            });
            // If two have the same name, borg takes the last one.
            self.by_name.insert(archive.name, number);
        }
        self.shown = self.by_name.values().copied().collect();
        self.point(latest);
    }

    /// Lets the link lead to `latest`. An archive that is itself called `latest` takes precedence.
    fn point(&mut self, latest: Option<Archive>) {
        let latest = latest.and_then(|latest| self.by_name.get(&latest.name).copied());
        let latest = latest.filter(|_| !self.by_name.contains_key(LATEST));
        if latest != self.latest {
            self.latest = latest;
            self.turns = self.turns.wrapping_add(1);
        }
    }
}

fn key((number, slot): (usize, &Arc<Slot>)) -> ((String, String), usize) {
    ((slot.archive.id.clone(), slot.archive.name.clone()), number)
}

impl Slot {
    fn new(archive: Archive) -> Self {
        Slot { archive, loading: Mutex::new(()), root: OnceLock::new() }
    }
}

/// Whether a directory can have this name.
fn is_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && name.len() <= LONGEST_NAME && !name.contains(['/', '\0'])
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use super::*;

    fn archive(name: &str, order: u32) -> Archive {
        let start = format!("2026-01-01T00:{order:02}:00.0");
        Archive { name: name.into(), id: format!("{order:064x}"), start }
    }

    fn last_begun(archives: &[Archive]) -> Result<Option<Archive>> {
        Ok(archives.iter().max_by(|a, b| a.start.cmp(&b.start)).cloned())
    }

    fn of(archives: Vec<Archive>) -> ShownArchives {
        ShownArchives::of(archives, Box::new(last_begun))
    }

    fn names(archives: &ShownArchives) -> Vec<String> {
        archives.shown(0).into_iter().map(|n| archives.slot(n).unwrap().archive.name.clone()).collect()
    }

    #[test]
    fn names_that_no_directory_can_have_are_left_out_and_latest_never_leads_there() {
        let long = "x".repeat(256);
        let odd = ["", ".", "..", "a/b", "a\0", &long];
        let odd = (10..).zip(odd).map(|(n, name)| archive(name, n));
        let archives = of([archive("b", 2), archive("a", 1)].into_iter().chain(odd).collect());
        assert_eq!(names(&archives), ["b", "a"]);
        assert_eq!(archives.latest().unwrap().0, "b");
        assert_eq!(archives.read(|list| list.left_out.count()), 6);
    }

    #[test]
    fn of_two_of_one_name_the_last_is_shown_and_an_archive_may_be_called_latest() {
        let archives = of(vec![archive("a", 1), archive("latest", 2), archive("a", 3)]);
        assert_eq!(names(&archives), ["latest", "a"]);
        assert_eq!(archives.slot(archives.find("a").unwrap()).unwrap().archive.id, archive("a", 3).id);
        assert!(archives.latest().is_none());
    }

    #[test]
    fn numbers_stay_when_others_come_and_go_and_the_deleted_can_still_be_had() {
        let archives = of(vec![archive("a", 1), archive("b", 2)]);
        let (b, turns) = (archives.find("b"), archives.latest().unwrap().1);
        archives.update(vec![archive("b", 2), archive("c", 3)]);
        assert_eq!((archives.find("a"), archives.find("b"), archives.find("c")), (None, b, Some(2)));
        assert_eq!(archives.slot(0).unwrap().archive.name, "a");
        assert_eq!(archives.latest().unwrap(), ("c".into(), turns + 1));
        archives.update(vec![archive("b", 4)]);
        assert_eq!(archives.find("b"), Some(3), "another archive of the same name");
    }

    #[test]
    fn a_choice_of_latest_that_failed_is_made_again_although_the_list_is_the_same() {
        let tries = AtomicU32::new(0);
        let choose = move |archives: &[Archive]| match tries.fetch_add(1, Relaxed) {
            0 | 1 => Err(crate::error::Error::failed("the server is gone")),
            2 => last_begun(archives),
            _ => panic!("it is known"),
        };
        let archives = ShownArchives::of(vec![archive("a", 1), archive("b", 2)], Box::new(choose));
        assert_eq!((archives.latest(), archives.count()), (None, 2));
        archives.choose_again();
        assert_eq!(archives.latest(), None);
        archives.choose_again();
        assert_eq!(archives.latest().unwrap().0, "b");
        archives.choose_again();
    }
}
