//! Python's format strings, as `borg list --format` takes them.

use super::columns::Column;
use super::value::{Time, Value};
use crate::error::{Error, Result};

/// A key that a format may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    pub name: &'static str,
    /// Its specification is one of strftime(3).
    pub is_time: bool,
}

impl Key {
    pub const fn plain(name: &'static str) -> Self {
        Key { name, is_time: false }
    }

    pub const fn time(name: &'static str) -> Self {
        Key { name, is_time: true }
    }
}

/// A parsed format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Column(&'static str, Column),
    Time(&'static str, String),
}

/// borg's keys for characters that are hard to type.
const CHARACTERS: [(&str, &str); 7] = [
    ("NEWLINE", "\n"),
    ("NL", "\n"),
    ("LF", "\n"),
    ("CR", "\r"),
    ("TAB", "\t"),
    ("SPACE", " "),
    ("NUL", "\0"),
];

impl Format {
    /// Parses `text`, which may have these keys.
    ///
    /// # Errors
    /// [`Kind::Usage`](crate::error::Kind::Usage) for a key or a specification that only borg knows.
    pub fn parse(text: &str, keys: &[Key]) -> Result<Format> {
        let mut parts = Vec::new();
        let (mut literal, mut rest) = (String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                literal.push_str(brace);
                rest = after;
                continue;
            }
            let field = rest.split_once('}').filter(|_| brace == "{");
            let (field, after) = field.ok_or_else(|| wrong(text, "a brace has no other"))?;
            rest = after;
            match part(field, keys).map_err(|why| wrong(text, &why))? {
                Part::Literal(character) => literal.push_str(&character),
                part => parts.extend([Part::Literal(std::mem::take(&mut literal)), part]),
            }
        }
        literal.push_str(rest);
        parts.push(Part::Literal(literal));
        Ok(Format(parts))
    }

    /// The keys in it.
    pub fn keys(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().filter_map(|part| match part {
            Part::Literal(_) => None,
            Part::Column(name, _) | Part::Time(name, _) => Some(*name),
        })
    }

    /// Writes it with the value of each key to `out`.
    pub fn write<'v>(&self, value: impl Fn(&'static str) -> Value<'v>, out: &mut Vec<u8>) {
        for part in &self.0 {
            match part {
                Part::Literal(text) => out.extend(text.as_bytes()),
                Part::Column(name, column) => column.write(&value(name), out),
                Part::Time(name, format) => {
                    if let Value::Time(time) = value(name) {
                        out.extend(time.format(format).unwrap_or_default().as_bytes());
                    }
                }
            }
        }
    }
}

/// What stands between two braces.
fn part(field: &str, keys: &[Key]) -> Result<Part, String> {
    let (name, spec) = field.split_once(':').unwrap_or((field, ""));
    if let Some((_, character)) = CHARACTERS.iter().find(|(key, _)| *key == name) {
        return Ok(Part::Literal((*character).to_owned()));
    }
    let Some(key) = keys.iter().find(|key| key.name == name) else {
        let known: Vec<&str> = keys.iter().map(|key| key.name).collect();
        return Err(format!("without borg there is no `{name}`, only {}", known.join(", ")));
    };
    if key.is_time {
        let is_format = Time::from_nanos(0).format(spec).is_some();
        return is_format
            .then(|| Part::Time(key.name, spec.to_owned()))
            .ok_or(format!("{spec} is no format of a time"));
    }
    let column = Column::parse(spec).ok_or_else(|| format!("only borg knows what `:{spec}` means"))?;
    Ok(Part::Column(key.name, column))
}

fn wrong(format: &str, why: &str) -> Error {
    Error::usage(format!("`{format}` is not a format that can be listed here: {why}"))
        .hint("where borg is installed, `list` is borg's own and knows them all")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [Key; 3] = [
        Key { name: "path", is_time: false },
        Key { name: "size", is_time: false },
        Key { name: "mtime", is_time: true },
    ];

    fn shown(format: &str) -> Result<String> {
        let value = |name| match name {
            "path" => Value::text("a/b"),
            "size" => Value::Number(42),
            _ => Value::Time(Time::from_nanos(86_400_000_000_000 * 365)),
        };
        let mut out = Vec::new();
        Format::parse(format, &KEYS)?.write(value, &mut out);
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_format_is_filled_in() {
        for (format, expected) in [
            ("{path}{NL}", "a/b\n"),
            ("{size:>4} {path:<5}|{TAB}{NUL}", "  42 a/b  |\t\0"),
            ("{{{path}}}", "{a/b}"),
            ("{mtime:%Y}", "1971"),
            ("plain", "plain"),
            ("", ""),
        ] {
            assert_eq!(shown(format).unwrap(), expected, "{format}");
        }
    }

    #[test]
    fn what_only_borg_knows_is_named() {
        for (format, what) in [
            ("{dsize}", "no `dsize`"),
            ("{path", "brace"),
            ("path}", "brace"),
            ("{size:x}", ":x"),
            ("{path!r}", "path!r"),
            ("{mtime:%!}", "%!"),
        ] {
            let error = shown(format).unwrap_err().to_string();
            assert!(error.contains(what), "{format}: {error}");
        }
    }
}
