//! Escapes text from outside (names, servers, programs) for a person's terminal or log.

use std::borrow::Cow;

/// Escapes everything in `text` that steers a terminal, ends a line, or changes the direction of
/// text.
pub fn line(text: &str) -> Cow<'_, str> {
    escape(text, is_dangerous)
}

/// The same for a text of ours with several lines, whose parts are ours or were escaped by
/// [`line()`].
pub fn lines(text: &str) -> Cow<'_, str> {
    escape(text, |c| c != '\n' && c != '\t' && is_dangerous(c))
}

/// Escapes JSON for a terminal without changing its meaning.
pub fn json(text: &str) -> Cow<'_, str> {
    // JSON has already escaped control characters; outside of strings there is only white space.
    let is_left = |c| !matches!(c, '\n' | '\t') && is_dangerous(c);
    if !text.contains(is_left) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match is_left(c) {
            true => safe.push_str(&format!("\\u{:04x}", c as u32)),
            false => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

fn escape(text: &str, is_dangerous: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_dangerous) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match is_dangerous(c) {
            true => safe.extend(c.escape_default()),
            false => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

/// Control characters (C0, DEL, C1), other line ends, and marks that change the direction of text.
fn is_dangerous(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}')
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_or_turns_text_around_is_shown_and_not_done() {
        for (text, label) in [
            ("a\x1b[2Jb", "a\\u{1b}[2Jb"),
            ("a\nb\rc\td", "a\\nb\\rc\\td"),
            ("a\u{9b}2J\x7f\x07", "a\\u{9b}2J\\u{7f}\\u{7}"),
            ("fdp.\u{202e}exe\u{2066}\u{2028}", "fdp.\\u{202e}exe\\u{2066}\\u{2028}"),
        ] {
            assert_eq!(line(text), label);
        }
        for plain in ["", "dev/zvol/tank/a b", "bäckup 備 🙂", "back\\slash \"quoted\""] {
            assert!(matches!(line(plain), Cow::Borrowed(same) if same == plain));
        }
    }

    #[test]
    fn the_repositorys_reader_escapes_the_same_in_a_path() {
        for c in ('\u{1}'..=char::MAX).filter(|c| !matches!(c, '.' | '/')) {
            let text = c.to_string();
            let path = borg_repository::ItemPath::new(text.as_bytes()).unwrap();
            assert_eq!(path.to_string(), line(&text));
        }
    }

    #[test]
    fn our_own_lines_stay_lines() {
        assert_eq!(lines("a\n\tb\x1b"), "a\n\tb\\u{1b}");
    }

    #[test]
    fn json_keeps_its_meaning() {
        let value = serde_json::json!({"name": "a\u{9b}2J\u{7f}\u{202e}\x1b\nb"});
        let json = value.to_string();
        let safe = super::json(&json);
        assert!(safe.is_ascii(), "{safe}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&safe).unwrap(), value);
    }
}
