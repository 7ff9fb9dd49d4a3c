//! Where the bytes of a file are in the archive.

/// The bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// The number of the item with the bytes.
    pub item: u32,
    /// In bytes.
    pub size: u64,
    /// borg put zeros where chunks were lost.
    pub damaged: bool,
}

/// The place of a file's bytes in the output of `borg extract --stdout` with its path: after `before`
/// bytes of earlier items with the same path, and before `after` bytes of later ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The directory and the name in the archive, even if the view shows others.
    pub directory: Vec<u8>,
    pub name: Vec<u8>,
    /// The path in the archive if it is spelled in an unusual way, such as `./a`.
    pub unusual: Option<Vec<u8>>,
    pub before: u64,
    pub after: u64,
}

impl Place {
    /// The path as the archive spells it.
    pub fn path(&self) -> Vec<u8> {
        match &self.unusual {
            Some(path) => path.clone(),
            None if self.directory.is_empty() => self.name.clone(),
            None => [&*self.directory, &*self.name].join(&b'/'),
        }
    }
}
