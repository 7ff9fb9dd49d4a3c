//! Reads values of a configuration, and collects the mistakes in them.

use super::diagnosis::Mistake;
use super::json::JsonNode;
use super::nearest::nearest;

/// Reads values and collects their mistakes; a wrong value reads as `None`.
#[derive(Default)]
pub(super) struct Reader {
    pub(super) mistakes: Vec<Mistake>,
    /// The values that are being read matter only to `create`.
    for_create: bool,
}

/// The keys and values of the configuration; `null` counts as absent.
pub(super) struct Entries<'a>(Vec<(String, JsonNode<'a>, JsonNode<'a>)>);

impl<'a> Entries<'a> {
    pub(super) fn get(&self, name: &str) -> Option<&JsonNode<'a>> {
        self.0.iter().find(|(n, ..)| n == name).map(|(_, _, value)| value)
    }

    pub(super) fn key(&self, name: &str) -> Option<usize> {
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

    /// Calls `read`. If `alone` is set, its mistakes stop only `create`.
    pub(super) fn reading<T>(&mut self, alone: bool, read: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.for_create;
        self.for_create |= alone;
        let value = read(self);
        self.for_create = before;
        value
    }

    /// The entries of an object whose keys are `known`, and the known keys that unknown ones
    /// resemble.
    pub(super) fn entries<'a>(
        &mut self,
        pairs: Vec<(JsonNode<'a>, JsonNode<'a>)>,
        known: &[&'static str],
        is_create_only: impl Fn(&str) -> bool,
    ) -> (Entries<'a>, Vec<&'static str>) {
        let (mut seen, mut meant) = (Vec::new(), Vec::new());
        let mut entries = Vec::new();
        for (key, value) in pairs {
            let Some(name) = key.string() else { continue };
            if !known.contains(&name.as_str()) {
                let guess = nearest(&name, known);
                meant.extend(guess);
                let alone = guess.is_none_or(&is_create_only);
                let note = unknown_key(guess, known);
                self.reading(alone, |reader| reader.wrong::<()>(key.at(), "a known key", note));
            } else if seen.contains(&name) {
                let note = format!("`{name}` stands in the file before");
                let alone = is_create_only(&name);
                self.reading(alone, |reader| reader.wrong::<()>(key.at(), "each key once", note));
            } else if !value.is_null() {
                entries.push((name.clone(), key, value));
            }
            seen.push(name);
        }
        (Entries(entries), meant)
    }

    pub(super) fn text(&mut self, value: &JsonNode<'_>) -> Option<String> {
        match value.string() {
            Some(text) if text.is_empty() => self.wrong(value.at(), "a text", "this is empty"),
            Some(text) if text.contains(char::is_control) => {
                self.wrong(value.at(), "a text of one line", "a control character is in it")
            }
            Some(text) => Some(text),
            None => self.wrong(value.at(), "a string", format!("this is {}", value.kind())),
        }
    }

    /// A text that becomes part of an address or an argument.
    pub(super) fn word(&mut self, value: &JsonNode<'_>, expected: &str, forbidden: &str) -> Option<String> {
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

    pub(super) fn boolean(&mut self, value: &JsonNode<'_>) -> Option<bool> {
        let boolean = value.boolean();
        boolean.or_else(|| self.wrong(value.at(), "`true` or `false`", format!("this is {}", value.kind())))
    }

    pub(super) fn integer(&mut self, value: &JsonNode<'_>, min: i32, expected: &str) -> Option<i32> {
        let number = value.integer().and_then(|n| i32::try_from(n).ok()).filter(|n| *n >= min);
        number.or_else(|| {
            let note = match value.kind() {
                "a number" => format!("{} is none of these", value.raw()),
                kind => format!("this is {kind}"),
            };
            self.wrong(value.at(), format!("a whole number: {expected}"), note)
        })
    }

    /// Reads each item of a list with `item`.
    pub(super) fn items<T>(
        &mut self,
        value: &JsonNode<'_>,
        mut item: impl FnMut(&mut Self, &JsonNode<'_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        match value.list() {
            Some(list) => Some(list.iter().filter_map(|node| item(self, node)).collect()),
            None => self.wrong(value.at(), "a list, `[ … ]`", format!("this is {}", value.kind())),
        }
    }
}

fn unknown_key(guess: Option<&str>, known: &[&str]) -> String {
    match guess {
        Some(guess) => format!("did you mean `{guess}`?"),
        None => format!("known are {}", known.join(", ")),
    }
}
