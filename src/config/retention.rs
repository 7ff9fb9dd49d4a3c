//! Reads the values for retention and time limits.

use std::time::Duration;

use super::json::JsonNode;
use super::reader::Reader;

impl Reader {
    /// How many archives are kept.
    pub(super) fn keep(&mut self, value: &JsonNode<'_>) -> Option<i32> {
        self.integer(value, -1, "-1 (all), 0 or more")
    }

    pub(super) fn seconds(&mut self, value: &JsonNode<'_>) -> Option<Duration> {
        let seconds = self.integer(value, 1, "seconds, 1 or more")?;
        Some(Duration::from_secs(seconds.unsigned_abs().into()))
    }

    /// Days of the month.
    pub(super) fn days(&mut self, value: &JsonNode<'_>) -> Option<Vec<u8>> {
        if value.list().is_some_and(|days| days.is_empty()) {
            let note = "leave the key out to prune after each backup";
            return self.wrong(value.at(), "at least one day of the month", note);
        }
        self.items(value, |reader, node| {
            let day = node.integer().and_then(|n| u8::try_from(n).ok()).filter(|n| (1..=31).contains(n));
            day.or_else(|| {
                let note = format!("{} is no such day", node.raw().lines().next().unwrap_or_default());
                reader.wrong(node.at(), "a day of the month, 1 to 31", note)
            })
        })
    }
}
