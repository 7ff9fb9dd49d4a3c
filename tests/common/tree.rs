//! A tree of everything that is hard about file names, contents and metadata.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown, lchown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, SFlag, UtimensatFlags, makedev, mknod, utimensat};
use nix::sys::time::TimeSpec;

use super::needs::is_root;
use super::program::Program;
use super::random::Random;
use super::xattr;

/// The tree, at `dir`. What only root can make is left out for others.
pub struct NastyTree {
    dir: PathBuf,
}

impl NastyTree {
    pub fn make(dir: PathBuf) -> Self {
        std::fs::create_dir(&dir).unwrap();
        let tree = NastyTree { dir };
        tree.names();
        tree.sizes();
        tree.links();
        tree.special_files();
        tree.attributes();
        tree.times();
        tree
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn path(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.dir.join(Path::new(name.as_ref()))
    }

    fn write(&self, name: impl AsRef<OsStr>, bytes: &[u8]) {
        let mode = 0o644;
        let mut file = File::options().write(true).create_new(true).mode(mode).open(self.path(name)).unwrap();
        file.write_all(bytes).unwrap();
    }

    fn names(&self) {
        let nasty: [&[u8]; 14] = [
            b"two words",
            b"single'quote",
            b"double\"quote",
            b"new\nline",
            b"back\\slash",
            b"tab\there",
            b"-leading dash",
            b"*glob?[x]",
            b"raw\xff\xfebytes",
            b"raw??bytes",
            b"\x7fdelete",
            "ünïcödé".as_bytes(),
            b"pfx",
            b"pfx2",
        ];
        std::fs::create_dir(self.path("names")).unwrap();
        for name in nasty {
            let file = [b"names/", name].concat();
            self.write(OsStr::from_bytes(&file), &[b"content of ", name].concat());
            let dir = [b"dir ", name].concat();
            std::fs::create_dir(self.path(OsStr::from_bytes(&dir))).unwrap();
            self.write(OsStr::from_bytes(&[&dir[..], b"/inner"].concat()), &dir);
        }
        for name in ["pfx", "pfx2"] {
            std::fs::create_dir(self.path(name)).unwrap();
            self.write(format!("{name}/same"), name.as_bytes());
        }
        std::fs::create_dir_all(self.path("deep/1/2/3/4/5/6/7/8")).unwrap();
        self.write("deep/1/2/3/4/5/6/7/8/file", b"deep");
        self.write("n".repeat(255), b"the longest name");
    }

    fn sizes(&self) {
        let mut random = Random::new(1);
        std::fs::create_dir(self.path("sizes")).unwrap();
        for size in [0, 1, 4095, 4096, 4097, 65_535, 65_536, 65_537, (1 << 20) + 1] {
            self.write(format!("sizes/{size}"), &random.bytes(size));
        }
        let mut sparse = File::create(self.path("sizes/sparse")).unwrap();
        sparse.set_len(8 << 20).unwrap();
        sparse.seek(SeekFrom::Start((5 << 20) + 17)).unwrap();
        sparse.write_all(&random.bytes(100_000)).unwrap();
    }

    fn links(&self) {
        std::fs::create_dir_all(self.path("links/below")).unwrap();
        self.write("links/b-master", b"a file with three names");
        std::fs::hard_link(self.path("links/b-master"), self.path("links/a-link")).unwrap();
        std::fs::hard_link(self.path("links/b-master"), self.path("links/below/link")).unwrap();
        symlink("b-master", self.path("links/symlink")).unwrap();
        symlink("nowhere/at/all", self.path("links/dangling")).unwrap();
        symlink(OsStr::from_bytes(b"raw\xfftarget"), self.path("links/raw")).unwrap();
        symlink("/etc/passwd", self.path("links/absolute")).unwrap();
    }

    fn special_files(&self) {
        std::fs::create_dir(self.path("special")).unwrap();
        let node = |name: &str, kind, device| {
            mknod(&self.path(name), kind, Mode::from_bits_truncate(0o640), device).unwrap();
        };
        node("special/fifo", SFlag::S_IFIFO, 0);
        std::fs::hard_link(self.path("special/fifo"), self.path("special/fifo link")).unwrap();
        UnixListener::bind(self.path("special/socket")).unwrap();
        if is_root() {
            node("special/null", SFlag::S_IFCHR, makedev(1, 3));
            node("special/loop", SFlag::S_IFBLK, makedev(7, 0));
            node("special/far", SFlag::S_IFBLK, makedev(259, 65_537));
        }
    }

    fn attributes(&self) {
        std::fs::create_dir(self.path("attributes")).unwrap();
        for name in ["xattrs", "acl", "setuid", "nobody", "stranger", "secret"] {
            self.write(format!("attributes/{name}"), name.as_bytes());
        }
        let file = self.path("attributes/xattrs");
        xattr::set(&file, "user.empty", b"");
        xattr::set(&file, "user.raw", b"\x00\xff\n");
        xattr::set(&file, "user.long", &[b'x'; 2000]);
        xattr::set(&self.path("attributes"), "user.of.directory", b"1");
        let acl = |entries: &str, name: &str| {
            Program::new("setfacl").args(["-m", entries]).arg(self.path(name)).ok();
        };
        acl("u:65534:rw,g:54321:r", "attributes/acl");
        std::fs::create_dir(self.path("attributes/default acl")).unwrap();
        acl("u:54321:rx,d:u:65534:rwx,d:g:12:rx", "attributes/default acl");
        if is_root() {
            chown(self.path("attributes/nobody"), Some(65_534), Some(65_534)).unwrap();
            chown(self.path("attributes/stranger"), Some(54_321), Some(54_322)).unwrap();
            lchown(self.path("links/dangling"), Some(54_321), Some(1)).unwrap();
            xattr::set(&self.path("links/symlink"), "trusted.of.link", b"1");
        }
        let mode = |name: &str, mode| {
            std::fs::set_permissions(self.path(name), PermissionsExt::from_mode(mode)).unwrap();
        };
        mode("attributes/setuid", 0o6755);
        mode("attributes/secret", 0o000);
        mode("pfx2", 0o1777);
    }

    fn times(&self) {
        let times = [
            ("sizes/1", 1_700_000_000, 123_456_789),
            ("sizes/4096", 0, 1),
            ("names/pfx", -86_400, 999_999_999),
            ("links/symlink", 1_000_000_000, 7),
            ("special/fifo", 4_102_444_800, 500),
            // Last: a directory's own time changes with what is made in it.
            ("pfx", 1_234_567_890, 987_654_321),
        ];
        for (name, seconds, nanoseconds) in times {
            let time = TimeSpec::new(seconds, nanoseconds);
            utimensat(nix::fcntl::AT_FDCWD, &self.path(name), &time, &time, UtimensatFlags::NoFollowSymlink)
                .unwrap();
        }
    }
}
