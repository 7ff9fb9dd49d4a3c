//! Counts what cannot be shown, and keeps the first names for a message of one line.

use std::fmt;

use zerocopy::IntoBytes;

/// The number of names that are kept.
const NAMED: u64 = 3;
/// The bytes of each name that are kept.
const LONGEST: usize = 200;

/// Paths or names that were left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftOut {
    count: u64,
    /// The first names, each followed by a NUL.
    names: Vec<u8>,
}

impl LeftOut {
    pub fn add(&mut self, name: &[u8]) {
        if self.count < NAMED {
            let name = name.split(|b| *b == 0).next().unwrap_or_default();
            self.names.extend_from_slice(&name[..name.len().min(LONGEST)]);
            if name.len() > LONGEST {
                self.names.extend_from_slice(b"...");
            }
            self.names.push(0);
        }
        self.count += 1;
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    /// The first names; each may be cut.
    pub fn first(&self) -> impl Iterator<Item = &[u8]> {
        self.names.split(|byte| *byte == 0).filter(|name| !name.is_empty())
    }

    /// Whether there are more than these.
    pub fn has_more(&self) -> bool {
        self.count > NAMED
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// As bytes, in the byte order of this machine.
    pub fn sections(&self) -> [&[u8]; 2] {
        [self.count.as_bytes(), &self.names]
    }

    /// The value with these [sections](LeftOut::sections).
    pub fn of_sections(count: &[u8], names: &[u8]) -> Option<Self> {
        let most = NAMED as usize * (LONGEST + 4);
        let count = u64::from_ne_bytes(count.try_into().ok()?);
        (names.len() <= most).then(|| LeftOut { count, names: names.to_vec() })
    }

    /// Adds those of `more`.
    pub fn append(&mut self, more: &LeftOut) {
        let room = NAMED.saturating_sub(self.count) as usize;
        let names = more.names.split_inclusive(|byte| *byte == 0).take(room);
        self.names.extend(names.flatten());
        self.count += more.count;
    }
}

/// `"a", "b" and 5 more`, escaped.
impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut label = 0;
        for name in self.names.split_inclusive(|b| *b == 0) {
            let comma = if label == 0 { "" } else { ", " };
            write!(f, "{comma}\"{}\"", name[..name.len() - 1].escape_ascii())?;
            label += 1;
        }
        match self.count.saturating_sub(label) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_few_are_named_escaped_and_short() {
        let mut left_out = LeftOut::default();
        assert!(left_out.is_empty());
        left_out.add(b"");
        left_out.add(b"a\x1b[2J");
        left_out.add(&[b'x'; 5000]);
        assert_eq!(left_out.to_string(), format!("\"\", \"a\\x1b[2J\", \"{}...\"", "x".repeat(200)));
        left_out.add(b"y");
        assert!(left_out.to_string().ends_with("...\" and 1 more"), "{left_out}");
        assert!(left_out.sections()[1].len() < 700);
    }
}
