//! What one does with a volume in an archive.

pub mod naming;
