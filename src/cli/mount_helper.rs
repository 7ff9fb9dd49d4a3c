//! The helper for `mount -t borg-offsite-backup`, fstab and systemd's mount units. mount(8) calls
//! `/sbin/mount.borg-offsite-backup SOURCE DIR [-fnsvrw] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]`,
//! which is a link to this program.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::mount_options;
use crate::error::{Error, Result};
use crate::mount::open::Request;
use crate::tools::{mount_point, mounts};

/// The types `borg-offsite-backup`, and `fuse.borg-offsite-backup` as in the mount table.
const NAMES: [&str; 2] = ["mount.borg-offsite-backup", "mount.fuse.borg-offsite-backup"];
/// Sources that name no archive: then all archives are shown.
const ALL: [&[u8]; 3] = [b"::", b"none", b"borg-offsite-backup"];

/// How [`super::run`] was called.
#[derive(Debug, PartialEq, Eq)]
pub enum Call {
    /// By its own name, or as a helper with this command line for `mount`.
    Command(Vec<OsString>),
    /// mount(8) only asks whether mounting would work.
    Rehearsal,
    /// New options for the mount at this directory.
    Remount { dir: PathBuf, options: String },
}

/// mount(8) does not pass PATH to its helpers. Without it, only programs in /usr/bin would be
/// found.
pub fn search_programs() {
    if std::env::var_os("PATH").is_none() {
        // SAFETY: there is no second thread yet.
        unsafe { std::env::set_var("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin") };
    }
}

/// Translates the arguments of a mount helper, including its name, into ours.
///
/// # Errors
/// When there is no source, no directory, or an option that no mount helper has.
pub fn translate(args: Vec<OsString>) -> Result<Call> {
    let name = args.first().and_then(|name| Path::new(name).file_name()).unwrap_or_default();
    if !NAMES.iter().any(|helper| name == *helper) {
        return Ok(Call::Command(args));
    }
    let mut ours = vec![OsString::from("borg-offsite-backup")];
    let (mut words, mut options) = (Vec::new(), Vec::new());
    let mut rest = args.into_iter().skip(1);
    while let Some(arg) = rest.next() {
        match arg.as_bytes() {
            b"-o" => options.extend(rest.next()),
            b"-N" | b"-t" => drop(rest.next()),
            [b'-', flags @ ..] if !flags.is_empty() && flags.iter().all(|f| b"fnsvrw".contains(f)) => {
                if flags.contains(&b'f') {
                    return Ok(Call::Rehearsal);
                }
            }
            [b'-', ..] => return Err(usage(&format!("`{}` is no option of a mount helper", arg.display()))),
            _ => words.push(arg),
        }
    }
    let [source, dir] =
        <[OsString; 2]>::try_from(words).map_err(|_| usage("it wants a source and a directory"))?;
    let (config, options) = split(&options);
    if let Some(options) = options.to_str().filter(|list| list.split(',').any(|option| option == "remount")) {
        return Ok(Call::Remount { dir: dir.into(), options: options.to_owned() });
    }
    ours.extend(config.into_iter().flat_map(|file| ["--config".into(), file]));
    // These messages would appear in the journal at every mount.
    ours.extend(["--quiet".into(), "mount".into()]);
    ours.extend((!options.is_empty()).then(|| [OsString::from("-o"), options]).into_iter().flatten());
    ours.push("--".into());
    ours.extend((!ALL.contains(&source.as_bytes())).then_some(source));
    ours.push(dir);
    Ok(Call::Command(ours))
}

/// The configuration in `config=`, and the options for the mount.
fn split(lists: &[OsString]) -> (Option<OsString>, OsString) {
    let options = lists.iter().flat_map(|list| list.as_bytes().split(|b| *b == b','));
    let (mut config, mut others) = (None, Vec::new());
    for option in options {
        match option {
            // mount(8) adds it if nobody wrote `ro`; our mounts are always read-only.
            b"" | b"rw" => {}
            _ => match option.strip_prefix(b"config=") {
                Some(file) => config = Some(OsStr::from_bytes(file).to_owned()),
                None => others.push(option),
            },
        }
    }
    (config, OsString::from_vec(others.join(&b',')))
}

/// Changes those options that the kernel can change in a running mount. All others were set when it
/// was mounted: mount(8) only repeats those of fstab.
///
/// # Errors
/// When it is not a mount of ours, or the kernel refuses.
pub fn remount(dir: &Path, list: &str) -> Result<()> {
    let label = dir.display();
    let point = mount_point::absolute(dir)?;
    if mounts::at(&point)?.is_none_or(|mount| mount.kind != mounts::FUSE_TYPE) {
        return Err(Error::usage(format!("nothing of ours is mounted at {label}")).hint("see `findmnt`"));
    }
    let set = mounts::guards(&point)?;
    let mut request = Request::default();
    request.guards.noexec = set.contains(&"noexec");
    request.guards.nosymfollow = set.contains(&"nosymfollow");
    let rest: Vec<&str> = list.split(',').filter(|option| *option != "remount").collect();
    mount_options::apply(&rest.join(","), &mut request)?;
    mounts::remount(&point, request.guards.flags())?;
    let now = mounts::guards(&point)?;
    if request.guards.nosymfollow && !now.contains(&"nosymfollow") {
        return Err(Error::failed(format!("cannot set nosymfollow on {label}"))
            .because("this kernel does not know it (it came with Linux 5.10)"));
    }
    Ok(())
}

fn usage(why: &str) -> Error {
    Error::usage("this is a helper of mount(8)")
        .because(why.to_owned())
        .hint("mount -t borg-offsite-backup ::2026-11-23 /mnt/restore -o allow_other")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(args: &[&str]) -> Result<Call> {
        translate(args.iter().map(OsString::from).collect())
    }

    fn command(args: &[&str]) -> Result<Call> {
        Ok(Call::Command(args.iter().map(OsString::from).collect()))
    }

    #[track_caller]
    fn becomes(args: &[&str], ours: &[&str]) {
        assert_eq!(called(args).unwrap(), command(ours).unwrap());
    }

    #[test]
    fn under_its_own_name_nothing_is_translated() {
        let args = ["/usr/bin/borg-offsite-backup", "-f", "x"];
        becomes(&args, &args);
    }

    #[test]
    fn what_mount_calls_becomes_our_mount() {
        becomes(
            &["/sbin/mount.borg-offsite-backup", "::latest", "/mnt", "-o", "rw,allow_other,uid=5"],
            &["borg-offsite-backup", "--quiet", "mount", "-o", "allow_other,uid=5", "--", "::latest", "/mnt"],
        );
        becomes(
            &[
                "mount.fuse.borg-offsite-backup",
                "-nv",
                "none",
                "/mnt",
                "-t",
                "x",
                "-o",
                "config=/x y,ro",
                "-N",
                "7",
            ],
            &["borg-offsite-backup", "--config", "/x y", "--quiet", "mount", "-o", "ro", "--", "/mnt"],
        );
        becomes(
            &["mount.borg-offsite-backup", "::", "/mnt", "-o", "rw"],
            &["borg-offsite-backup", "--quiet", "mount", "--", "/mnt"],
        );
    }

    #[test]
    fn other_options_for_a_mount_are_no_new_mount() {
        let remount =
            called(&["mount.borg-offsite-backup", "::x", "/mnt", "-o", "rw,remount,noexec"]).unwrap();
        assert_eq!(remount, Call::Remount { dir: "/mnt".into(), options: "remount,noexec".into() });
    }

    #[test]
    fn a_rehearsal_mounts_nothing() {
        assert_eq!(called(&["mount.borg-offsite-backup", "::x", "/mnt", "-f"]).unwrap(), Call::Rehearsal);
    }

    #[test]
    fn what_no_helper_is_called_with_is_refused() {
        for args in [&["mount.borg-offsite-backup"][..], &["mount.borg-offsite-backup", "a", "b", "--help"]] {
            assert_eq!(called(args).unwrap_err().kind(), crate::error::Kind::Usage);
        }
    }
}
