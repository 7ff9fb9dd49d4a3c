//! Where the bytes of a file are in the archive.

/// The place of a file's bytes: `borg extract --stdout` with its path outputs `before` bytes of
/// earlier items with the same path, the `size` bytes of this file, and `after` bytes of later
/// ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content<'a> {
    /// The number of the item with the bytes.
    pub item: u32,
    /// The directory and the name in the archive, even if the view shows others.
    pub directory: &'a [u8],
    pub name: &'a [u8],
    /// The path in the archive if it is spelled in an unusual way, such as `./a`.
    pub unusual: Option<&'a [u8]>,
    /// In bytes.
    pub size: u64,
    pub before: u64,
    pub after: u64,
    /// borg put zeros where chunks were lost.
    pub damaged: bool,
}

impl Content<'_> {
    /// The path as the archive spells it.
    pub fn path(&self) -> Vec<u8> {
        if let Some(path) = self.unusual {
            return path.to_vec();
        }
        if self.directory.is_empty() { self.name.to_vec() } else { [self.directory, self.name].join(&b'/') }
    }
}
