//! What the options of `mount` change in the tree.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use crate::common::{
    ARCHIVE, DAY, Flavour, Machine, Mounted, NastyTree, Need, Program, Repository, assert_same_bytes,
    assert_same_trees, available, binary, each_way,
};
use crate::scene::{archived, names};

fn nasty(flavour: Flavour) -> (Machine, Repository) {
    archived(flavour, |source| {
        NastyTree::make(source.join("nasty"));
    })
}

#[test]
fn a_path_shows_what_borg_extracts_for_it_and_no_neighbour() {
    if !available(&[Need::Fuse]) {
        return;
    }
    each_way(|flavour, source| {
        let (machine, repository) = nasty(flavour);
        // The master of the links, links/b-master, is not among the paths.
        let paths = ["nasty/pfx", "nasty/links/below", "nasty/links/a-link"];
        let extracted = machine.path("out");
        repository.borg(&machine, "extract").arg(format!("::{DAY}")).args(paths).current_dir(&extracted).ok();
        let mounted = Mounted::by(source, &machine, ARCHIVE, &paths);
        for directory in ["nasty/pfx", "nasty/links/below"] {
            assert_same_trees(&mounted.path(directory), &extracted.join(directory));
        }
        assert_same_bytes(&mounted.path("nasty/links/a-link"), &extracted.join("nasty/links/a-link"));
        assert_eq!(mounted.path("nasty/links/a-link").metadata().unwrap().nlink(), 2);
        assert_eq!(names(&mounted.path("nasty")), ["links", "pfx"]);
        assert_eq!(names(&mounted.path("nasty/links")), ["a-link", "below"]);
    });
}

#[test]
fn a_leading_slash_of_a_path_is_forgiven() {
    if !available(&[Need::Fuse]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let (machine, _repository) = nasty(flavour);
    let mounted = Mounted::new(&machine, ARCHIVE, &["/nasty/pfx"]);
    assert_eq!(std::fs::read(mounted.path("nasty/pfx/same")).unwrap(), b"pfx");
}

#[test]
fn stripped_components_are_those_that_borg_strips() {
    if !available(&[Need::Fuse]) {
        return;
    }
    each_way(|flavour, source| {
        let (machine, repository) = nasty(flavour);
        let extracted = machine.path("out");
        let strip = ["--strip-components", "2"];
        repository
            .borg(&machine, "extract")
            .args(strip)
            .args([&format!("::{DAY}"), "nasty/links", "nasty/deep"])
            .current_dir(&extracted)
            .ok();
        let mounted =
            Mounted::by(source, &machine, ARCHIVE, &[&["nasty/links", "nasty/deep"], &strip[..]].concat());
        assert_same_trees(mounted.dir(), &extracted);
    });
}

/// An archive whose owner has a number that its name does not have on this machine.
fn foreign_owner(flavour: Flavour) -> (Machine, Repository) {
    let (machine, repository) = archived(flavour, |source| std::fs::write(source.join("x"), b"x").unwrap());
    let tar = machine.path("foreign.tar");
    Program::new("tar")
        .args(["--owner", "daemon:4242", "--group", "daemon:4343", "--mode", "0664", "-cf"])
        .arg(&tar)
        .arg("x")
        .current_dir(&machine.source())
        .ok();
    repository.borg(&machine, "import-tar").arg("::foreign").arg(&tar).ok();
    (machine, repository)
}

fn owner(path: &Path) -> (u32, u32) {
    let meta = path.symlink_metadata().unwrap();
    (meta.uid(), meta.gid())
}

#[test]
fn owners_are_known_by_name_unless_numbers_are_wanted() {
    if !available(&[Need::Fuse]) {
        return;
    }
    each_way(|flavour, source| {
        let (machine, _repository) = foreign_owner(flavour);
        let daemon = nix::unistd::User::from_name("daemon").unwrap().unwrap();
        let mounted = Mounted::by(source, &machine, "::foreign", &[]);
        assert_eq!(owner(&mounted.path("x")), (daemon.uid.as_raw(), daemon.gid.as_raw()));
        mounted.umount(&machine);
        let mounted = Mounted::by(source, &machine, "::foreign", &["-o", "numeric_ids"]);
        assert_eq!(owner(&mounted.path("x")), (4242, 4343));
    });
}

#[test]
fn owner_and_mode_can_be_forced() {
    if !available(&[Need::Fuse]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let (machine, _repository) = foreign_owner(flavour);
    let mounted = Mounted::new(&machine, "::foreign", &["-o", "uid=3,gid=4,umask=0027"]);
    assert_eq!(owner(&mounted.path("x")), (3, 4));
    assert_eq!(mounted.path("x").metadata().unwrap().mode() & 0o7777, 0o640);
}

#[test]
fn other_users_are_let_in_only_when_that_is_allowed() {
    if !available(&[Need::Fuse, Need::Root]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let (machine, _repository) = nasty(flavour);
    std::fs::set_permissions(machine.path(""), PermissionsExt::from_mode(0o755)).unwrap();
    let read_as_nobody = |mounted: &Mounted, name: &str| {
        let nobody = ["--reuid", "65534", "--regid", "65534", "--clear-groups", "cat"];
        Program::new("setpriv").args(nobody).arg(mounted.path(name)).run()
    };
    let mounted = Mounted::new(&machine, ARCHIVE, &[]);
    assert_ne!(read_as_nobody(&mounted, "nasty/pfx/same").code(), Some(0));
    mounted.umount(&machine);
    let mounted = Mounted::new(&machine, ARCHIVE, &["-o", "allow_other"]);
    assert_eq!(read_as_nobody(&mounted, "nasty/pfx/same").stdout, b"pfx");
    // The modes still count: attributes/secret is 0000.
    assert_ne!(read_as_nobody(&mounted, "nasty/attributes/secret").code(), Some(0));
}

#[test]
fn a_script_written_for_borg_mount_works() {
    if !available(&[Need::Fuse]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let (machine, _repository) = nasty(flavour);
    let script = format!(
        "set -e; dir=\"$PWD/restore here\"; mkdir \"$dir\"
         offsite() {{ {:?} --config {:?} \"$@\"; }}
         offsite mount --bypass-lock -o ignore_permissions,umask=0077 ::{DAY} \"$dir\" nasty/pfx | cat
         cat \"$dir/nasty/pfx/same\"
         offsite umount \"$dir\"
         rmdir \"$dir\"",
        binary(),
        machine.config(),
    );
    let run = machine.program("sh").arg("-c").arg(script).current_dir(&machine.path("")).ok();
    assert!(run.stdout().ends_with("pfx"), "{run}");
}

/// As user and group 65534.
fn as_nobody(program: &str) -> Program {
    Program::new("setpriv").args(["--reuid", "65534", "--regid", "65534", "--clear-groups", program])
}

#[test]
fn what_a_closed_directory_protected_is_protected_here_for_whomever_the_mount_is() {
    if !available(&[Need::Fuse, Need::Root]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let (machine, repository) = archived(flavour, |source| {
        std::fs::create_dir_all(source.join("prot/data")).unwrap();
        std::fs::write(source.join("prot/data/f"), "secret").unwrap();
        std::fs::set_permissions(source.join("prot"), PermissionsExt::from_mode(0o700)).unwrap();
        std::fs::write(source.join("open"), "open").unwrap();
    });
    std::fs::set_permissions(machine.path(""), PermissionsExt::from_mode(0o755)).unwrap();
    // As `filesystems_to_backup` with nothing but that directory makes it.
    let create = |name: &str, path: &str, dir: &Path| {
        let create = repository.borg(&machine, "create").arg(format!("::{name}"));
        create.arg(path).current_dir(dir).ok();
    };
    create("inner", "prot/data", &machine.source());
    create("root", ".", &machine.source().join("prot"));
    let cases: [(&str, &[&str], &str); 6] = [
        ("::inner", &[], "prot/data/f"),
        (ARCHIVE, &["prot/data"], "prot/data/f"),
        ("::inner", &["--strip-components", "2"], "f"),
        (ARCHIVE, &["prot", "--strip-components", "1"], "data/f"),
        ("::root", &[], "data/f"),
        ("", &[], "root/data/f"),
    ];
    for (archive, arguments, path) in cases {
        let mounted = Mounted::new(&machine, archive, &[arguments, &["-o", "allow_other"]].concat());
        let read = as_nobody("cat").arg(mounted.path(path)).run();
        assert!(read.code() != Some(0) && read.stdout.is_empty(), "{archive} {arguments:?}: {read}");
        assert_eq!(std::fs::read_to_string(mounted.path(path)).unwrap(), "secret", "{archive} {arguments:?}");
        let read = as_nobody("cat").arg(mounted.path(path)).run();
        assert_ne!(read.code(), Some(0), "after root was there: {archive} {arguments:?}: {read}");
        mounted.umount(&machine);
    }
    // The same from within, where the kernel keeps what it knew of the directory before it was loaded.
    let mounted = Mounted::new(&machine, "", &["-o", "allow_other"]);
    let within = |path: &str| {
        let script = "cd \"$1\" && cat data/f; cat data/f";
        as_nobody("sh").args(["-c", script, "sh"]).arg(mounted.path(path)).run()
    };
    assert!(within("root").stdout.is_empty());
    mounted.umount(&machine);
    // What was open stays so.
    let mounted = Mounted::new(&machine, "", &["-o", "allow_other"]);
    assert_eq!(as_nobody("cat").arg(mounted.path(DAY).join("open")).ok().stdout, b"open");
    mounted.umount(&machine);
    // And where nobody else looks in, copies of the mount have directories as usual.
    let mounted = Mounted::new(&machine, "::inner", &[]);
    assert_eq!(mounted.path("prot").metadata().unwrap().mode() & 0o777, 0o755);
}

#[test]
fn what_mount_8_is_told_protects_or_is_refused_and_can_be_changed() {
    if !available(&[Need::Fuse, Need::Root]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let (machine, _repository) = archived(flavour, |source| {
        std::fs::write(source.join("script"), "#!/bin/sh\necho ran\n").unwrap();
        std::fs::set_permissions(source.join("script"), PermissionsExt::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink("script", source.join("link")).unwrap();
    });
    let helper = machine.path("mount.borg-offsite-backup");
    std::os::unix::fs::symlink(binary(), &helper).unwrap();
    let dir = machine.path("made/here");
    let mount = |options: &str| {
        let options = format!("rw,config={},{options}", machine.config().display());
        machine.program(&helper).arg(ARCHIVE).arg(&dir).args(["-o", &options])
    };
    mount("noexec,relatime,sync,_netdev,x-systemd.automount,X-mount.mkdir=0711,user=me").ok();
    let mounted = Mounted::at(dir.clone());
    assert_eq!(std::fs::metadata(dir.parent().unwrap()).unwrap().mode() & 0o777, 0o711);
    // Not through a shell, which would read what it may not execute.
    let runs = |name: &str| Program::new("env").arg(mounted.path(name)).run().stdout == b"ran\n";
    assert!(!runs("script") && mounted.path("link").exists());
    mount("remount,nosymfollow,allow_other").ok();
    assert!(!runs("script") && !mounted.path("link").exists(), "noexec stays, nosymfollow comes");
    mount("remount,exec,symfollow").ok();
    assert!(runs("script") && runs("link"));
    let options = Program::new("findmnt").args(["-n", "-o", "OPTIONS"]).arg(&dir).ok().stdout();
    assert!(
        ["ro", "nosuid", "nodev"].iter().all(|o| options.trim().split(',').any(|p| p == *o)),
        "{options}"
    );
    mounted.umount(&machine);
    let said = mount("remount,noexec").fails();
    assert!(said.contains("nothing of ours is mounted"), "{said}");
}

#[test]
fn links_lead_out_of_the_mount_unless_it_is_said_that_they_must_not() {
    if !available(&[Need::Fuse]) {
        return;
    }
    each_way(|flavour, source| {
        let (machine, repository) = archived(flavour, |source| {
            std::fs::create_dir(source.join("d")).unwrap();
            std::fs::write(source.join("live"), "then").unwrap();
            std::os::unix::fs::symlink(source.join("live"), source.join("d/link")).unwrap();
        });
        let all = machine.source();
        repository.borg(&machine, "create ::absolute").arg(&all).ok();
        std::fs::write(all.join("live"), "now").unwrap();
        let link = all.strip_prefix("/").unwrap().join("d/link");
        let mounted = Mounted::by(source, &machine, "::absolute", &[]);
        assert_eq!(std::fs::read_to_string(mounted.path(&link)).unwrap(), "now");
        mounted.umount(&machine);
        let mounted = Mounted::by(source, &machine, "::absolute", &["-o", "transform_symlinks"]);
        assert_eq!(std::fs::read_to_string(mounted.path(&link)).unwrap(), "then");
        let length = mounted.path(&link).symlink_metadata().unwrap().len();
        assert_eq!(std::fs::read_link(mounted.path(&link)).unwrap().as_os_str().len() as u64, length);
    });
}

#[test]
fn long_options_may_be_shortened_as_borg_mount_lets_them() {
    if !available(&[Need::Fuse]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let (machine, _repository) = archived(flavour, |source| {
        std::fs::create_dir(source.join("d")).unwrap();
        std::fs::write(source.join("d/file"), "x").unwrap();
    });
    let options = ["--sort=name", "--glob=2026*", "--consider", "--strip=1"];
    let mounted = Mounted::new(&machine, "", &options);
    assert_eq!(names(mounted.dir()), [DAY, "latest"]);
    assert_eq!(names(&mounted.path(DAY)), ["file"]);
    mounted.umount(&machine);
    let said = Mounted::command(&machine, "", &machine.mount_point(), &["--s=name"]).fails();
    assert!(said.contains("--s"), "{said}");
}
