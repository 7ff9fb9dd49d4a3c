//! The JSON configuration: what is backed up, to where, and how long archives are kept.
//!
//! [`json`] gives every key and value its place in the file. [`keys`] is the table of all keys, each with its parser
//! and its documentation. [`parse`] reads a configuration by that table, and a [`Diagnosis`] shows each mistake where it
//! stands.

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
mod retention;
pub mod server;
mod sources;

pub use diagnosis::{Diagnosis, Mistake};
pub use hooks::{Hook, Hooks};
pub use model::{Config, Dataset, Selection};
pub use nearest::nearest;
