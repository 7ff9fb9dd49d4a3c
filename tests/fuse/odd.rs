//! Archives that borg's own `create` does not make: hostile ones, those of tar, those of other systems.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::common::{
    Flavour, Machine, Mounted, Need, Program, Repository, SOON, SOURCES, available, binary, each_way,
    is_mounted, wait_until, xattr,
};
use crate::scene::{archived, assert_eio, names};

/// Makes archives out of borg's own classes.
const ODD: &str = r#"
import sys
from borg.archive import Archive
from borg.cache import Cache
from borg.helpers import Manifest, StableDict, msgpack
from borg.item import Item
from borg.logger import setup_logging
from borg.repository import Repository
setup_logging()
def item(path, mode=0o100644, **more):
    return Item(path=path, mode=mode, uid=0, gid=0, mtime=1, **more)
with Repository(sys.argv[1], exclusive=True) as repository:
    manifest, key = Manifest.load(repository, Manifest.NO_OPERATION_CHECK)
    with Cache(repository, key, manifest) as cache:
        def archive(name, items, chunks=[]):
            made = Archive(repository, key, manifest, name, cache=cache, create=True)
            for one in items:
                made.items_buffer.add(one)
            made.items_buffer.flush(flush=True)
            made.items_buffer.chunks.extend(chunks)
            made.save()
            return made
        dir, link = 0o040755, 0o120777
        archive("odd", [
            item("d", dir), item("d/before"),
            item("d/" * 100000 + "f"), item("d/" + "n" * 5000), item("n" * 300 + "/f"), item(""), item("../out"),
            item("d/far", link, source="x" * 5000), item("d/nowhere", source="d/nothing"), item("d/kind", 0o150000),
            item("d/after", xattrs=StableDict({b"user.big": b"x" * 100000, b"user.fits": b"y"})),
        ] + [item("d/same")] * 80000)
        data = msgpack.packb(item("big", xattrs=StableDict({b"user.big": bytes(120 << 20)})).as_dict())
        made = Archive(repository, key, manifest, "bomb", cache=cache, create=True)
        id, _, _ = cache.add_chunk(key.id_hash(data), data, made.stats)
        made.items_buffer.chunks.extend([id] * 64)
        made.save()
        data = b"".join(msgpack.packb(item("d/%06d" % n).as_dict()) for n in range(100000))
        made = Archive(repository, key, manifest, "endless", cache=cache, create=True)
        id, _, _ = cache.add_chunk(key.id_hash(data), data, made.stats)
        made.items_buffer.chunks.extend([id] * 3000)
        made.save()
        good = manifest.archives["odd"]
        for name in [".", "..", "", "a/b", "\u00e9" * 200]:
            manifest.archives[name] = (good.id, "2099-01-01T00:00:00.000000")
        manifest.write()
        repository.commit(compact=False)
"#;

fn odd() -> Option<(Machine, Repository)> {
    if !available(&[Need::Fuse]) || !Flavour::V14.is_installed() {
        return None;
    }
    let (machine, repository) =
        archived(Flavour::V14, |source| std::fs::write(source.join("f"), "good").unwrap());
    let python = Flavour::V14.dir().join("python");
    machine.program(python).args(["-c", ODD]).arg(repository.dir()).ok();
    Some((machine, repository))
}

/// What the mount in the foreground writes to standard error goes there.
fn mounted_with_log(machine: &Machine, source: &str) -> (Mounted, std::process::Child) {
    let dir = machine.mount_point();
    let limited = ["--data=1000000000".as_ref(), binary().as_os_str(), "--config".as_ref()];
    let child = machine.program("prlimit").args(limited).arg(machine.config());
    let child = child.args(["mount", "--foreground", "--source", source]).arg(&dir).spawn_piped();
    let up = || is_mounted(&dir);
    assert!(wait_until(SOON, up));
    (Mounted::at(dir), child)
}

fn highest_memory(mounted: &Mounted) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", mounted.daemon())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[test]
fn one_hostile_archive_spoils_neither_itself_nor_the_others() {
    let Some((machine, _repository)) = odd() else { return };
    for source in SOURCES {
        let (mounted, child) = mounted_with_log(&machine, source);
        assert_eq!(names(mounted.dir()), ["2026-03-14", "bomb", "endless", "latest", "odd"], "{source}");
        let latest = std::fs::read_link(mounted.path("latest")).unwrap();
        assert!(["bomb", "endless", "odd"].map(Path::new).contains(&&*latest), "{}", latest.display());
        if source == "native" {
            let bomb = std::fs::read_dir(mounted.path("bomb"));
            assert_eio(bomb.and_then(|mut dir| dir.next().transpose()));
            // The same items again and again are the same names.
            assert_eq!(names(&mounted.path("endless/d")).len(), 100_000);
            let memory = highest_memory(&mounted);
            assert!(memory < 1 << 30, "{memory} bytes");
        }
        assert_eq!(names(&mounted.path("odd")), ["d"]);
        assert_eq!(names(&mounted.path("odd/d")), ["after", "before", "same"]);
        let held = vec![(b"user.fits".to_vec(), b"y".to_vec())];
        assert_eq!(xattr::all(&mounted.path("odd/d/after")), held, "{source}");
        assert_eq!(std::fs::read(mounted.path("2026-03-14/f")).unwrap(), b"good");
        mounted.umount(&machine);
        let said = child.wait_with_output().unwrap().stderr;
        let said = String::from_utf8_lossy(&said);
        assert_eq!(said.matches("cannot be shown").count(), 1, "{said}");
        assert_eq!(said.matches("xtended attributes").count(), 1, "{said}");
        let unnamed = said.lines().filter(|line| line.contains("no directory can have")).collect::<Vec<_>>();
        assert_eq!(unnamed.len(), 1, "{said}");
    }
}

#[test]
fn names_that_tar_wrote_are_read_by_both_sources_each_with_its_own_bytes() {
    if !available(&[Need::Fuse]) {
        return;
    }
    each_way(|flavour, source| {
        let (machine, repository) = archived(flavour, |source| {
            std::fs::create_dir(source.join("d (1)")).unwrap();
            std::fs::write(source.join("d (1)/small [a]*"), "small").unwrap();
            std::fs::write(source.join("big"), vec![b'b'; 3 << 20]).unwrap();
        });
        let tar = machine.path("dotted.tar");
        Program::new("tar").arg("-C").arg(machine.source()).arg("-cf").arg(&tar).arg(".").ok();
        std::fs::write(machine.source().join("big"), "plain").unwrap();
        Program::new("tar").arg("-C").arg(machine.source()).arg("-rf").arg(&tar).arg("big").ok();
        repository.borg(&machine, "import-tar").arg("::dotted").arg(&tar).ok();
        let mounted = Mounted::by(source, &machine, "::dotted", &[]);
        assert_eq!(std::fs::read(mounted.path("d (1)/small [a]*")).unwrap(), b"small");
        assert_eq!(std::fs::read(mounted.path("big")).unwrap(), b"plain", "the last one is shown");
        mounted.umount(&machine);

        repository.borg(&machine, "delete --lock-wait 20 ::dotted").ok();
        std::fs::write(machine.source().join("big"), vec![b'b'; 3 << 20]).unwrap();
        Program::new("tar").arg("-C").arg(machine.source()).arg("-cf").arg(&tar).arg(".").ok();
        repository.borg(&machine, "import-tar").arg("::dotted").arg(&tar).ok();
        let mounted = Mounted::by(source, &machine, "::dotted", &[]);
        assert!(std::fs::read(mounted.path("big")).unwrap() == vec![b'b'; 3 << 20]);
        assert_eq!(mounted.path("big").metadata().unwrap().nlink(), 1);
    });
}
