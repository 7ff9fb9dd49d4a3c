//! Borg's patterns (`borg help patterns`), matched against paths of an archive.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use regex::bytes::Regex;

/// Patterns that exclude paths from a backup.
#[derive(Debug, Default)]
pub struct Patterns(Vec<Pattern>);

#[derive(Debug)]
enum Pattern {
    /// Matches the path with a `/` at its end.
    Glob(Regex),
    /// Matches a part of the path.
    Expression(Regex),
    /// Matches the path and everything below it.
    Prefix(Vec<u8>),
    Full(Vec<u8>),
}

/// Any byte, even one that is not UTF-8.
const ANY: &str = "(?s-u:.)";
/// A character, or a byte that is not part of one.
const ONE: &str = r"(?:(?s:.)|(?-u:[\x80-\xff]))";
const ANY_IN_NAME: &str = "(?-u:[^/])";
const ONE_IN_NAME: &str = r"(?:[^/]|(?-u:[\x80-\xff]))";
/// Any number of directories.
const DIRECTORIES: &str = "(?:(?-u:[^/])*/)*";

impl Patterns {
    /// Patterns as in `borg create --exclude`, with the default style `fm:`.
    ///
    /// # Errors
    /// The first pattern that we cannot match like borg.
    pub fn parse(texts: &[String]) -> Result<Self, &str> {
        texts
            .iter()
            .map(|text| Pattern::parse(text, "fm").ok_or(&**text))
            .collect::<Result<_, _>>()
            .map(Patterns)
    }

    /// Patterns as in `borg list ::ARCHIVE PATH`, with the default style `pp:`. What is not UTF-8 is
    /// a path.
    ///
    /// # Errors
    /// As [`Patterns::parse`].
    pub fn parse_paths(paths: &[OsString]) -> Result<Self, String> {
        let parse = |path: &OsString| match path.to_str() {
            Some(text) => Pattern::parse(text, "pp").ok_or_else(|| text.to_owned()),
            None => Ok(Pattern::Prefix([path.as_bytes(), b"/"].concat())),
        };
        paths.iter().map(parse).collect::<Result<_, _>>().map(Patterns)
    }

    /// Whether a pattern matches `path`, which must not begin with `/`. If it matches a directory,
    /// everything in it is excluded, too.
    pub fn match_path(&self, path: &[u8]) -> bool {
        let with_slash = [path, b"/"].concat();
        self.0.iter().any(|pattern| match pattern {
            Pattern::Glob(regex) => regex.is_match(&with_slash),
            Pattern::Expression(regex) => regex.is_match(path),
            Pattern::Prefix(prefix) => with_slash.starts_with(prefix),
            Pattern::Full(full) => path == *full,
        })
    }

    /// Whether a pattern matches `path`, or a directory above it.
    pub fn exclude(&self, path: &[u8]) -> bool {
        !self.0.is_empty()
            && memchr::memchr_iter(b'/', path).chain([path.len()]).any(|end| self.match_path(&path[..end]))
    }
}

impl Pattern {
    fn parse(text: &str, default: &str) -> Option<Self> {
        let is_style = |style: &str| style.len() == 2 && style.bytes().all(|b| b.is_ascii_lowercase());
        let (style, rest) =
            text.split_once(':').filter(|(style, _)| is_style(style)).unwrap_or((default, text));
        let clean = normal(rest);
        let is_directory = rest.ends_with('/');
        match style {
            "fm" => {
                let below = if is_directory { "/*/" } else { "/*" };
                glob(format!("{clean}{below}").trim_start_matches('/'), false)
            }
            "sh" => {
                let below = if is_directory { "/**/*/" } else { "/**/*" };
                glob(format!("{clean}{below}").trim_start_matches('/'), true)
            }
            "re" => Some(Pattern::Expression(Regex::new(rest).ok()?)),
            "pp" => Some(Pattern::Prefix(match &*clean {
                "" => Vec::new(),
                clean => format!("{clean}/").into_bytes(),
            })),
            "pf" => Some(Pattern::Full(clean.into_bytes())),
            _ => None,
        }
    }
}

/// Removes leading and trailing `/`, `//` and `.` components.
fn normal(path: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    names.join("/")
}

/// With `in_names`, `*` and `?` do not match `/`, but `**/` does.
fn glob(pattern: &str, in_names: bool) -> Option<Pattern> {
    let mut regex = String::from("^");
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        rest = &rest[first.len_utf8()..];
        match first {
            '*' if in_names && rest.starts_with("*/") => {
                rest = &rest[2..];
                regex.push_str(DIRECTORIES);
            }
            '*' => regex.push_str(&format!("{}*", if in_names { ANY_IN_NAME } else { ANY })),
            '?' => regex.push_str(if in_names { ONE_IN_NAME } else { ONE }),
            '[' => match class(rest) {
                Some((class, after)) => {
                    regex.push_str(&class);
                    rest = after;
                }
                None => regex.push_str(r"\["),
            },
            other => regex.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
    regex.push('$');
    Some(Pattern::Glob(Regex::new(&regex).ok()?))
}

/// Parses the class of characters in `!a-z]…`, and returns the rest; `None` if it has no end.
fn class(rest: &str) -> Option<(String, &str)> {
    let (negated, members) = match rest.strip_prefix('!') {
        Some(members) => (true, members),
        None => (false, rest),
    };
    // A leading `]` belongs to the class.
    let first = members.starts_with(']').into();
    let end = members[first..].find(']')? + first;
    let mut class = String::from(if negated { "[^" } else { "[" });
    for member in members[..end].chars() {
        if member != '-' && (member.is_ascii_punctuation() || member == '^') {
            class.push('\\');
        }
        class.push(member);
    }
    class.push(']');
    Some((class, &members[end + 1..]))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    /// Results of `borg.patterns` of borg 1.4.5.
    #[test]
    fn each_style_matches_what_borg_matches() {
        for (pattern, path, expected) in [
            ("fm:*/.cache", "home/me/.cache", true),
            ("fm:*/.cache", "home/me/.cache/x", true),
            ("fm:*/.cache", ".cache", false),
            ("*/.cache", "home/.cache", true),
            ("var/cache/*/*", "var/cache/a/b/c", true),
            ("var/cache/*/*", "var/cache/a", false),
            ("tmp/*", "tmp", false),
            ("tmp/*", "tmp/x", true),
            ("tmp/", "tmp", false),
            ("tmp/", "tmp/x", true),
            ("**/node_modules", "a/node_modules", true),
            ("**/node_modules", "a/b/node_modules/x", true),
            ("fm:*.pyc", "a/b.pyc", true),
            ("fm:[!a]x", "bx", true),
            ("fm:[!a]x", "ax", false),
            ("fm:a?c", "a/c", true),
            ("sh:a?c", "a/c", false),
            ("sh:**/*.o", "x.o", true),
            ("sh:**/*.o", "a/b/x.o", true),
            ("sh:a/*.o", "a/b/x.o", false),
            ("sh:home/*/x", "home/me/x/below", true),
            ("re:^a.*z$", "abz", true),
            ("re:b", "abc", true),
            ("fm:/", "tmp", true),
            ("pp:/", "tmp", true),
            ("sh:tmp/", "tmp", false),
            ("pp:/home/me", "home/me/x", true),
            ("pp:home/me", "home/men", false),
            ("pf:home/me", "home/me", true),
            ("pf:home/me", "home/me/x", false),
        ] {
            let patterns = Patterns::parse(&[pattern.to_owned()][..]).map_err(str::to_owned).unwrap();
            assert_eq!(patterns.match_path(path.as_bytes()), expected, "{pattern} {path}");
        }
        let bytes = Patterns::parse(&["fm:*/a?b".to_owned()][..]).map_err(str::to_owned).unwrap();
        assert!(bytes.match_path(b"x\xff/a\xfeb"));
    }

    #[test]
    fn a_path_is_a_prefix_unless_it_has_a_style_and_may_have_any_bytes() {
        let paths = [OsString::from("home/me/"), "sh:*.o".into(), OsStr::from_bytes(b"a\xff").to_owned()];
        let patterns = Patterns::parse_paths(&paths).unwrap();
        for path in [&b"home/me"[..], b"home/me/x", b"a.o", b"a\xff", b"a\xff/b"] {
            assert!(patterns.match_path(path), "{}", path.escape_ascii());
        }
        for path in [&b"home"[..], b"home/men", b"b/a.o", b"a\xfe", b"a\xff2"] {
            assert!(!patterns.match_path(path), "{}", path.escape_ascii());
        }
        assert_eq!(Patterns::parse_paths(&["xx:a".into()]).unwrap_err(), "xx:a");
    }

    #[test]
    fn what_is_in_an_excluded_directory_is_excluded() {
        let texts = ["re:/node_modules$".to_owned()];
        let patterns = Patterns::parse(&texts).unwrap();
        assert!(!patterns.match_path(b"a/node_modules/x") && patterns.exclude(b"a/node_modules/x"));
        assert!(!patterns.exclude(b"a/node") && !Patterns::default().exclude(b"a"));
    }

    #[test]
    fn what_we_cannot_match_as_borg_does_is_named() {
        for pattern in ["re:(?=x)", "xx:a", "re:("] {
            assert_eq!(Patterns::parse(&["a".to_owned(), pattern.to_owned()][..]).unwrap_err(), pattern);
        }
        assert!(Patterns::parse(&["C:/x".to_owned(), "abc:x".to_owned()]).is_ok());
    }
}
