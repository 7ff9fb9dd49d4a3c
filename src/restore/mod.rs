//! Images and files of an archive, put back.

pub mod attributes;
pub mod bookmark;
mod conflicts;
pub mod estimate;
pub mod files;
pub mod image;
pub mod image_seeds;
pub mod new_volume;
pub mod request;
mod spot_check;
pub mod volume_files;
mod writer;
