//! Owners of files on this machine: by name if the machine knows the name, otherwise by number.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::accounts;

/// How owners, groups and modes of an archive are shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ownership {
    /// Uses the stored numbers, and ignores names.
    pub numeric_ids: bool,
    /// All files belong to this user.
    pub uid: Option<u32>,
    /// All files belong to this group.
    pub gid: Option<u32>,
    /// Permission bits that are removed from all files.
    pub umask: u32,
}

/// Looks up each name once.
pub struct Owners {
    pub rules: Ownership,
    users: Mutex<HashMap<Box<[u8]>, Option<u32>>>,
    groups: Mutex<HashMap<Box<[u8]>, Option<u32>>>,
}

impl Owners {
    pub fn new(rules: Ownership) -> Self {
        Owners { rules, users: Mutex::default(), groups: Mutex::default() }
    }

    pub fn uid(&self, name: Option<&[u8]>, number: u32) -> u32 {
        let by_name = || name.and_then(|n| known(&self.users, n, user));
        self.rules.uid.unwrap_or_else(|| self.named(by_name).unwrap_or(number))
    }

    pub fn gid(&self, name: Option<&[u8]>, number: u32) -> u32 {
        let by_name = || name.and_then(|n| known(&self.groups, n, group));
        self.rules.gid.unwrap_or_else(|| self.named(by_name).unwrap_or(number))
    }

    fn named(&self, by_name: impl FnOnce() -> Option<u32>) -> Option<u32> {
        if self.rules.numeric_ids { None } else { by_name() }
    }

    /// The local user of an ACL entry; `None` if there is no such user.
    pub fn user(&self, name: &[u8], number: Option<u32>) -> Option<u32> {
        self.named(|| known(&self.users, name, user)).or(number)
    }

    /// The same for a group.
    pub fn group(&self, name: &[u8], number: Option<u32>) -> Option<u32> {
        self.named(|| known(&self.groups, name, group)).or(number)
    }
}

type Known = Mutex<HashMap<Box<[u8]>, Option<u32>>>;

fn known(names: &Known, name: &[u8], ask: fn(&str) -> Option<u32>) -> Option<u32> {
    if let Some(id) = names.lock().get(name) {
        return *id;
    }
    // The lookup happens without the lock, because the answer may come from a network.
    let id = std::str::from_utf8(name).ok().and_then(ask);
    names.lock().insert(name.into(), id);
    id
}

fn user(name: &str) -> Option<u32> {
    accounts::user(name).ok().flatten().map(|user| user.uid)
}

fn group(name: &str) -> Option<u32> {
    accounts::group(name).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_before_numbers_unless_numbers_are_asked_for() {
        let owners = Owners::new(Ownership::default());
        assert_eq!(owners.uid(Some(b"root"), 4711), 0);
        assert_eq!(owners.uid(Some(b"nobody knows this one"), 4711), 4711);
        assert_eq!(owners.gid(None, 4712), 4712);
        let numeric = Owners::new(Ownership { numeric_ids: true, ..Ownership::default() });
        assert_eq!(numeric.uid(Some(b"root"), 4711), 4711);
        let all_mine = Owners::new(Ownership { uid: Some(5), gid: Some(6), ..Ownership::default() });
        assert_eq!((all_mine.uid(Some(b"root"), 1), all_mine.gid(None, 1)), (5, 6));
    }
}
