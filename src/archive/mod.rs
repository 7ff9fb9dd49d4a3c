//! Pure data: names of archives, the tree that the items of an archive make, and the description of
//! its datasets.

pub mod choice;
pub mod datasets;
pub mod filter;
pub mod identity;
pub mod left_out;
mod makers;
pub mod mark;
pub mod name;
pub mod naming;
mod nearest;
pub mod origin;
pub mod patterns;
pub mod ranges;
pub mod tree;
pub mod volumes;
