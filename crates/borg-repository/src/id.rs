//! Ids of objects, archives and repositories.

use std::fmt;

/// 32 bytes. The id of an object is a keyed hash of its plain bytes; that of a repository is
/// random.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub [u8; 32]);

impl Id {
    /// The id of the manifest.
    pub const MANIFEST: Id = Id([0; 32]);

    /// `None` if there are not 32 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Id)
    }

    /// `None` if it is not 64 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut id = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        for (byte, digits) in id.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digit = |d: u8| char::from(d).to_digit(16);
            *byte = (digit(digits[0])? * 16 + digit(digits[1])?) as u8;
        }
        Some(Id(id))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_goes_there_and_back() {
        let text = "00ff".repeat(16);
        assert_eq!(Id::from_hex(&text).unwrap().to_string(), text);
        for wrong in ["", "0", &"0g".repeat(32), &"00".repeat(33), &"é".repeat(32)] {
            assert_eq!(Id::from_hex(wrong), None);
        }
    }
}
