//! Shows archives as a read-only FUSE file system.
//!
//! ```text
//! open -> session -> fuse -> fs -> shown (which archives), loaded (their trees)
//! ```

mod attr;
pub mod fs;
mod fuse;
mod links;
mod loaded;
mod look;
pub mod open;
pub mod session;
pub mod shown;
