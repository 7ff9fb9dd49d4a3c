//! Looks for new and deleted archives during a mount, in one thread at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::{Mutex, MutexGuard};

use super::shown::ShownArchives;
use crate::archives::source::Catalog;

/// How long a reader waits for a look, counted from its start. After this the known list must do.
const NEWS: Duration = Duration::from_secs(5);

/// The looks of a mount.
pub struct Looks(Arc<Shared>);

struct Shared {
    catalog: Arc<dyn Catalog>,
    archives: Arc<ShownArchives>,
    running: Mutex<Option<Running>>,
    /// The error of the last look.
    failure: Mutex<Option<String>>,
}

#[derive(Clone)]
struct Running {
    /// Until when readers wait for it.
    until: Instant,
    /// Closed when the look has ended.
    ended: Receiver<()>,
}

impl Looks {
    pub fn new(catalog: Arc<dyn Catalog>, archives: Arc<ShownArchives>) -> Self {
        let (running, failure) = (Mutex::default(), Mutex::default());
        Looks(Arc::new(Shared { catalog, archives, running, failure }))
    }

    /// Whether no look is running or due.
    pub fn is_quiet(&self) -> bool {
        match &*self.0.running() {
            Some(running) => running.until <= Instant::now(),
            None => !self.0.catalog.is_stale(),
        }
    }

    /// Starts a look if one is due.
    pub fn start(&self) {
        let mut running = self.0.running();
        if running.is_some() || !self.0.catalog.is_stale() {
            return;
        }
        let (end, ended) = bounded(0);
        *running = Some(Running { until: Instant::now() + NEWS, ended });
        drop(running);
        let turn = Turn { shared: Arc::clone(&self.0), _end: end };
        // If there is no thread, the look ends at once.
        let _ = std::thread::Builder::new().name("look".into()).spawn(move || turn.look());
    }

    /// Looks if a look is due, but returns after the time that a reader waits.
    pub fn wait(&self) {
        self.start();
        let running = self.0.running().clone();
        if let Some(Running { until, ended }) = running {
            // Nothing is ever sent.
            let _ = ended.recv_deadline(until);
        }
    }
}

impl Shared {
    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock()
    }
}

/// A running look. When it is dropped, another can begin.
struct Turn {
    shared: Arc<Shared>,
    _end: Sender<()>,
}

impl Turn {
    fn look(&self) {
        let Shared { catalog, archives, failure, .. } = &*self.shared;
        let failed = match catalog.look_again() {
            Ok(list) => {
                match list {
                    Some(list) => archives.update(list),
                    None => archives.choose_again(),
                }
                None
            }
            Err(e) => Some(e.chain()),
        };
        let before = std::mem::replace(&mut *failure.lock(), failed.clone());
        if let Some(why) = failed.filter(|why| before.as_ref() != Some(why)) {
            tracing::warn!("cannot look for new archives: {why}");
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *self.shared.running() = None;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use super::*;
    use crate::archive::name::Archive;
    use crate::archive::tree::{Tree, View};
    use crate::archives::source::{CacheSink, ContentSource, Layout};
    use crate::error::{Error, Result};
    use crate::progress::Monitor;

    use crate::mount::shown::ChooseLatest;

    type Step = Box<dyn FnOnce() -> Result<Option<Vec<Archive>>> + Send>;

    /// Each look takes one step.
    struct Steps(Mutex<Vec<Step>>);

    impl Catalog for Steps {
        fn archives(&self) -> Result<Vec<Archive>> {
            Ok(Vec::new())
        }

        fn is_stale(&self) -> bool {
            !self.0.lock().is_empty()
        }

        fn look_again(&self) -> Result<Option<Vec<Archive>>> {
            let step = self.0.lock().remove(0);
            step()
        }

        fn tree(&self, _: &Archive, _: &View, _: &dyn Monitor) -> Result<Tree> {
            unreachable!("a look reads no archive")
        }

        fn layout(&self, _: &Archive, _: u32, _: &Arc<Tree>) -> Arc<dyn Layout> {
            unreachable!("a look reads no archive")
        }

        fn contents(&self, _: &Archive, _: Arc<Tree>, _: Arc<dyn CacheSink>) -> Arc<dyn ContentSource> {
            unreachable!("a look reads no archive")
        }

        fn shut_down(&self) {}
    }

    fn looks(steps: Vec<Step>) -> Looks {
        looks_choosing(steps, Box::new(|_| Ok(None)))
    }

    fn looks_choosing(steps: Vec<Step>, choose_latest: ChooseLatest) -> Looks {
        let archives = ShownArchives::of(Vec::new(), choose_latest);
        Looks::new(Arc::new(Steps(Mutex::new(steps))), Arc::new(archives))
    }

    fn names(looks: &Looks) -> Vec<usize> {
        looks.0.archives.shown(0)
    }

    fn list() -> Result<Option<Vec<Archive>>> {
        let name = "a".to_owned();
        Ok(Some(vec![Archive { name, id: "0".repeat(64), start: String::new() }]))
    }

    #[test]
    fn who_wants_the_news_waits_for_the_look_that_another_started_without_waiting() {
        let (go, goes) = bounded::<()>(1);
        let looks = looks(vec![Box::new(move || {
            goes.recv().unwrap();
            list()
        })]);
        looks.start();
        assert!(!looks.is_quiet() && names(&looks).is_empty());
        let other = Looks(Arc::clone(&looks.0));
        let waiting = std::thread::spawn(move || other.wait());
        go.send(()).unwrap();
        waiting.join().unwrap();
        assert!(looks.is_quiet());
        assert_eq!(names(&looks), [0]);
    }

    #[test]
    fn a_look_that_fails_or_panics_is_not_the_last() {
        let failing = || Err(Error::failed("no"));
        let looks = looks(vec![Box::new(failing), Box::new(|| panic!("a fault of ours")), Box::new(list)]);
        for expected in [&[][..], &[], &[0]] {
            looks.wait();
            assert_eq!(names(&looks), expected);
        }
        assert!(looks.is_quiet());
    }

    #[test]
    fn a_look_that_finds_nothing_new_chooses_latest_once_more_where_that_failed() {
        let up = Arc::new(AtomicBool::new(false));
        let is_up = Arc::clone(&up);
        let choose: ChooseLatest = Box::new(move |archives| match is_up.load(Relaxed) {
            true => Ok(archives.first().cloned()),
            false if archives.is_empty() => Ok(None),
            false => Err(Error::failed("the server is gone")),
        });
        let looks =
            looks_choosing(vec![Box::new(list), Box::new(|| Ok(None)), Box::new(|| Ok(None))], choose);
        let latest = || looks.0.archives.latest().map(|(name, _)| name);
        for expected in [None, None, Some("a".to_owned())] {
            up.store(expected.is_some(), Relaxed);
            looks.wait();
            assert_eq!(latest(), expected);
        }
    }
}
