//! Parses the text of a configuration into a [`Config`], or into a list of all mistakes.

use std::path::Path;

use super::diagnosis::{Diagnosis, Mistake};
use super::json::{self, JsonNode};
use super::keys::{self, KEYS, Readers, key};
use super::model::Config;
use super::reader::{Entries, Reader};

const BYTE_ORDER_MARK: char = '\u{feff}';

/// Parses the bytes of `file`. Pure: does not look at this machine.
///
/// The diagnosis beside the configuration has the mistakes that matter only to `create`.
///
/// # Errors
/// One syntax error, or all errors of meaning.
pub fn parse(file: &Path, bytes: &[u8]) -> Result<(Config, Option<Diagnosis>), Diagnosis> {
    let text = std::str::from_utf8(bytes).map_err(|e| not_utf8(file, bytes, e.valid_up_to()))?;
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let wrong = |mistakes| Diagnosis::new(file, text, mistakes);
    let root = json::parse(text).map_err(|mistake| wrong(vec![mistake]))?;
    let mut reader = Reader::default();
    let config = reader.config(file, &root);
    match config {
        Some(config) if reader.mistakes.is_empty() => Ok((config, None)),
        Some(config) if reader.mistakes.iter().all(|mistake| mistake.only_create) => {
            Ok((config, Some(wrong(reader.mistakes))))
        }
        _ => Err(wrong(reader.mistakes)),
    }
}

fn not_utf8(file: &Path, bytes: &[u8], at: usize) -> Diagnosis {
    let byte = bytes.get(at).copied().unwrap_or_default();
    let note = format!("byte 0x{byte:02x} at offset {at} of the file is no UTF-8");
    // Before that byte, the lossy text is equal to the original, so the position is the same in
    // both.
    let mistake = Mistake::new(at, "expected text in UTF-8", note);
    Diagnosis::new(file, &String::from_utf8_lossy(bytes), vec![mistake])
}

impl Reader {
    fn config(&mut self, file: &Path, root: &JsonNode<'_>) -> Option<Config> {
        let Some(pairs) = root.object() else {
            return self.wrong(root.at(), "an object, `{ … }`", format!("this is {}", root.kind()));
        };
        let names = KEYS.each_ref().map(|key| key.name);
        let is_create_only = |name: &str| key(name).is_none_or(|key| key.readers == Readers::Create);
        let (entries, meant) = self.entries(pairs, &names, is_create_only);
        if entries.get("backup_path").is_none() && !meant.contains(&"backup_path") {
            self.wrong::<()>(root.last(), "the key `backup_path`", "it is nowhere in the file");
        }
        let mut config = keys::defaults();
        config.file = Some(file.to_owned());
        for key in &KEYS {
            if let Some(value) = entries.get(key.name) {
                let alone = key.readers == Readers::Create;
                self.reading(alone, |reader| (key.read)(reader, value, &mut config));
            }
        }
        if !meant.contains(&"backup_server") {
            self.check_place(&entries);
        }
        self.reading(true, |reader| reader.check_retention(&entries, &config));
        Some(config)
    }

    /// Checks how the keys that name the repository fit together.
    fn check_place(&mut self, entries: &Entries<'_>) {
        if entries.get("backup_server").is_some() {
            return;
        }
        for name in ["backup_user", "remote_path", "bridge_vm", "ssh_from"] {
            if let Some(at) = entries.key(name) {
                let note = format!("`{name}` has no meaning without it");
                self.wrong::<()>(at, "`backup_server` in the file", note);
            }
        }
        if let Some(value) = entries.get("backup_path")
            && value.string().is_some_and(|path| !path.is_empty() && !path.starts_with('/'))
        {
            let note = "without `backup_server` this is a directory on this machine";
            self.wrong::<()>(value.at(), "an absolute path", note);
        }
    }

    fn check_retention(&mut self, entries: &Entries<'_>, config: &Config) {
        if (config.keep_daily, config.keep_weekly, config.keep_monthly) != (0, 0, 0) {
            return;
        }
        let keys = ["keep_daily", "keep_weekly", "keep_monthly"];
        if let Some(value) = keys.iter().filter_map(|k| entries.get(k)).max_by_key(|v| v.at()) {
            self.wrong::<()>(value.at(), "one keep_… above 0", "with all three 0 no archive would be kept");
        }
    }
}

#[cfg(test)]
mod tests;
