//! Checks that an archive has all of its data, and that a device is equal to an image.

pub mod compare;
pub mod data;
mod sample;
