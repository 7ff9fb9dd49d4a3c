//! Where the bytes of a file stand in the archive.

/// Where the bytes of a file stand: `borg extract --stdout` of its path gives `before` bytes of earlier
/// items of the same path, then the `size` bytes of this file, then `after` bytes of later ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content<'a> {
    /// Number of the item that has the bytes.
    pub item: u32,
    /// The directory in which it stands and the name that it has there, as the archive has them, also
    /// where the view shows others.
    pub directory: &'a [u8],
    pub name: &'a [u8],
    /// The path in the archive, where it is written in an unusual way, such as `./a`.
    pub unusual: Option<&'a [u8]>,
    /// Bytes.
    pub size: u64,
    pub before: u64,
    pub after: u64,
    /// borg put zeros where chunks were lost.
    pub damaged: bool,
}

impl Content<'_> {
    /// The path in the archive, as it is written there.
    pub fn path(&self) -> Vec<u8> {
        if let Some(path) = self.unusual {
            return path.to_vec();
        }
        if self.directory.is_empty() { self.name.to_vec() } else { [self.directory, self.name].join(&b'/') }
    }
}
