//! Reads the values that say what is backed up, and how.

use std::path::{Component, Path, PathBuf};

use super::compression;
use super::json::JsonNode;
use super::model::{Dataset, Selection};
use super::reader::Reader;

const PATTERN_STYLES: [&str; 5] = ["fm", "sh", "re", "pp", "pf"];

impl Reader {
    pub(super) fn filesystems(&mut self, value: &JsonNode<'_>) -> Option<Vec<PathBuf>> {
        let mut seen: Vec<PathBuf> = Vec::new();
        self.items(value, |reader, node| {
            let path = reader.filesystem(node)?;
            if seen.contains(&path) {
                return reader.wrong(node.at(), "each directory once", "it stands in the list before");
            }
            seen.push(path.clone());
            Some(path)
        })
    }

    fn filesystem(&mut self, value: &JsonNode<'_>) -> Option<PathBuf> {
        let text = self.text(value)?;
        let path = Path::new(&text);
        if path.is_relative() {
            return self.wrong(value.at(), "an absolute path", "this does not begin with `/`");
        }
        if path.components().any(|c| c == Component::ParentDir) {
            return self.wrong(value.at(), "a path without `..`", "write where it leads to");
        }
        // Removes redundant slashes: /boot/ and //boot become /boot.
        Some(path.components().collect())
    }

    pub(super) fn patterns(&mut self, value: &JsonNode<'_>) -> Option<Vec<String>> {
        self.items(value, Self::pattern)
    }

    fn pattern(&mut self, value: &JsonNode<'_>) -> Option<String> {
        let pattern = self.text(value)?;
        let style = pattern.split_once(':').map(|(style, _)| style);
        match style {
            // borg treats any two letters or digits before a colon as a style.
            Some(style) if style.chars().count() == 2 && style.chars().all(char::is_alphanumeric) => {
                if PATTERN_STYLES.contains(&style) {
                    return Some(pattern);
                }
                self.wrong(value.at(), "a pattern style that borg knows", "fm:, sh:, re:, pp: or pf:")
            }
            _ => Some(pattern),
        }
    }

    pub(super) fn datasets(&mut self, value: &JsonNode<'_>) -> Option<Vec<Dataset>> {
        self.items(value, Self::dataset)
    }

    fn dataset(&mut self, value: &JsonNode<'_>) -> Option<Dataset> {
        if value.kind() == "a string" {
            return Some(Dataset { name: self.dataset_name(value)?, selection: Selection::Only });
        }
        let Some(pairs) = value.object() else {
            let expected = "a dataset's name, or {\"name\": …, \"glob\" or \"recursive\": true}";
            return self.wrong(value.at(), expected, format!("this is {}", value.kind()));
        };
        let (entries, meant) = self.entries(pairs, &["name", "glob", "recursive"], |_| true);
        let mut flag = |name| entries.get(name).and_then(|v| self.boolean(v)).unwrap_or_default();
        let selection = match (flag("glob"), flag("recursive")) {
            (true, true) => {
                let at = entries.key("glob").max(entries.key("recursive")).unwrap_or(value.at());
                return self.wrong(at, "`glob` or `recursive`", "a dataset cannot have both");
            }
            (true, false) => Selection::Glob,
            (false, true) => Selection::Recursive,
            (false, false) => Selection::Only,
        };
        match entries.get("name") {
            Some(name) => Some(Dataset { name: self.dataset_name(name)?, selection }),
            None if meant.contains(&"name") => None,
            None => self.wrong(value.last(), "the key `name`", "the dataset has no name"),
        }
    }

    fn dataset_name(&mut self, value: &JsonNode<'_>) -> Option<String> {
        let name = self.text(value)?;
        if name.starts_with(['/', '-']) || name.ends_with('/') || name.contains(['@', '#']) {
            let note = "written as `zfs list` shows it: pool/path/name";
            return self.wrong(value.at(), "a dataset's name", note);
        }
        Some(name)
    }

    pub(super) fn compression(&mut self, value: &JsonNode<'_>) -> Option<String> {
        let spec = self.text(value)?;
        if !compression::is_plausible(&spec) {
            return self.wrong(value.at(), "a compression that borg knows", compression::SYNTAX);
        }
        Some(spec)
    }
}
