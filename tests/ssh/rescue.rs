//! The static binary on an empty root that has a kernel, ssh and nothing else.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use crate::common::machine::NOBODY;
use crate::common::{
    ARCHIVE, DAY, Flavour, Machine, Need, Program, Repository, Sshd, available, bind, is_mounted,
};

/// The number that the rescue system gives to the user `nobody`.
const RESCUED: u32 = 4321;
/// Building takes some minutes on a machine that has built nothing yet.
const BUILDING: Duration = Duration::from_secs(1500);

/// The static binary, built once.
fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let run = Program::new("make")
            .args(["--no-print-directory", "static", "STATIC_PROFILE=unoptimized"])
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
            .within(BUILDING)
            .ok();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(run.stdout().lines().last().unwrap());
        let interpreter = Program::new("readelf").arg("-l").arg(&path).ok();
        assert!(!interpreter.stdout().contains("INTERP"), "it is not static: {interpreter}");
        path
    })
}

/// A root with the binary, devices, /proc, a list of users, and ssh with its libraries.
struct Root {
    dir: PathBuf,
    variables: Vec<(String, String)>,
}

impl Root {
    fn new(machine: &Machine) -> Self {
        let dir = machine.path("root");
        for name in ["mnt", "root/.ssh", "tmp", "bin", "etc"] {
            fs::create_dir_all(dir.join(name)).unwrap();
        }
        for name in ["/dev", "/proc"] {
            let place = dir.join(&name[1..]);
            fs::create_dir(&place).unwrap();
            bind(Path::new(name), &place);
        }
        fs::write(
            dir.join("etc/passwd"),
            format!("root:x:0:0::/root:/bin/sh\nnobody:x:{RESCUED}:{RESCUED}::/:\n"),
        )
        .unwrap();
        fs::write(dir.join("etc/group"), format!("root:x:0:\nnogroup:x:{RESCUED}:\n")).unwrap();
        fs::copy(binary(), dir.join("bin/offsite")).unwrap();
        Root { dir, variables: Vec::new() }
    }

    /// With ssh, and the client's key where ssh looks for it.
    fn with_ssh(mut self, machine: &Machine) -> Self {
        let libraries = Program::new("ldd").arg("/usr/bin/ssh").ok().stdout();
        let paths = libraries.split_whitespace().filter(|word| word.starts_with('/'));
        for path in paths.chain(["/usr/bin/ssh"]) {
            let copy = self.dir.join(path.trim_start_matches('/'));
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            fs::copy(path, copy).unwrap();
        }
        fs::copy(machine.path("ssh/client"), self.dir.join("root/.ssh/id_ed25519")).unwrap();
        fs::copy(machine.path("ssh/known_hosts"), self.dir.join("root/.ssh/known_hosts")).unwrap();
        self.set("PATH", "/usr/bin");
        self
    }

    fn set(&mut self, name: &str, value: &str) {
        self.variables.push((name.into(), value.into()));
    }

    fn run(&self, words: &[&str]) -> Program {
        let program = Program::new("/usr/sbin/chroot").env_clear().arg(&self.dir).arg("/bin/offsite");
        self.variables.iter().fold(program.args(words), |program, (name, value)| program.env(name, value))
    }
}

/// A machine whose mounts nobody else sees, with an archive in a repository with this encryption.
fn scene(encryption: &str) -> (Machine, Repository) {
    let mut machine = Machine::builder(Flavour::any().unwrap()).own_mounts().unattended().build();
    machine.set_variable("BORG_PASSPHRASE", "open sesame");
    machine.write("source/home/letter", "dear");
    machine.write("source/home/other", vec![7; 3 << 20]);
    chown(machine.source().join("home/letter"), Some(NOBODY), Some(NOBODY)).unwrap();
    let repository = Repository::init(&machine, encryption);
    repository.create(&machine, DAY);
    (machine, repository)
}

#[test]
fn a_live_system_restores_over_ssh_without_borg_and_without_a_configuration() {
    if !available(&[Need::Root, Need::Fuse, Need::Sshd]) || Flavour::any().is_none() {
        return;
    }
    let (machine, repository) = scene("repokey-blake2");
    let server = Sshd::start(&machine, repository.dir());
    let url = format!("ssh://root@{}{}", server.address(), repository.dir().display());
    let mut root = Root::new(&machine).with_ssh(&machine);
    root.set("BORG_PASSPHRASE", "open sesame");
    let ours = |words: &[&str]| root.run(&[&["--repository", &url], words].concat());

    assert_eq!(ours(&["list", "--short"]).ok().stdout(), format!("{DAY}\n"));
    let listed = ours(&["list", "--format", "{mode} {user} {size} {path}{NL}", ARCHIVE, "home/letter"]).ok();
    assert_eq!(listed.stdout(), "-rw-r--r-- nobody 4 home/letter\n");
    assert!(ours(&["info", ARCHIVE]).ok().stdout().contains("Number of files: 2"));

    ours(&["restore", ARCHIVE, "--to", "/mnt"]).ok();
    let letter = root.dir.join("mnt/home/letter");
    assert_eq!(fs::read(&letter).unwrap(), b"dear");
    let meta = letter.metadata().unwrap();
    assert_eq!((meta.uid(), meta.gid()), (RESCUED, RESCUED), "owners by the names of this system");
    assert_eq!(fs::read(root.dir.join("mnt/home/other")).unwrap(), vec![7; 3 << 20]);
    ours(&["verify", ARCHIVE]).ok();

    fs::create_dir(root.dir.join("archive")).unwrap();
    ours(&["mount", ARCHIVE, "/archive"]).ok();
    assert_eq!(fs::read(root.dir.join("archive/home/letter")).unwrap(), b"dear");
    root.run(&["umount", "/archive"]).ok();
    assert!(!is_mounted(&root.dir.join("archive")));
}

#[test]
fn a_live_system_reads_a_directory_with_a_key_file_and_asks_for_the_passphrase() {
    if !available(&[Need::Root, Need::Fuse]) || Flavour::any().is_none() {
        return;
    }
    let mut machine = Machine::builder(Flavour::any().unwrap()).own_mounts().build();
    machine.set_variable("BORG_PASSPHRASE", "open sesame");
    machine.write("source/letter", "dear");
    machine.set_variable("BORG_KEY_FILE", machine.path("key"));
    let repository = Repository::init(&machine, "keyfile-blake2");
    repository.create(&machine, DAY);
    let root = Root::new(&machine);
    fs::create_dir(root.dir.join("disk")).unwrap();
    bind(repository.dir(), &root.dir.join("disk"));
    fs::copy(machine.path("key"), root.dir.join("root/key")).unwrap();

    let without = root.run(&["--repository", "disk", "list"]).run().exits(1);
    assert!(without.stderr().contains("key"), "{without}");
    let words =
        ["--repository", "disk", "--key-file", "/root/key", "restore", ARCHIVE, "letter", "--to", "/mnt"];
    let (code, shown) = root.run(&words).on_terminal().answers(&[("assphrase", "open sesame")]);
    assert_eq!(code, Some(0), "{shown}");
    assert_eq!(fs::read(root.dir.join("mnt/letter")).unwrap(), b"dear");
    let checked = root.run(&["--repository", "disk", "check"]).run();
    assert!(checked.stderr().contains("borg"), "{checked}");
}
