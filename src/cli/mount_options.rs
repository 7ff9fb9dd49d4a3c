//! Parses the list after `-o`.

use std::time::Duration;

use crate::config::nearest;
use crate::error::{Error, Result};
use crate::mount::open::Request;
use crate::tools::fuse::mounted::Access;

const KNOWN: [&str; 21] = [
    "allow_other",
    "allow_root",
    "allow_damaged_files",
    "numeric_ids",
    "ignore_permissions",
    "default_permissions",
    "transform_symlinks",
    "uid",
    "gid",
    "umask",
    "idle",
    "stall",
    "deadline",
    "lock_wait",
    "refresh",
    "ro",
    "nosuid",
    "nodev",
    "noexec",
    "nosymfollow",
    "X-mount.mkdir",
];
/// Options that mount(8), systemd and fstab add for themselves, or for writable file systems. They
/// do not concern the mount.
const FOR_OTHERS: [&str; 44] = [
    "defaults",
    "auto",
    "noauto",
    "user",
    "nouser",
    "users",
    "owner",
    "noowner",
    "group",
    "nogroup",
    "nofail",
    "fail",
    "_netdev",
    "_rnetdev",
    "dev",
    "suid",
    "async",
    "sync",
    "dirsync",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "lazytime",
    "nolazytime",
    "iversion",
    "noiversion",
    "mand",
    "nomand",
    "silent",
    "quiet",
    "loud",
    "comment",
    "helper",
    "uhelper",
    "nonempty",
    "private",
    "slave",
    "shared",
    "bg",
];

/// Applies a list such as `a,b=c` to the request.
///
/// # Errors
/// When an option is unknown, or its value is invalid.
pub fn apply(list: &str, request: &mut Request) -> Result<()> {
    for option in list.split(',').map(str::trim).filter(|o| !o.is_empty()) {
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (option, None),
        };
        apply_one(option, name, value, request)?;
    }
    Ok(())
}

fn apply_one(option: &str, name: &str, value: Option<&str>, request: &mut Request) -> Result<()> {
    let number = |radix| {
        let digits = value.unwrap_or_default();
        u32::from_str_radix(digits, radix)
            .map_err(|_| Error::usage(format!("`-o {option}`: a number is expected after `{name}=`")))
    };
    let seconds = || match value.unwrap_or_default().parse::<f64>() {
        Ok(s) if s > 0.0 && s < 1e9 => Ok(Some(Duration::from_secs_f64(s))),
        _ => Err(Error::usage(format!("`-o {option}`: a number of seconds is expected after `{name}=`"))),
    };
    match name {
        "allow_other" => request.access = Access::Everyone,
        "allow_root" => request.access = Access::Root,
        "allow_damaged_files" => request.allow_damaged_files = true,
        "numeric_ids" | "numeric-ids" => request.ownership.numeric_ids = true,
        "ignore_permissions" => request.ignore_permissions = true,
        "uid" => request.ownership.uid = Some(number(10)?),
        "gid" => request.ownership.gid = Some(number(10)?),
        "umask" => request.ownership.umask = number(8)? & 0o7777,
        "idle" => request.idle = seconds()?,
        "stall" => request.stall = seconds()?,
        "deadline" => request.deadline = seconds()?,
        "lock_wait" => request.lock_wait = seconds()?,
        "refresh" => request.look = seconds()?,
        "transform_symlinks" => request.transform_symlinks = true,
        "noexec" => request.guards.noexec = true,
        "exec" => request.guards.noexec = false,
        "nosymfollow" => request.guards.nosymfollow = true,
        "symfollow" => request.guards.nosymfollow = false,
        "X-mount.mkdir" | "x-mount.mkdir" => {
            let mode = value.unwrap_or("755").trim_matches('"');
            let mode = u32::from_str_radix(mode, 8).ok().filter(|mode| *mode <= 0o7777);
            let wrong = || Error::usage(format!("`-o {option}`: an octal mode is expected after `{name}=`"));
            request.make_point = Some(mode.ok_or_else(wrong)?);
        }
        // Always set.
        "ro" | "nosuid" | "nodev" | "default_permissions" => {}
        "remount" => {
            return Err(Error::usage("`-o remount`: only mount(8) can change a mount that stands").hint(
                "mount -o remount,noexec DIR; for all but noexec and nosymfollow end it, and mount it anew",
            ));
        }
        "rw" => return Err(Error::usage("`-o rw`: an archive cannot be written to")),
        _ if name.starts_with("x-") || name.starts_with("X-") || FOR_OTHERS.contains(&name) => {}
        _ => {
            let error = Error::usage(format!("`-o {option}`: there is no such mount option"));
            return Err(match nearest(name, &KNOWN) {
                Some(known) => error.hint(format!("did you mean `{known}`?")),
                None => error.hint(format!("there are {}", KNOWN.join(", "))),
            });
        }
    }
    Ok(())
}

/// Parses `500M`, `20GiB` or `0` into bytes. Units are powers of 1000, with an `i` powers of 1024.
///
/// # Errors
/// When it is not a size.
pub fn size(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = unit.trim().to_ascii_lowercase();
    let (base, letter) = match unit.strip_suffix("ib") {
        Some(letter) => (1024f64, letter),
        None => (1000f64, unit.strip_suffix('b').unwrap_or(&unit)),
    };
    let power = match letter {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return Err("write a size like 500M, 20G or 20GiB".into()),
    };
    let number: f64 = number.parse().map_err(|_| "write a size like 500M, 20G or 20GiB".to_owned())?;
    Ok((number * base.powi(power)) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        let sizes = [("0", 0), ("4096", 4096), ("500M", 500_000_000), ("1.5GiB", 3 << 29), ("2 kB", 2000)];
        for (text, bytes) in sizes {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "x", "10X", "-1", "1.2.3"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn options_of_borg_mount_and_of_fstab_are_taken() {
        let mut request = Request::default();
        apply("allow_other,uid=5,umask=0077,numeric_ids", &mut request).unwrap();
        apply("ro,nofail,x-systemd.automount,_netdev,noauto", &mut request).unwrap();
        assert_eq!(request.access, Access::Everyone);
        assert_eq!((request.ownership.uid, request.ownership.umask), (Some(5), 0o077));
        assert!(request.ownership.numeric_ids);
    }

    #[test]
    fn what_protects_is_set_and_what_has_no_meaning_here_is_taken() {
        let mut request = Request::default();
        apply("noexec,nosymfollow,relatime,sync,X-mount.mkdir=0700,comment=x,X-y=z,user=me", &mut request)
            .unwrap();
        assert_eq!((request.guards.noexec, request.guards.nosymfollow), (true, true));
        assert_eq!(request.make_point, Some(0o700));
        apply("exec,symfollow", &mut request).unwrap();
        assert_eq!((request.guards.noexec, request.guards.nosymfollow), (false, false));
        let e = apply("remount,noexec", &mut request).unwrap_err();
        assert!(e.hints()[0].contains("mount -o remount"));
        assert!(apply("X-mount.mkdir=9", &mut request).is_err());
    }

    #[test]
    fn a_typo_is_refused_with_the_nearest_name() {
        let e = apply("alow_other", &mut Request::default()).unwrap_err();
        assert_eq!(e.hints(), ["did you mean `allow_other`?"]);
        assert!(apply("uid=me", &mut Request::default()).is_err());
        assert!(apply("rw", &mut Request::default()).is_err());
    }
}
