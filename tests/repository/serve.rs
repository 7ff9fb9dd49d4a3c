//! Repositories behind a real `borg serve`, which the test starts.

use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Child;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use borg_repository::{ChunkLists, Connection, Error, Item, Remote, Result};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::{Flavour, Machine, NastyTree, Random, Repository, each_borg};
use crate::scene::{archive, assert_right, content, items, open, open_store, put};

const STALL: Duration = Duration::from_secs(20);

/// Ends and reaps a server.
struct Server(Mutex<Child>);

impl Drop for Server {
    fn drop(&mut self) {
        let child = self.0.get_mut().unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        while child.try_wait().unwrap().is_none() {
            if Instant::now() > deadline {
                let _ = child.kill();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn serve(machine: &Machine, arguments: &[&str], pid: &AtomicU32) -> io::Result<Connection> {
    let mut child = machine.program("borg").arg("serve").args(arguments).spawn_piped();
    pid.store(child.id(), Ordering::Relaxed);
    Ok(Connection {
        reader: Box::new(child.stdout.take().unwrap()),
        writer: Box::new(child.stdin.take().unwrap()),
        holder: Box::new(Server(Mutex::new(child))),
    })
}

/// The repository at `path`, and how many servers were started for it.
pub fn remote(machine: &Arc<Machine>, path: &Path) -> (Result<Remote>, Arc<AtomicUsize>) {
    let started = Arc::new(AtomicUsize::new(0));
    let (machine, count) = (Arc::clone(machine), Arc::clone(&started));
    let connect = move || {
        count.fetch_add(1, Ordering::Relaxed);
        serve(&machine, &[], &AtomicU32::new(0))
    };
    (Remote::open(Box::new(connect), path.as_os_str().as_bytes(), STALL), started)
}

#[test]
fn a_server_gives_the_same_as_the_directory() {
    each_borg(|flavour| {
        for mode in ["repokey-blake2", "keyfile", "none"] {
            let machine = Arc::new(Machine::new(flavour));
            NastyTree::make(machine.source().join("tree"));
            let borg = Repository::init(&machine, mode);
            borg.create(&machine, "a");
            let (store, started) = remote(&machine, borg.dir());
            let repository = open_store(&machine, Arc::new(store.unwrap())).unwrap();
            assert_right(&machine, &borg, &repository, "a");
            assert_eq!(started.load(Ordering::Relaxed), 1);
        }
    });
}

#[test]
fn archives_and_servers_of_borg_1_1_are_read() {
    if !Flavour::V11.is_installed() {
        return;
    }
    for mode in ["repokey-blake2", "keyfile", "authenticated"] {
        let machine = Arc::new(Machine::new(Flavour::V11));
        NastyTree::make(machine.source().join("tree"));
        let borg = Repository::init(&machine, mode);
        borg.create(&machine, "a");
        borg.create_with(&machine, "b", &["--compression", "auto,lzma", "--chunker-params", "10,14,12,4095"]);
        let (store, _) = remote(&machine, borg.dir());
        let server = open_store(&machine, Arc::new(store.unwrap())).unwrap();
        for repository in [server, open(&machine, borg.dir()).unwrap()] {
            for name in ["a", "b"] {
                assert_right(&machine, &borg, &repository, name);
            }
        }
    }
}

#[test]
fn requests_of_many_threads_at_once_get_their_own_answers_beyond_what_may_be_on_the_line() {
    each_borg(|flavour| {
        let machine = Arc::new(Machine::new(flavour));
        let bytes = Random::new(5).bytes(60 << 20);
        put(&machine, "noise", &bytes);
        let borg = Repository::init(&machine, "repokey-blake2");
        borg.create_with(&machine, "a", &["--chunker-params", "fixed,262144", "--compression", "none"]);
        let (store, _) = remote(&machine, borg.dir());
        let repository = open_store(&machine, Arc::new(store.unwrap())).unwrap();
        let (_, lists) = items(&repository, &archive(&repository, "a").unwrap()).unwrap().remove(0);
        std::thread::scope(|scope| {
            for worker in 0..4 {
                let (repository, lists, bytes) = (&repository, &lists, &bytes);
                scope.spawn(move || {
                    let mine = || lists.chunks.iter().enumerate().skip(worker).step_by(4);
                    // All are asked for before one is taken.
                    let requests: Vec<_> = mine().map(|(_, chunk)| repository.request_chunk(chunk)).collect();
                    // Some one by one, some together.
                    let mut requests = requests.into_iter();
                    let alone: Vec<_> = requests.by_ref().take(9).map(|r| repository.receive(r)).collect();
                    let together = repository.receive_all(requests.collect());
                    for ((at, _), plain) in mine().zip(alone.into_iter().chain(together)) {
                        let plain = plain.unwrap();
                        assert!(plain == bytes[at * 262_144..][..plain.len()], "chunk {at}");
                    }
                });
            }
        });
    });
}

#[test]
fn what_a_server_does_not_show_is_no_repository() {
    each_borg(|flavour| {
        let machine = Arc::new(Machine::new(flavour));
        let nothing = remote(&machine, &machine.path("nothing")).0;
        assert!(matches!(nothing, Err(Error::NoRepository(_))), "{:?}", nothing.err());
        let (inner, dir) = (Arc::clone(&machine), machine.path("elsewhere"));
        let arguments = move || ["--restrict-to-path".to_owned(), dir.to_str().unwrap().to_owned()];
        let connect = move || serve(&inner, &arguments().each_ref().map(|a| &**a), &AtomicU32::new(0));
        let path = machine.repository();
        let refused = Remote::open(Box::new(connect), path.as_os_str().as_bytes(), STALL);
        assert!(matches!(refused, Err(Error::NotAllowed(_))), "{:?}", refused.err());
    });
}

/// A server that says `text` once it is asked something, and then nothing more; with its output open if it `hangs`.
fn saying(text: &'static [u8], hangs: bool) -> Connection {
    let (end, held) = io::pipe().unwrap();
    let (asked, question) = std::sync::mpsc::channel();
    let output = AfterQuestion { question, text: io::Cursor::new(text) };
    let reader: Box<dyn Read + Send> = if hangs { Box::new(output.chain(end)) } else { Box::new(output) };
    Connection { reader, writer: Box::new(Questions(asked)), holder: Box::new(held) }
}

/// Tells of what is written.
struct Questions(std::sync::mpsc::Sender<()>);

impl io::Write for Questions {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.send(());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An answer that comes before its question is an error of its own.
struct AfterQuestion {
    question: std::sync::mpsc::Receiver<()>,
    text: io::Cursor<&'static [u8]>,
}

impl Read for AfterQuestion {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.text.position() == 0 {
            let _ = self.question.recv();
        }
        self.text.read(buffer)
    }
}

#[test]
fn a_server_that_is_none_ends_or_hangs_is_an_error_that_says_so() {
    let open = |text, hangs| {
        let stall = Duration::from_millis(50);
        let opened = Remote::open(Box::new(move || Ok(saying(text, hangs))), b"/x", stall);
        opened.err().unwrap()
    };
    let shown = open(b"Welcome to host\n", false).to_string();
    assert!(shown.contains("Welcome to host"), "{shown}");
    assert!(matches!(open(b"", false), Error::Gone(_)));
    assert!(matches!(open(b"", true), Error::Gone(_)));
    assert!(matches!(open(b"\x82\xa1i\x07\xa1r\x00", false), Error::Gone(_)));
    let version = |n: u8| {
        let text = [&b"\x82\xa1i\x01\xa1r\x81\xaeserver_version\x94"[..], &[n, 0, 0, 0xff]].concat();
        open(text.leak(), false)
    };
    assert!(version(2).is_unsupported());
    assert!(version(1).is_unsupported(), "1.0");
    assert!(open(b"\x82\xa1i\x01\xa1r\x02", false).is_unsupported(), "a number alone");
}

/// A repository with one file, of what [`Random`] 2 gives.
fn one_file(flavour: Flavour) -> (Arc<Machine>, Repository) {
    let machine = Arc::new(Machine::new(flavour));
    put(&machine, "file", &Random::new(2).bytes(100_000));
    let borg = Repository::init(&machine, "repokey");
    borg.create(&machine, "a");
    (machine, borg)
}

#[test]
fn a_server_that_cannot_be_reached_is_tried_again_for_a_while_unless_there_is_no_sense_in_it() {
    let Some(flavour) = Flavour::any() else { return };
    let (machine, borg) = one_file(flavour);
    let pid = Arc::new(AtomicU32::new(0));
    let tries = Arc::new(AtomicUsize::new(0));
    // The first connection works, then the next two fail.
    let (inner, last, count) = (Arc::clone(&machine), Arc::clone(&pid), Arc::clone(&tries));
    let connect = move || match count.fetch_add(1, Ordering::Relaxed) {
        1 | 2 => Err(io::ErrorKind::HostUnreachable.into()),
        4.. => Err(io::ErrorKind::ConnectionAborted.into()),
        _ => serve(&inner, &[], &last),
    };
    let store = Remote::open(Box::new(connect), borg.dir().as_os_str().as_bytes(), STALL).unwrap();
    let repository = open_store(&machine, Arc::new(store)).unwrap();
    let (_, lists) = items(&repository, &archive(&repository, "a").unwrap()).unwrap().remove(0);
    let kill_it = || kill(Pid::from_raw(pid.load(Ordering::Relaxed) as i32), Signal::SIGKILL).unwrap();
    kill_it();
    assert_eq!(content(&repository, &lists).unwrap(), Random::new(2).bytes(100_000));
    assert_eq!(tries.load(Ordering::Relaxed), 4);
    kill_it();
    assert!(content(&repository, &lists).is_err());
    assert_eq!(tries.load(Ordering::Relaxed), 5);
}

#[test]
fn readers_that_wait_together_for_a_server_in_vain_do_not_wait_one_after_the_other() {
    let Some(flavour) = Flavour::any() else { return };
    let (machine, borg) = one_file(flavour);
    let pid = Arc::new(AtomicU32::new(0));
    let tries = Arc::new(AtomicUsize::new(0));
    let (inner, last, count) = (Arc::clone(&machine), Arc::clone(&pid), Arc::clone(&tries));
    let connect = move || match count.fetch_add(1, Ordering::Relaxed) {
        0 => serve(&inner, &[], &last),
        _ => Err(io::ErrorKind::ConnectionAborted.into()),
    };
    let store = Remote::open(Box::new(connect), borg.dir().as_os_str().as_bytes(), STALL).unwrap();
    let repository = open_store(&machine, Arc::new(store)).unwrap();
    let (_, lists) = items(&repository, &archive(&repository, "a").unwrap()).unwrap().remove(0);
    kill(Pid::from_raw(pid.load(Ordering::Relaxed) as i32), Signal::SIGKILL).unwrap();
    let requests: Vec<_> = (0..6).map(|_| repository.request_chunk(&lists.chunks[0])).collect();
    for request in requests {
        assert!(repository.receive(request).is_err());
    }
    assert_eq!(tries.load(Ordering::Relaxed), 2);
    assert!(content(&repository, &lists).is_err());
    assert_eq!(tries.load(Ordering::Relaxed), 3, "one who asks later tries again");
}

#[test]
fn a_server_that_was_killed_is_started_again() {
    let Some(flavour) = Flavour::any() else { return };
    let (machine, borg) = one_file(flavour);
    let pid = Arc::new(AtomicU32::new(0));
    let (inner, last) = (Arc::clone(&machine), Arc::clone(&pid));
    let connect = move || serve(&inner, &[], &last);
    let store = Remote::open(Box::new(connect), borg.dir().as_os_str().as_bytes(), STALL).unwrap();
    let repository = open_store(&machine, Arc::new(store)).unwrap();
    let (_, lists) = items(&repository, &archive(&repository, "a").unwrap()).unwrap().remove(0);
    let first = pid.load(Ordering::Relaxed);
    kill(Pid::from_raw(first as i32), Signal::SIGKILL).unwrap();
    assert_eq!(content(&repository, &lists).unwrap(), Random::new(2).bytes(100_000));
    assert_ne!(pid.load(Ordering::Relaxed), first);
}

#[test]
fn archives_move_and_go_while_they_are_read_from_directory_and_server() {
    each_borg(|flavour| {
        let machine = Arc::new(Machine::new(flavour));
        let borg = Repository::init(&machine, "repokey-blake2");
        let bytes = Random::new(9).bytes(3_000_000);
        put(&machine, "kept", &bytes);
        put(&machine, "dropped", &Random::new(10).bytes(9_000_000));
        borg.create_with(&machine, "old", &["--compression", "none"]);
        std::fs::remove_file(machine.source().join("dropped")).unwrap();
        borg.create_with(&machine, "new", &["--compression", "none"]);

        let (store, started) = remote(&machine, borg.dir());
        let server = open_store(&machine, Arc::new(store.unwrap())).unwrap();
        let repositories = [server, open(&machine, borg.dir()).unwrap()];
        // Read by others, so that no segment but the manifest's is already open.
        let other = open(&machine, borg.dir()).unwrap();
        let [old, new] = ["old", "new"].map(|name| items(&other, &archive(&other, name).unwrap()).unwrap());

        let old_id = archive(&other, "old").unwrap().id;
        borg.borg(&machine, "delete ::old").ok();
        borg.borg(&machine, "compact --threshold 0").ok();
        for repository in &repositories {
            let kept = |items: &[(Item, ChunkLists)], name: &str| {
                let (_, lists) =
                    items.iter().find(|(item, _)| item.path.as_bytes() == name.as_bytes()).unwrap();
                content(repository, lists)
            };
            assert_eq!(kept(&new, "kept").unwrap(), bytes);
            let gone = kept(&old, "dropped");
            assert!(matches!(gone, Err(Error::NotFound(_))), "{:?}", gone.err());
            let manifest = repository.refresh().unwrap();
            assert_eq!(manifest.archives.len(), 1);
            assert!(matches!(repository.archive(&old_id), Err(Error::NotFound(id)) if id == old_id));
        }
        assert!(started.load(Ordering::Relaxed) > 1, "the first server cannot have found them");
    });
}

#[test]
fn reading_goes_on_beside_create_delete_and_compact_and_hinders_none() {
    let Some(flavour) = Flavour::any() else { return };
    let machine = Arc::new(Machine::new(flavour));
    let borg = Repository::init(&machine, "repokey-blake2");
    let bytes = Random::new(9).bytes(2_000_000);
    put(&machine, "kept", &bytes);
    put(&machine, "changing", b"first");
    let chunker = ["--compression", "none", "--chunker-params", "fixed,65536"];
    borg.create_with(&machine, "kept", &chunker);
    let (store, _) = remote(&machine, borg.dir());
    let server = open_store(&machine, Arc::new(store.unwrap())).unwrap();
    let directory = open(&machine, borg.dir()).unwrap();
    let ended = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for repository in [&server, &directory] {
            let (ended, bytes) = (&ended, &bytes);
            scope.spawn(move || {
                let id = archive(repository, "kept").unwrap().id;
                while ended.load(Ordering::Relaxed) == 0 {
                    let kept = repository.archive(&id).unwrap();
                    let items = items(repository, &kept).unwrap();
                    let (_, lists) = items.iter().find(|(item, _)| item.path.as_bytes() == b"kept").unwrap();
                    assert!(content(repository, lists).unwrap() == *bytes);
                }
            });
        }
        let done = std::panic::catch_unwind(|| {
            for round in 0..4 {
                put(&machine, "changing", &Random::new(100 + round).bytes(3_000_000));
                borg.create_with(&machine, "passing", &chunker);
                borg.borg(&machine, "delete ::passing").ok();
                borg.borg(&machine, "compact --threshold 0").ok();
            }
        });
        ended.store(1, Ordering::Relaxed);
        done.unwrap();
    });
}
