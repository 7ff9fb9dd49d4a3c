//! Reading of borg 1.x repositories by ourselves. It knows no FUSE, no command line and no
//! configuration, and starts no program. So far: the stream of items that an archive's metadata is.

pub mod items;
mod msgpack;
