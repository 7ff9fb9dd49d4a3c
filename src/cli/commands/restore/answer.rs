//! The JSON of what became of an image.

use serde_json::{Value, json};

use crate::archives::open_archive::{Image, OpenArchive};

/// What every answer in JSON begins with.
pub fn about(archived: &OpenArchive, image: &Image, target: &str) -> Value {
    json!({ "archive": archived.archive.name, "path": image.path.to_string(), "target": target })
}
