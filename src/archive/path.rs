//! The path of an item, as the repository's reader gives it.

pub use borg_repository::path::ItemPath;
