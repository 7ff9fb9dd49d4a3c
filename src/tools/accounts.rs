//! The accounts of this machine: users and groups by name and by number.
//!
//! A statically linked program cannot load the modules of the name service, so it reads
//! /etc/passwd and /etc/group itself.

use std::io;
use std::path::PathBuf;

/// A user of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub home: PathBuf,
}

/// The user `name`, if there is one.
///
/// # Errors
/// When the accounts of this machine cannot be read.
pub fn user(name: &str) -> io::Result<Option<User>> {
    service::user(name)
}

/// The user with the number `uid`, if there is one.
///
/// # Errors
/// When the accounts of this machine cannot be read.
pub fn user_of(uid: u32) -> io::Result<Option<User>> {
    service::user_of(uid)
}

/// The number of the group `name`, if there is one.
///
/// # Errors
/// When the accounts of this machine cannot be read.
pub fn group(name: &str) -> io::Result<Option<u32>> {
    service::group(name)
}

#[cfg(not(target_feature = "crt-static"))]
mod service {
    use std::io;

    use nix::unistd::{Group, Uid};

    use super::User;

    pub fn user(name: &str) -> io::Result<Option<User>> {
        Ok(nix::unistd::User::from_name(name)?.map(User::from))
    }

    pub fn user_of(uid: u32) -> io::Result<Option<User>> {
        Ok(nix::unistd::User::from_uid(Uid::from_raw(uid))?.map(User::from))
    }

    pub fn group(name: &str) -> io::Result<Option<u32>> {
        Ok(Group::from_name(name)?.map(|group| group.gid.as_raw()))
    }

    impl From<nix::unistd::User> for User {
        fn from(user: nix::unistd::User) -> User {
            User { name: user.name, uid: user.uid.as_raw(), gid: user.gid.as_raw(), home: user.dir }
        }
    }
}

#[cfg(target_feature = "crt-static")]
mod service {
    use std::io;

    use super::{User, files};

    pub fn user(name: &str) -> io::Result<Option<User>> {
        files::find(files::PASSWD, |line| files::user(line).filter(|user| user.name == name))
    }

    pub fn user_of(uid: u32) -> io::Result<Option<User>> {
        files::find(files::PASSWD, |line| files::user(line).filter(|user| user.uid == uid))
    }

    pub fn group(name: &str) -> io::Result<Option<u32>> {
        files::find(files::GROUP, |line| files::group(line).filter(|(of, _)| *of == name).map(|(_, gid)| gid))
    }
}

#[cfg(any(test, target_feature = "crt-static"))]
mod files {
    use std::fs::File;
    use std::io::{self, BufRead, BufReader, ErrorKind};

    use super::User;

    pub const PASSWD: &str = "/etc/passwd";
    pub const GROUP: &str = "/etc/group";

    /// What `found` makes of the first line of `file` that it accepts. A machine without the file
    /// has no accounts. Lines that are not UTF-8 have no names of ours.
    pub fn find<T>(file: &str, found: impl Fn(&str) -> Option<T>) -> io::Result<Option<T>> {
        let file = match File::open(file) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        for line in BufReader::new(file).split(b'\n') {
            if let Some(found) = std::str::from_utf8(&line?).ok().and_then(&found) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// A line of passwd(5).
    pub fn user(line: &str) -> Option<User> {
        let mut fields = line.split(':');
        let (name, _password) = (fields.next()?, fields.next()?);
        let [uid, gid] = [fields.next()?, fields.next()?].map(|number| number.parse().ok());
        let home = fields.nth(1)?.into();
        (!name.is_empty()).then_some(User { name: name.to_owned(), uid: uid?, gid: gid?, home })
    }

    /// A line of group(5): the name and the number.
    pub fn group(line: &str) -> Option<(&str, u32)> {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        Some((name, fields.nth(1)?.parse().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_have_what_the_name_service_says() {
        let root = files::find(files::PASSWD, |line| files::user(line).filter(|user| user.uid == 0));
        assert_eq!(root.unwrap(), user_of(0).unwrap());
        let root = files::find(files::GROUP, |line| {
            files::group(line).filter(|(name, _)| *name == "root").map(|g| g.1)
        });
        assert_eq!((root.unwrap(), group("root").unwrap()), (Some(0), Some(0)));
        assert_eq!(user("root").unwrap().unwrap().home, user_of(0).unwrap().unwrap().home);
        assert_eq!((user("no such user").unwrap(), group("no such group").unwrap()), (None, None));
    }

    #[test]
    fn a_line_that_is_no_account_is_passed_over() {
        for line in
            ["", "root", "root:x:0", ":x:0:0::/:", "a:x:b:0::/:/bin/sh", "+::::::", "# root:x:0:0::/:"]
        {
            assert!(files::user(line).is_none_or(|user| user.name.starts_with('#')), "{line}");
        }
        let me = files::user("me:x:1000:100:Me,,:/home/me:/bin/sh").unwrap();
        assert_eq!(me, User { name: "me".into(), uid: 1000, gid: 100, home: "/home/me".into() });
        assert_eq!(files::group("users:x:100:me,you"), Some(("users", 100)));
        for line in ["", "users", "users:x", "users:x:y:", ":x:1:"] {
            assert_eq!(files::group(line), None, "{line}");
        }
        assert_eq!(files::find("/nonexistent", files::user).unwrap(), None);
    }
}
