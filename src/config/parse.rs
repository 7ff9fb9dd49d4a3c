//! From the text of a configuration to a [`Config`], or to all that is wrong with it.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::diagnosis::{Diagnosis, Mistake};
use super::json::{self, Node};
use super::{Config, Dataset, Hooks, Selection, compression, hooks, nearest, server};

const KEYS: [&str; 25] = [
    "backup_server",
    "backup_user",
    "backup_path",
    "remote_path",
    "bridge_vm",
    "ssh_from",
    "datasets_to_backup",
    "filesystems_to_backup",
    "exclude_patterns",
    "keep_daily",
    "keep_weekly",
    "keep_monthly",
    "compression",
    "prune_on_days",
    "compact_after_prune",
    "keep_bookmarks",
    "fail_on_warnings",
    "exclude_caches",
    "stall_limit",
    "archive_suffix",
    "earlier_host_names",
    hooks::KEYS[0],
    hooks::KEYS[1],
    hooks::KEYS[2],
    hooks::KEYS[3],
];
/// What every command reads.
const ALL_READ: [&str; 8] = [
    "backup_server",
    "backup_user",
    "backup_path",
    "remote_path",
    "bridge_vm",
    "ssh_from",
    "archive_suffix",
    "earlier_host_names",
];
const STALL_LIMIT: Duration = Duration::from_secs(3600);
const BYTE_ORDER_MARK: char = '\u{feff}';
const PATTERN_STYLES: [&str; 5] = ["fm", "sh", "re", "pp", "pf"];

/// Reads the bytes of `file`. Pure: nothing is looked up on this machine.
///
/// Beside the configuration are the mistakes in it that only `create` minds.
///
/// # Errors
/// One mistake of syntax, or all mistakes of meaning.
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
    // Up to that byte the lossy text is the text itself, so the place is the same in both.
    let mistake = Mistake::new(at, "expected text in UTF-8", note);
    Diagnosis::new(file, &String::from_utf8_lossy(bytes), vec![mistake])
}

/// Collects the mistakes while values are read; a value that is wrong reads as `None`.
#[derive(Default)]
pub(super) struct Reader {
    mistakes: Vec<Mistake>,
    /// What is read now only `create` reads.
    for_create: bool,
}

/// The keys and values of the configuration; `null` counts as absent.
pub(super) struct Entries<'a>(Vec<(String, Node<'a>, Node<'a>)>);

impl<'a> Entries<'a> {
    pub(super) fn get(&self, name: &str) -> Option<&Node<'a>> {
        self.0.iter().find(|(n, ..)| n == name).map(|(_, _, value)| value)
    }

    fn key(&self, name: &str) -> Option<usize> {
        self.0.iter().find(|(n, ..)| n == name).map(|(_, key, _)| key.at())
    }
}

impl Reader {
    pub(super) fn wrong<T>(
        &mut self,
        at: usize,
        expected: impl Into<String>,
        note: impl Into<String>,
    ) -> Option<T> {
        let mistake = Mistake::new(at, format!("expected {}", expected.into()), note);
        self.mistakes.push(Mistake { only_create: self.for_create, ..mistake });
        None
    }

    /// Does what `read` does, for `create` alone where `alone`.
    fn reading<T>(&mut self, alone: bool, read: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.for_create;
        self.for_create |= alone;
        let value = read(self);
        self.for_create = before;
        value
    }

    fn config(&mut self, file: &Path, root: &Node<'_>) -> Option<Config> {
        let Some(pairs) = root.object() else {
            return self.wrong(root.at(), "an object, `{ … }`", format!("this is {}", root.kind()));
        };
        let (entries, meant) = self.entries(pairs, &KEYS);
        if entries.get("backup_path").is_none() && !meant.contains(&"backup_path") {
            self.wrong::<()>(root.last(), "the key `backup_path`", "it is nowhere in the file");
        }
        let config = self.read(file, &entries);
        if !meant.contains(&"backup_server") {
            self.check_place(&entries);
        }
        self.reading(true, |reader| reader.check_retention(&entries, &config));
        Some(config)
    }

    fn read(&mut self, file: &Path, entries: &Entries<'_>) -> Config {
        let backup_server = entries.get("backup_server").and_then(|v| self.server(v));
        let backup_user = entries.get("backup_user").and_then(|v| self.word(v, "an account's name", "/@:"));
        let backup_path = entries.get("backup_path").and_then(|v| self.repository(v)).unwrap_or_default();
        let remote_path = entries.get("remote_path").and_then(|v| self.text(v));
        let bridge_vm = entries.get("bridge_vm").and_then(|v| self.word(v, "a qube's name", "/@:"));
        let ssh_from = entries.get("ssh_from").and_then(|v| self.word(v, "an account's name", "/@:"));
        let archive_suffix = entries.get("archive_suffix").and_then(|v| self.suffix(v));
        let earlier_host_names = self
            .items(entries, "earlier_host_names", |reader, node| reader.word(node, "a host's name", "/@:"));
        let rest = self.reading(true, |reader| reader.for_backups(entries));
        Config {
            file: file.to_owned(),
            backup_server,
            backup_user,
            backup_path,
            remote_path,
            bridge_vm,
            ssh_from,
            archive_suffix,
            earlier_host_names,
            ..rest
        }
    }

    /// What only `create` reads, in a configuration of no repository.
    fn for_backups(&mut self, entries: &Entries<'_>) -> Config {
        let mut keep = |name, default| {
            entries.get(name).and_then(|v| self.integer(v, -1, "-1 (all), 0 or more")).unwrap_or(default)
        };
        let (keep_daily, keep_weekly, keep_monthly) =
            (keep("keep_daily", 7), keep("keep_weekly", 4), keep("keep_monthly", 12));
        Config {
            file: PathBuf::new(),
            backup_server: None,
            backup_user: None,
            backup_path: String::new(),
            remote_path: None,
            bridge_vm: None,
            ssh_from: None,
            datasets_to_backup: self.items(entries, "datasets_to_backup", Self::dataset),
            filesystems_to_backup: self.filesystems(entries),
            exclude_patterns: self.items(entries, "exclude_patterns", Self::pattern),
            keep_daily,
            keep_weekly,
            keep_monthly,
            compression: entries
                .get("compression")
                .and_then(|v| self.compression(v))
                .unwrap_or_else(|| "auto,zstd".into()),
            prune_on_days: self.days(entries),
            compact_after_prune: self.flag(entries, "compact_after_prune", false),
            keep_bookmarks: self.flag(entries, "keep_bookmarks", true),
            fail_on_warnings: self.flag(entries, "fail_on_warnings", false),
            exclude_caches: self.flag(entries, "exclude_caches", true),
            stall_limit: entries
                .get("stall_limit")
                .and_then(|v| self.integer(v, 1, "seconds, 1 or more"))
                .map_or(STALL_LIMIT, |seconds| Duration::from_secs(seconds as u64)),
            archive_suffix: None,
            earlier_host_names: Vec::new(),
            hooks: Hooks::read(self, entries),
        }
    }

    /// The entries of an object whose keys are `known`, and what was meant by those that are not.
    pub(super) fn entries<'a>(
        &mut self,
        pairs: Vec<(Node<'a>, Node<'a>)>,
        known: &[&'static str],
    ) -> (Entries<'a>, Vec<&'static str>) {
        let (mut seen, mut meant) = (Vec::new(), Vec::new());
        let mut entries = Vec::new();
        for (key, value) in pairs {
            let Some(name) = key.string() else { continue };
            if !known.contains(&name.as_str()) {
                let guess = nearest(&name, known);
                meant.extend(guess);
                let is_all_read = guess.is_some_and(|guess| ALL_READ.contains(&guess));
                let note = unknown_key(guess, known);
                self.reading(!is_all_read, |reader| reader.wrong::<()>(key.at(), "a known key", note));
            } else if seen.contains(&name) {
                let note = format!("`{name}` stands in the file before");
                let is_all_read = ALL_READ.contains(&name.as_str());
                self.reading(!is_all_read, |reader| reader.wrong::<()>(key.at(), "each key once", note));
            } else if !value.is_null() {
                entries.push((name.clone(), key, value));
            }
            seen.push(name);
        }
        (Entries(entries), meant)
    }

    /// What the keys that name the repository say together.
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
            let note = "without `backup_server` this is a folder here";
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

    pub(super) fn text(&mut self, value: &Node<'_>) -> Option<String> {
        match value.string() {
            Some(text) if text.is_empty() => self.wrong(value.at(), "a text", "this is empty"),
            Some(text) if text.contains(char::is_control) => {
                self.wrong(value.at(), "a text of one line", "a control character is in it")
            }
            Some(text) => Some(text),
            None => self.wrong(value.at(), "a string", format!("this is {}", value.kind())),
        }
    }

    /// A text that becomes a part of an address or an argument.
    fn word(&mut self, value: &Node<'_>, expected: &str, forbidden: &str) -> Option<String> {
        let text = self.text(value)?;
        if text.starts_with('-') {
            return self.wrong(value.at(), expected, "it may not begin with `-`");
        }
        match text.chars().find(|c| c.is_whitespace() || forbidden.contains(*c)) {
            Some(c) if c.is_whitespace() => self.wrong(value.at(), expected, "it may not hold a space"),
            Some(c) => self.wrong(value.at(), expected, format!("it may not hold `{c}`")),
            None => Some(text),
        }
    }

    /// A part of archives' names. Dots end names that are not complete yet.
    fn suffix(&mut self, value: &Node<'_>) -> Option<String> {
        let suffix = self.word(value, "a part of a name", "")?;
        if suffix.len() > 64 || !suffix.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)) {
            let note = "at most 64 letters, digits, `-` and `_`";
            return self.wrong(value.at(), "a part of a name", note);
        }
        Some(suffix)
    }

    fn server(&mut self, value: &Node<'_>) -> Option<String> {
        let text = self.word(value, "a host name", "/@")?;
        server::normal(&text)
            .map_err(|why| self.wrong::<()>(value.at(), format!("a server: {}", server::SYNTAX), why))
            .ok()
    }

    fn repository(&mut self, value: &Node<'_>) -> Option<String> {
        let path = self.text(value)?;
        if path.contains("::") {
            let note = "`::` begins the name of an archive; it may not be in this path";
            return self.wrong(value.at(), "the path of a repository", note);
        }
        Some(path)
    }

    fn compression(&mut self, value: &Node<'_>) -> Option<String> {
        let spec = self.text(value)?;
        if !compression::is_plausible(&spec) {
            return self.wrong(value.at(), "a compression that borg knows", compression::SYNTAX);
        }
        Some(spec)
    }

    fn flag(&mut self, entries: &Entries<'_>, name: &str, default: bool) -> bool {
        entries.get(name).and_then(|v| self.boolean(v)).unwrap_or(default)
    }

    fn boolean(&mut self, value: &Node<'_>) -> Option<bool> {
        let boolean = value.boolean();
        boolean.or_else(|| self.wrong(value.at(), "`true` or `false`", format!("this is {}", value.kind())))
    }

    pub(super) fn integer(&mut self, value: &Node<'_>, min: i32, expected: &str) -> Option<i32> {
        let number = value.integer().and_then(|n| i32::try_from(n).ok()).filter(|n| *n >= min);
        number.or_else(|| {
            let note = match value.kind() {
                "a number" => format!("{} is none of these", value.raw()),
                kind => format!("this is {kind}"),
            };
            self.wrong(value.at(), format!("a whole number: {expected}"), note)
        })
    }

    /// The items of the list `name`, each read by `item`.
    fn items<T>(
        &mut self,
        entries: &Entries<'_>,
        name: &str,
        mut item: impl FnMut(&mut Self, &Node<'_>) -> Option<T>,
    ) -> Vec<T> {
        let Some(value) = entries.get(name) else { return Vec::new() };
        match value.list() {
            Some(list) => list.iter().filter_map(|node| item(self, node)).collect(),
            None => {
                let note = format!("this is {}", value.kind());
                self.wrong(value.at(), "a list, `[ … ]`", note).unwrap_or_default()
            }
        }
    }

    fn filesystems(&mut self, entries: &Entries<'_>) -> Vec<PathBuf> {
        let mut seen: Vec<PathBuf> = Vec::new();
        self.items(entries, "filesystems_to_backup", |reader, node| {
            let path = reader.filesystem(node)?;
            if seen.contains(&path) {
                return reader.wrong(node.at(), "each folder once", "it stands in the list before");
            }
            seen.push(path.clone());
            Some(path)
        })
    }

    fn filesystem(&mut self, value: &Node<'_>) -> Option<PathBuf> {
        let text = self.text(value)?;
        let path = Path::new(&text);
        if path.is_relative() {
            return self.wrong(value.at(), "an absolute path", "this does not begin with `/`");
        }
        if path.components().any(|c| c == Component::ParentDir) {
            return self.wrong(value.at(), "a path without `..`", "write where it leads to");
        }
        // Without the slashes that say nothing: /boot/ and //boot are /boot.
        Some(path.components().collect())
    }

    fn pattern(&mut self, value: &Node<'_>) -> Option<String> {
        let pattern = self.text(value)?;
        let style = pattern.split_once(':').map(|(style, _)| style);
        match style {
            // borg takes two letters or digits before a colon for a style, whatever they are.
            Some(style) if style.chars().count() == 2 && style.chars().all(char::is_alphanumeric) => {
                if PATTERN_STYLES.contains(&style) {
                    return Some(pattern);
                }
                self.wrong(value.at(), "a pattern style that borg knows", "fm:, sh:, re:, pp: or pf:")
            }
            _ => Some(pattern),
        }
    }

    fn dataset(&mut self, value: &Node<'_>) -> Option<Dataset> {
        if value.kind() == "a string" {
            return Some(Dataset { name: self.dataset_name(value)?, selection: Selection::Only });
        }
        let Some(pairs) = value.object() else {
            let expected = "a dataset's name, or {\"name\": …, \"glob\" or \"recursive\": true}";
            return self.wrong(value.at(), expected, format!("this is {}", value.kind()));
        };
        let (entries, meant) = self.entries(pairs, &["name", "glob", "recursive"]);
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

    fn dataset_name(&mut self, value: &Node<'_>) -> Option<String> {
        let name = self.text(value)?;
        if name.starts_with(['/', '-']) || name.ends_with('/') || name.contains(['@', '#']) {
            let note = "written as `zfs list` shows it: pool/path/name";
            return self.wrong(value.at(), "a dataset's name", note);
        }
        Some(name)
    }

    fn days(&mut self, entries: &Entries<'_>) -> Option<Vec<u8>> {
        let value = entries.get("prune_on_days")?;
        if value.list().is_some_and(|days| days.is_empty()) {
            let note = "leave the key out to prune after each backup";
            return self.wrong(value.at(), "at least one day of the month", note);
        }
        Some(self.items(entries, "prune_on_days", |reader, node| {
            let day = node.integer().and_then(|n| u8::try_from(n).ok()).filter(|n| (1..=31).contains(n));
            day.or_else(|| {
                let note = format!("{} is no such day", node.raw().lines().next().unwrap_or_default());
                reader.wrong(node.at(), "a day of the month, 1 to 31", note)
            })
        }))
    }
}

fn unknown_key(guess: Option<&str>, known: &[&str]) -> String {
    match guess {
        Some(guess) => format!("did you mean `{guess}`?"),
        None => format!("known are {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::Hook;
    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        match parse(Path::new("f"), text.as_bytes()) {
            Ok((config, None)) => Ok(config),
            Ok((_, Some(diagnosis))) | Err(diagnosis) => Err(diagnosis.to_string()),
        }
    }

    /// The diagnosis of a configuration that, besides a good repository, holds `entry`.
    fn wrong(entry: &str) -> String {
        read(&format!("{{\"backup_path\": \"/b\", \"backup_server\": \"s\",\n{entry}}}")).unwrap_err()
    }

    #[test]
    fn what_is_left_out_or_null_has_its_default() {
        let config = read(r#"{"backup_path": "/b", "keep_daily": null, "bridge_vm": null}"#).unwrap();
        assert_eq!((config.keep_daily, config.keep_weekly, config.keep_monthly), (7, 4, 12));
        assert_eq!(config.compression, "auto,zstd");
        assert_eq!((config.prune_on_days, config.bridge_vm, config.fail_on_warnings), (None, None, false));
        assert!(config.exclude_caches);
    }

    #[test]
    fn every_key_is_read() {
        let config = read(
            r#"{"backup_server": "h", "backup_user": "u", "backup_path": "p", "bridge_vm": "v",
            "remote_path": "borg{borgmajor}", "ssh_from": "me", "datasets_to_backup": ["t/a", {"name": "t/*/x", "glob": true},
            {"name": "t/b", "recursive": true}, {"name": "t/c", "glob": false}],
            "filesystems_to_backup": ["/", "/boot/"], "exclude_patterns": ["fm:*.log", "a:b", "re:^x\\.y"],
            "keep_daily": -1, "keep_weekly": 0, "keep_monthly": 3, "compression": "zlib,9",
            "prune_on_days": [1, 31], "compact_after_prune": true, "keep_bookmarks": false,
            "exclude_caches": false, "stall_limit": 90,
            "fail_on_warnings": true, "archive_suffix": "media-2", "earlier_host_names": ["dom0", "old.example.org"],
            "before_backup": ["dump", "--all", ""],
            "on_failure": {"command": ["tell me"], "deadline": 5}}"#,
        );
        let dataset = |name: &str, selection| Dataset { name: name.into(), selection };
        let hook = |command: &[&str], seconds| Hook {
            command: command.iter().map(ToString::to_string).collect(),
            deadline: Duration::from_secs(seconds),
        };
        let expected = Config {
            file: "f".into(),
            backup_server: Some("h".into()),
            backup_user: Some("u".into()),
            backup_path: "p".into(),
            remote_path: Some("borg{borgmajor}".into()),
            bridge_vm: Some("v".into()),
            ssh_from: Some("me".into()),
            datasets_to_backup: vec![
                dataset("t/a", Selection::Only),
                dataset("t/*/x", Selection::Glob),
                dataset("t/b", Selection::Recursive),
                dataset("t/c", Selection::Only),
            ],
            filesystems_to_backup: vec!["/".into(), "/boot".into()],
            exclude_patterns: vec!["fm:*.log".into(), "a:b".into(), "re:^x\\.y".into()],
            keep_daily: -1,
            keep_weekly: 0,
            keep_monthly: 3,
            compression: "zlib,9".into(),
            prune_on_days: Some(vec![1, 31]),
            compact_after_prune: true,
            keep_bookmarks: false,
            fail_on_warnings: true,
            exclude_caches: false,
            stall_limit: Duration::from_secs(90),
            archive_suffix: Some("media-2".into()),
            earlier_host_names: vec!["dom0".into(), "old.example.org".into()],
            hooks: Hooks {
                before_backup: Some(hook(&["dump", "--all", ""], 3600)),
                on_failure: Some(hook(&["tell me"], 5)),
                ..Hooks::default()
            },
        };
        assert_eq!(config, Ok(expected));
    }

    #[test]
    fn values_of_a_wrong_kind_are_told_where_they_stand() {
        for (entry, expected) in [
            (
                r#""stall_limit": 0"#,
                "f:2:16: expected a whole number: seconds, 1 or more (0 is none of these)",
            ),
            (r#""backup_user": 5"#, "f:2:16: expected a string (this is a number)"),
            (r#""backup_user": "a b""#, "f:2:16: expected an account's name (it may not hold a space)"),
            (r#""backup_user": "-l""#, "f:2:16: expected an account's name (it may not begin with `-`)"),
            (r#""ssh_from": """#, "f:2:13: expected a text (this is empty)"),
            (
                r#""ssh_from": "a\u0000""#,
                "f:2:13: expected a text of one line (a control character is in it)",
            ),
            (
                r#""keep_daily": "7""#,
                "f:2:15: expected a whole number: -1 (all), 0 or more (this is a string)",
            ),
            (
                r#""keep_daily": -2"#,
                "f:2:15: expected a whole number: -1 (all), 0 or more (-2 is none of these)",
            ),
            (
                r#""keep_daily": 1.5"#,
                "f:2:15: expected a whole number: -1 (all), 0 or more (1.5 is none of these)",
            ),
            (
                r#""keep_daily": 2147483648"#,
                "f:2:15: expected a whole number: -1 (all), 0 or more (2147483648 is none of these)",
            ),
            (r#""fail_on_warnings": "yes""#, "f:2:21: expected `true` or `false` (this is a string)"),
            (
                r#""archive_suffix": "a.new""#,
                "f:2:19: expected a part of a name (at most 64 letters, digits, `-` and `_`)",
            ),
            (r#""archive_suffix": "-a""#, "f:2:19: expected a part of a name (it may not begin with `-`)"),
            (r#""earlier_host_names": "dom0""#, "f:2:23: expected a list, `[ … ]` (this is a string)"),
            (r#""earlier_host_names": ["a b"]"#, "f:2:24: expected a host's name (it may not hold a space)"),
            (r#""exclude_patterns": "a""#, "f:2:21: expected a list, `[ … ]` (this is a string)"),
            (
                r#""exclude_patterns": ["xx:a"]"#,
                "f:2:22: expected a pattern style that borg knows (fm:, sh:, re:, pp: or pf:)",
            ),
            (
                r#""prune_on_days": [1, 32]"#,
                "f:2:22: expected a day of the month, 1 to 31 (32 is no such day)",
            ),
            (
                r#""on_success": "mail me""#,
                "f:2:15: expected a command as a list, [\"program\", \"argument\", …] (this is a string)",
            ),
            (r#""on_failure": []"#, "f:2:15: expected a program (the list is empty)"),
            (r#""on_failure": ["mail", 5]"#, "f:2:24: expected a string (this is a number)"),
            (r#""on_failure": {}"#, "f:2:16: expected the key `command` (nothing is to be run)"),
            (
                r#""after_backup": {"command": ["x"], "deadline": 0}"#,
                "f:2:48: expected a whole number: seconds, 1 or more (0 is none of these)",
            ),
            (
                r#""before_backup": {"comand": ["x"]}"#,
                "f:2:19: expected a known key (did you mean `command`?)",
            ),
            (r#""prune_on_days": [0]"#, "f:2:19: expected a day of the month, 1 to 31 (0 is no such day)"),
            (
                r#""prune_on_days": []"#,
                "f:2:18: expected at least one day of the month (leave the key out to prune after each backup)",
            ),
            (
                r#""filesystems_to_backup": ["boot"]"#,
                "f:2:27: expected an absolute path (this does not begin with `/`)",
            ),
            (
                r#""filesystems_to_backup": ["/a/../b"]"#,
                "f:2:27: expected a path without `..` (write where it leads to)",
            ),
            (
                r#""filesystems_to_backup": ["/a", "/a/"]"#,
                "f:2:33: expected each folder once (it stands in the list before)",
            ),
            (
                r#""compression": "-gzip 3""#,
                "f:2:16: expected a compression that borg knows (none, lz4, zstd[,1-22], zlib[,0-9], lzma[,0-9], auto,X or obfuscate,SPEC,X)",
            ),
            (
                r#""datasets_to_backup": [{"name": "t", "glob": true, "recursive": true}]"#,
                "f:2:52: expected `glob` or `recursive` (a dataset cannot have both)",
            ),
            (
                r#""datasets_to_backup": [{"glob": true}]"#,
                "f:2:37: expected the key `name` (the dataset has no name)",
            ),
            (
                r#""datasets_to_backup": [{"nmae": "t"}]"#,
                "f:2:25: expected a known key (did you mean `name`?)",
            ),
            (
                r#""datasets_to_backup": ["t@snap"]"#,
                "f:2:24: expected a dataset's name (written as `zfs list` shows it: pool/path/name)",
            ),
            (
                r#""datasets_to_backup": [5]"#,
                "f:2:24: expected a dataset's name, or {\"name\": …, \"glob\" or \"recursive\": true} (this is a number)",
            ),
            (r#""keep_wekly": 4"#, "f:2:1: expected a known key (did you mean `keep_weekly`?)"),
            (
                r#""backup_server": "t""#,
                "f:2:1: expected each key once (`backup_server` stands in the file before)",
            ),
            (
                r#""keep_daily": 0, "keep_weekly": 0, "keep_monthly": 0"#,
                "f:2:52: expected one keep_… above 0 (with all three 0 no archive would be kept)",
            ),
        ] {
            assert_eq!(wrong(entry), expected);
        }
    }

    #[test]
    fn a_server_is_an_address_and_may_have_a_port() {
        let server = |text: &str| {
            read(&format!(r#"{{"backup_path": "/b", "backup_server": "{text}"}}"#))
                .map(|c| c.backup_server.unwrap())
        };
        assert_eq!(server("2001:db8::1").as_deref(), Ok("[2001:db8::1]"));
        let syntax = server::SYNTAX;
        for (text, note) in [
            ("host:", "there is no port after the colon"),
            ("host:99999", "a port is a number from 1 to 65535, and not 99999"),
            ("[::1", "the bracket is not closed"),
        ] {
            let expected = format!("f:1:40: expected a server: {syntax} ({note})");
            assert_eq!(server(text), Err(expected));
        }
    }

    #[test]
    fn all_mistakes_are_told_at_once_in_the_order_of_the_file() {
        let told = read("{\"keep_daily\": -5,\n\"colour\": 1,\n\"fail_on_warnings\": 0}").unwrap_err();
        let lines: Vec<&str> = told.split("; f:").collect();
        assert_eq!(lines.len(), 4, "{told}");
        assert!(lines[0].starts_with("f:1:16: ") && lines[1].starts_with("2:1: "), "{told}");
        assert!(
            lines[2].starts_with("3:21: ") && lines[3].contains("expected the key `backup_path`"),
            "{told}"
        );
    }

    #[test]
    fn one_misspelt_key_is_one_mistake() {
        assert_eq!(read(r#"{"backup_pth": "/b"}"#).unwrap_err().matches("expected").count(), 1);
        let server = r#"{"backup_path": "b", "backup_sever": "s", "backup_user": "u"}"#;
        assert_eq!(read(server).unwrap_err().matches("expected").count(), 1);
    }

    #[test]
    fn a_local_repository_has_an_absolute_path_and_no_account_or_bridge() {
        let relative = read(r#"{"backup_path": "b"}"#).unwrap_err();
        assert!(relative.contains("f:1:17: expected an absolute path"), "{relative}");
        for key in ["backup_user", "remote_path", "bridge_vm", "ssh_from"] {
            let told = read(&format!(r#"{{"backup_path": "/b", "{key}": "x"}}"#)).unwrap_err();
            assert!(told.contains(&format!("`{key}` has no meaning without it")), "{told}");
        }
    }

    #[test]
    fn mistakes_of_syntax_are_named_as_a_person_made_them() {
        for (text, expected) in [
            ("", "f:1:1: expected `{` (the file is empty)"),
            (" \n ", "f:1:1: expected `{` (the file is empty)"),
            ("[]", "f:1:1: expected an object, `{ … }` (this is a list)"),
            ("{\"a\": 1\n \"b\": 2}", "f:2:2: expected `,` or `}` (a comma is missing at the end of line 1)"),
            ("{\"a\": 1 \"b\": 2}", "f:1:9: expected `,` or `}` (a comma is missing before this)"),
            ("{\"a\": [1\n\n2]}", "f:3:1: expected `,` or `]` (a comma is missing at the end of line 1)"),
            (
                "{\"a\": 1,\n}",
                "f:1:8: expected another key (this comma is one too many: the last one before `}`)",
            ),
            (
                "{\"a\": [1, ]}",
                "f:1:9: expected another value (this comma is one too many: the last one before `]`)",
            ),
            ("{\"a\": 1", "f:1:8: expected `}` (the file ends here, within an object)"),
            ("{\"a\": [1,\n", "f:1:10: expected a value (the file ends here)"),
            ("{\"a\": \"x\n\"}", "f:1:9: expected `\"` (a string ends on the line where it begins)"),
            ("{\"a\": \"x\r\n\"}", "f:1:9: expected `\"` (a string ends on the line where it begins)"),
            ("{\"a\": \"\\d\"}", "f:1:9: expected an escape (in a string, a backslash is written `\\\\`)"),
            (
                "{\"a\": \"\\u00éx\"}",
                "f:1:12: expected an escape (in a string, a backslash is written `\\\\`)",
            ),
            ("{ // why\n}", "f:1:3: expected JSON (JSON has no comments; take this out)"),
            ("{\"a\": 1, # why\n}", "f:1:10: expected JSON (JSON has no comments; take this out)"),
            ("/* x */ {}", "f:1:1: expected JSON (JSON has no comments; take this out)"),
            ("{\"a\": [1}", "f:1:9: expected `,` or `]` (this is neither)"),
            ("{\"a\": }", "f:1:7: expected a value (a value goes here)"),
            ("{'a': 1}", "f:1:2: expected `\"` (JSON has strings in double quotes only)"),
            ("{a: 1}", "f:1:2: expected `\"` (a key in double quotes goes here)"),
            ("{\"a\" 1}", "f:1:6: expected `:` (a colon is missing between key and value)"),
            ("{\"a\": True}", "f:1:7: expected a value (write `true`)"),
            ("{\"a\": nul}", "f:1:7: expected a value (a string stands in double quotes)"),
            ("{\"a\": tank}", "f:1:7: expected a value (a string stands in double quotes)"),
            ("{\"a\": 07}", "f:1:7: expected a number (no JSON number is written so)"),
            ("{\"a\": 1}}", "f:1:9: expected the end of the file (this follows the closing bracket)"),
            ("{\"ä\": 'x'}", "f:1:7: expected `\"` (JSON has strings in double quotes only)"),
        ] {
            assert_eq!(read(text).unwrap_err(), expected, "{text}");
        }
        let deep = read(&"[".repeat(100_000)).unwrap_err();
        assert!(deep.contains("this is nested too deeply"), "{deep}");
    }

    #[test]
    fn a_byte_that_is_no_utf8_is_named_with_its_offset() {
        let told = parse(Path::new("f"), b"{\n\"\xc3\xa4\": \"x\xff\"}").unwrap_err().to_string();
        assert_eq!(told, "f:2:8: expected text in UTF-8 (byte 0xff at offset 10 of the file is no UTF-8)");
    }

    #[test]
    fn a_byte_order_mark_is_forgiven() {
        assert!(read("\u{feff}{\"backup_path\": \"/b\"}").is_ok());
        assert!(read("\u{feff}{,").unwrap_err().starts_with("f:1:2:"));
    }

    const VALID: &str = r#"{
    "backup_path": "/var/bäckups", "backup_server": "milena", "bridge_vm": null,
	"datasets_to_backup": ["tank/a", {"name": "tank/*/p", "glob": true}],
    "exclude_patterns": ["fm:*.log", "var/\u00e4/*"],
    "keep_daily": 7, "keep_monthly": -1, "compression": "auto,zstd,3",
    "prune_on_days": [1, 15], "fail_on_warnings": false, "filesystems_to_backup": ["/", "/boot"]
}
"#;

    #[test]
    fn what_the_changes_start_from_is_valid() {
        read(VALID).unwrap();
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn whatever_is_done_to_the_text_there_is_a_config_or_a_place_inside_it(
            changes in prop::collection::vec((any::<prop::sample::Index>(), 0u8..4, any::<u8>()), 1..6)
        ) {
            let mut bytes = VALID.as_bytes().to_vec();
            for (index, kind, byte) in changes {
                let at = index.index(bytes.len().max(1)).min(bytes.len());
                let structural = b"{}[],:\"\\\n\t /#'-0.teufn"[byte as usize % 22];
                match kind {
                    0 if at < bytes.len() => drop(bytes.remove(at)),
                    1 => bytes.insert(at, byte),
                    2 => bytes.insert(at, structural),
                    _ if at < bytes.len() => bytes[at] = byte,
                    _ => {}
                }
            }
            if let Ok((_, Some(diagnosis))) | Err(diagnosis) = parse(Path::new("f"), &bytes) {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                let lines: Vec<&str> = text.split('\n').collect();
                prop_assert!(diagnosis.places().count() > 0);
                for place in diagnosis.places() {
                    diagnosis.excerpt(&place);
                    prop_assert!(place.line <= lines.len(), "{}", diagnosis.headline(&place));
                    let line = lines[place.line - 1];
                    prop_assert!(place.column <= line.chars().count() + 1, "{}", diagnosis.headline(&place));
                }
            }
        }
    }
}
