//! Converts POSIX ACLs from borg's text to the bytes of the xattr `system.posix_acl_access`.
//!
//! The format is the kernel's (linux/posix_acl_xattr.h): a version, then entries of tag (u16),
//! permissions (u16) and id (u32), all little-endian, in the order of the tags.

use super::owners::Owners;

const VERSION: u32 = 2;
const UNDEFINED_ID: u32 = u32::MAX;

const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// The xattr value for lines such as `user:name:rwx:1000`; `None` if a line is not an ACL entry.
pub fn encode(text: &[u8], ids: &Owners) -> Option<Vec<u8>> {
    let mut entries = Vec::new();
    for line in text.split(|b| *b == b'\n').map(<[u8]>::trim_ascii).filter(|l| !l.is_empty()) {
        entries.push(entry(line, ids)?);
    }
    entries.sort_by_key(|(tag, _, id)| (*tag, *id));
    let mut bytes = VERSION.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&permissions.to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    Some(bytes)
}

fn entry(line: &[u8], ids: &Owners) -> Option<(u16, u16, u32)> {
    let mut fields = line.split(|b| *b == b':');
    let (kind, name, permissions) = (fields.next()?, fields.next()?, fields.next()?);
    let number = fields.next().and_then(|n| std::str::from_utf8(n).ok()?.parse().ok());
    let own_number = || std::str::from_utf8(name).ok()?.parse().ok();
    let (tag, id) = match (kind, name) {
        (b"user" | b"u", b"") => (USER_OBJ, UNDEFINED_ID),
        (b"user" | b"u", _) => (USER, ids.user(name, number.or_else(own_number))?),
        (b"group" | b"g", b"") => (GROUP_OBJ, UNDEFINED_ID),
        (b"group" | b"g", _) => (GROUP, ids.group(name, number.or_else(own_number))?),
        (b"mask" | b"m", b"") => (MASK, UNDEFINED_ID),
        (b"other" | b"o", b"") => (OTHER, UNDEFINED_ID),
        _ => return None,
    };
    let bit = |b: &u8| match b {
        b'r' => Some(4),
        b'w' => Some(2),
        b'x' => Some(1),
        b'-' => Some(0),
        _ => None,
    };
    let permissions = permissions.iter().take(3).try_fold(0, |sum, b| Some(sum | bit(b)?))?;
    Some((tag, permissions, id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::owners::Ownership;

    fn by_number() -> Owners {
        Owners::new(Ownership { numeric_ids: true, ..Ownership::default() })
    }

    #[test]
    fn borgs_text_becomes_the_kernels_entries() {
        let text = b"user::rw-\nuser:nobody:r--:65534\ngroup::r--\nmask::r--\nother::---\n";
        let bytes = encode(text, &by_number()).unwrap();
        let entry = |tag: u16, permissions: u16, id: u32| {
            [&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat()
        };
        let expected = [
            vec![2, 0, 0, 0],
            entry(1, 6, u32::MAX),
            entry(2, 4, 65534),
            entry(4, 4, u32::MAX),
            entry(16, 4, u32::MAX),
            entry(32, 0, u32::MAX),
        ];
        assert_eq!(bytes, expected.concat());
    }

    #[test]
    fn what_is_no_acl_is_refused() {
        for text in [&b"user:x:rwx"[..], b"user", b"other::rq-", b"thing::r--"] {
            assert_eq!(encode(text, &by_number()), None, "{}", text.escape_ascii());
        }
    }
}
