//! Reads the values that say where the repository is, and how its archives are named.

use super::json::JsonNode;
use super::reader::Reader;
use super::server;

impl Reader {
    pub(super) fn server(&mut self, value: &JsonNode<'_>) -> Option<String> {
        let text = self.word(value, "a host name", "/@")?;
        server::normal(&text)
            .map_err(|why| self.wrong::<()>(value.at(), format!("a server: {}", server::SYNTAX), why))
            .ok()
    }

    pub(super) fn repository(&mut self, value: &JsonNode<'_>) -> Option<String> {
        let path = self.text(value)?;
        if path.contains("::") {
            let note = "`::` begins the name of an archive; it may not be in this path";
            return self.wrong(value.at(), "the path of a repository", note);
        }
        Some(path)
    }

    /// A suffix of archive names. It has no dots, because they begin the suffixes of incomplete
    /// archives.
    pub(super) fn suffix(&mut self, value: &JsonNode<'_>) -> Option<String> {
        let suffix = self.word(value, "a part of a name", "")?;
        if suffix.len() > 64 || !suffix.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)) {
            let note = "at most 64 letters, digits, `-` and `_`";
            return self.wrong(value.at(), "a part of a name", note);
        }
        Some(suffix)
    }

    pub(super) fn account(&mut self, value: &JsonNode<'_>) -> Option<String> {
        self.word(value, "an account's name", "/@:")
    }

    pub(super) fn qube(&mut self, value: &JsonNode<'_>) -> Option<String> {
        self.word(value, "a qube's name", "/@:")
    }

    pub(super) fn host_names(&mut self, value: &JsonNode<'_>) -> Option<Vec<String>> {
        self.items(value, |reader, node| reader.word(node, "a host's name", "/@:"))
    }
}
