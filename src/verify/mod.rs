//! Whether an archive has all of its data, and whether a device has that of an image.

pub mod compare;
pub mod data;
mod sample;
