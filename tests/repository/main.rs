//! The native reader against repositories that real borgs made.

#[path = "../common/mod.rs"]
mod common;

mod cached;
mod compressions;
mod damage;
mod examples;
mod matrix;
mod scene;
mod serve;
