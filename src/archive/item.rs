//! One item of an archive, as the repository's reader gives it.

pub use borg_repository::item::{FileType, Item, NOBODY, Xattr};
