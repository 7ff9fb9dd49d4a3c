//! The JSON configuration: what is backed up, to which repository, and how long archives are kept.
//!
//! [`json`] knows the position of every key and value in the file. [`keys`] is the table of all
//! keys with their parsers and documentation. [`parse`] reads a configuration by that table, and a
//! [`Diagnosis`] shows each mistake in its line. [`Config::of_repository`] needs no file.

pub mod address;
pub mod compression;
mod diagnosis;
mod hooks;
mod json;
pub mod keys;
mod load;
mod model;
mod nearest;
mod parse;
mod place;
mod reader;
mod repository;
mod retention;
pub mod server;
mod sources;

pub use diagnosis::{Diagnosis, Mistake};
pub use hooks::{Hook, Hooks};
pub use model::{Config, Dataset, Selection};
pub use nearest::nearest;
