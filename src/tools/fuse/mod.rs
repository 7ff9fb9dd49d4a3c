//! What the FUSE file systems of this program share: how they are mounted and served, and how they answer the kernel.

pub mod answer;
pub mod mounted;
