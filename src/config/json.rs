//! Strict JSON whose values know their positions in the text.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::diagnosis::Mistake;

/// A value or a key in a valid JSON text.
#[derive(Clone, Copy)]
pub struct JsonNode<'a> {
    whole: &'a str,
    raw: &'a str,
}

/// Checks that `text` is one JSON value.
///
/// # Errors
/// The position of the first syntax error, with what was expected there.
pub fn parse(text: &str) -> Result<JsonNode<'_>, Mistake> {
    // This parse finds all syntax errors, and rejects more than 128 levels of nesting. Later
    // parses, which borrow their text, cannot fail.
    serde_json::from_str::<serde_json::Value>(text).map_err(|e| explain(text, &e))?;
    Ok(JsonNode { whole: text, raw: text.trim_matches(WHITESPACE) })
}

const WHITESPACE: [char; 4] = [' ', '\t', '\n', '\r'];

impl<'a> JsonNode<'a> {
    /// The position of the first character, in bytes from the beginning of the text.
    pub fn at(&self) -> usize {
        self.raw.as_ptr() as usize - self.whole.as_ptr() as usize
    }

    /// The position of the last character.
    pub fn last(&self) -> usize {
        self.at() + self.raw.char_indices().next_back().map_or(0, |(i, _)| i)
    }

    /// The source text of the value.
    pub fn raw(&self) -> &'a str {
        self.raw
    }

    pub fn is_null(&self) -> bool {
        self.raw == "null"
    }

    /// Its type, with an article.
    pub fn kind(&self) -> &'static str {
        match self.raw.as_bytes().first() {
            Some(b'{') => "an object",
            Some(b'[') => "a list",
            Some(b'"') => "a string",
            Some(b't' | b'f') => "a boolean",
            Some(b'n') => "null",
            _ => "a number",
        }
    }

    pub fn string(&self) -> Option<String> {
        serde_json::from_str(self.raw).ok()
    }

    pub fn integer(&self) -> Option<i64> {
        serde_json::from_str(self.raw).ok()
    }

    pub fn boolean(&self) -> Option<bool> {
        serde_json::from_str(self.raw).ok()
    }

    pub fn list(&self) -> Option<Vec<JsonNode<'a>>> {
        let items: Vec<&RawValue> = serde_json::from_str(self.raw).ok()?;
        Some(items.into_iter().map(|item| self.part(item)).collect())
    }

    /// Keys and values in the order of the text, including duplicates.
    pub fn object(&self) -> Option<Vec<(JsonNode<'a>, JsonNode<'a>)>> {
        let Pairs(pairs) = serde_json::from_str(self.raw).ok()?;
        Some(pairs.into_iter().map(|(k, v)| (self.part(k), self.part(v))).collect())
    }

    fn part(&self, raw: &'a RawValue) -> JsonNode<'a> {
        JsonNode { whole: self.whole, raw: raw.get() }
    }
}

struct Pairs<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor<'a>(PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for PairsVisitor<'a> {
            type Value = Pairs<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'a>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(PairsVisitor(PhantomData))
    }
}

/// Converts an error of serde_json into the mistake that a person made.
fn explain(text: &str, error: &serde_json::Error) -> Mistake {
    let message = error.to_string();
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(what, _)| what);
    let at = offset(text, error.line(), error.column());
    let content = text.trim_end_matches(WHITESPACE);
    if content.is_empty() {
        return Mistake::new(0, "expected `{`", "the file is empty");
    }
    if message.starts_with("EOF") {
        return at_the_end(content.len(), message);
    }
    if message.contains("escape") || message.contains("control character") || message.contains("unicode") {
        return inside_a_string(text, at, message);
    }
    foreign(text, at).or_else(|| comma(text, at, message)).unwrap_or_else(|| token(text, at, message))
}

/// Syntax of other languages that JSON does not have.
fn foreign(text: &str, at: usize) -> Option<Mistake> {
    let rest = &text[at..];
    if rest.starts_with("//") || rest.starts_with("/*") || rest.starts_with('#') {
        return Some(Mistake::new(at, "expected JSON", "JSON has no comments; take this out"));
    }
    rest.starts_with('\'')
        .then(|| Mistake::new(at, "expected `\"`", "JSON has strings in double quotes only"))
}

/// A missing comma, or one too many.
fn comma(text: &str, at: usize, message: &str) -> Option<Mistake> {
    let rest = &text[at..];
    let before = text[..at].trim_end_matches(WHITESPACE);
    if matches!(message, "expected `,` or `}`" | "expected `,` or `]`")
        && !rest.starts_with(['}', ']', ':', '='])
    {
        return Some(Mistake::new(at, message, missing_comma(text, at, before.len())));
    }
    let (last, expected) = match rest.as_bytes().first() {
        Some(b'}') => ("`}`", "expected another key"),
        Some(b']') => ("`]`", "expected another value"),
        _ => return None,
    };
    let note = format!("this comma is one too many: the last one before {last}");
    before.ends_with(',').then(|| Mistake::new(before.len() - 1, expected, note))
}

fn token(text: &str, at: usize, message: &str) -> Mistake {
    let (at, expected, note) = match message {
        "key must be a string" => (at, "expected `\"`", "a key in double quotes goes here"),
        "expected `,` or `}`" | "expected `,` or `]`" => (at, message, "this is neither"),
        "expected `:`" => (at, message, "a colon is missing between key and value"),
        "trailing characters" => (at, "expected the end of the file", "this follows the closing bracket"),
        "recursion limit exceeded" => (at, "expected a simpler configuration", "this is nested too deeply"),
        "invalid number" | "number out of range" => {
            (start_of_word(text, at), "expected a number", "no JSON number is written so")
        }
        "expected value" | "expected ident" => {
            let at = start_of_word(text, at);
            (at, "expected a value", value_note(&text[at..]))
        }
        _ => return Mistake::new(at, format!("expected JSON: {message}"), "this is none"),
    };
    Mistake::new(at, expected, note)
}

fn at_the_end(end: usize, message: &str) -> Mistake {
    let (expected, note) = match message {
        "EOF while parsing an object" => ("expected `}`", "the file ends here, within an object"),
        "EOF while parsing a list" => ("expected `]`", "the file ends here, within a list"),
        "EOF while parsing a string" => ("expected `\"`", "the file ends here, within a string"),
        _ => ("expected a value", "the file ends here"),
    };
    Mistake::new(end, expected, note)
}

fn inside_a_string(text: &str, at: usize, message: &str) -> Mistake {
    if text[at..].starts_with(['\n', '\r']) {
        return Mistake::new(at, "expected `\"`", "a string ends on the line where it begins");
    }
    if message.contains("control character") {
        return Mistake::new(at, "expected a character", "write control characters as \\t, \\n or \\u00XX");
    }
    Mistake::new(at, "expected an escape", "in a string, a backslash is written `\\\\`")
}

fn missing_comma(text: &str, at: usize, before: usize) -> String {
    let line = |offset: usize| text[..offset].matches('\n').count() + 1;
    if line(before) == line(at) {
        return "a comma is missing before this".into();
    }
    format!("a comma is missing at the end of line {}", line(before))
}

fn value_note(rest: &str) -> &'static str {
    let word: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    match word.to_lowercase().as_str() {
        "" => "a value goes here",
        "true" | "yes" | "on" => "write `true`",
        "false" | "no" | "off" => "write `false`",
        "null" | "none" | "nil" => "write `null`, or leave the key out",
        _ if word.starts_with(char::is_numeric) => "no JSON number is written so",
        _ => "a string stands in double quotes",
    }
}

/// Converts serde_json's line and column into a position in bytes, at the beginning of a character.
/// Both count from 1, columns in bytes; column 0 is the end of the previous line.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let mut at = (start + column).saturating_sub(1).min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn start_of_word(text: &str, at: usize) -> usize {
    text[..at].trim_end_matches(|c: char| c.is_alphanumeric() || "+-.".contains(c)).len()
}
