//! The JSON of what became of an image.

use serde_json::{Value, json};

use crate::archives::archived::{Archived, Image};

/// What every answer in JSON begins with.
pub fn about(archived: &Archived, image: &Image, target: &str) -> Value {
    json!({ "archive": archived.archive.name, "path": image.path.to_string(), "target": target })
}
