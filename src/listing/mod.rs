//! Lists archives and their files in borg's own formats, for machines without borg.
//!
//! ```text
//! archives | items | info   what borg prints of each
//! format                    Python's format strings
//! value, columns, mode      what is filled in
//! ```

mod archives;
mod columns;
mod format;
mod info;
mod items;
pub mod mode;
mod value;

pub use archives::ArchiveList;
pub use info::{Totals, archive_json, archive_text, repository_json, repository_text};
pub use items::ItemList;
