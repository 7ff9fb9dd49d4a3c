//! Describes attachments.

use serde_json::{Value, json};

use crate::device::attachment::{Attachment, AttachmentState};

/// The JSON of `attach --json` and `attached --json`.
pub fn as_json(attachment: &Attachment) -> Value {
    let lossy = |text: &Option<std::ffi::OsString>| text.as_ref().map(|t| t.to_string_lossy().into_owned());
    let (state, why) = match attachment.state() {
        AttachmentState::Up => ("up", None),
        AttachmentState::Starting => ("starting", None),
        AttachmentState::Dead(why) => ("dead", Some(why)),
    };
    json!({
        "device": lossy(&attachment.device),
        "repository": attachment.repository,
        "archive": attachment.archive,
        "path": attachment.path.to_string_lossy(),
        "partition": attachment.partition,
        "writable": attachment.writable,
        "changes": lossy(&attachment.changes),
        "mounted": lossy(&attachment.mounted),
        "qube": attachment.qube,
        "state": state,
        "why": why,
    })
}

/// The name of an attachment: its device, and the image.
pub fn name(attachment: &Attachment) -> String {
    let image = format!("{} of {}", attachment.path.display(), attachment.archive);
    match &attachment.device {
        Some(device) => format!("{} ({image})", device.display()),
        None if attachment.archive.is_empty() => {
            format!("the unfinished attachment of {}", attachment.archive_argument)
        }
        None => image,
    }
}

/// A line of the list.
pub fn line(attachment: &Attachment) -> String {
    let mut line = match &attachment.device {
        Some(device) => {
            format!("{:<12} {}  {}", device.display(), attachment.archive, attachment.path.display())
        }
        None => name(attachment),
    };
    if let Some(number) = attachment.partition {
        line.push_str(&format!("  partition {number}"));
    }
    match (&attachment.changes, attachment.writable) {
        (Some(file), _) => line.push_str(&format!("  writable, changes in {}", file.display())),
        (None, true) => line.push_str("  writable"),
        (None, false) => line.push_str("  read-only"),
    }
    if let Some(dir) = &attachment.mounted {
        line.push_str(&format!("  mounted at {}", dir.display()));
    }
    if let Some(qube) = &attachment.qube {
        line.push_str(&format!("  in the qube {qube}"));
    }
    match attachment.state() {
        AttachmentState::Up => {}
        AttachmentState::Starting => line.push_str("  (starting)"),
        AttachmentState::Dead(why) => line.push_str(&format!("  (dead: {why})")),
    }
    line
}
