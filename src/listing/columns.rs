//! How a value fills its column: Python's format specification.

use super::value::Value;

/// The widest column. Python has no limit.
const WIDEST: usize = 10_000;

/// `[[fill]align][0][width][,][.precision][type]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    fill: char,
    align: Option<Align>,
    width: usize,
    /// A comma between thousands.
    thousands: bool,
    /// The most characters of a text.
    precision: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Align {
    Left,
    Right,
    Center,
}

impl Column {
    /// `None` for a specification that we do not know.
    pub fn parse(spec: &str) -> Option<Column> {
        let mut column = Column { fill: ' ', align: None, width: 0, thousands: false, precision: None };
        let mut rest = spec;
        let mut chars = spec.chars();
        let (first, second) = (chars.next(), chars.next());
        if let (Some(fill), Some(align)) = (first, second.and_then(Align::of)) {
            (column.fill, column.align) = (fill, Some(align));
            rest = chars.as_str();
        } else if let Some(align) = first.and_then(Align::of) {
            column.align = Some(align);
            rest = &spec[1..];
        }
        if column.align.is_none() && rest.starts_with('0') {
            (column.fill, column.align) = ('0', Some(Align::Right));
        }
        (column.width, rest) = number(rest)?;
        if let Some(after) = rest.strip_prefix(',') {
            (column.thousands, rest) = (true, after);
        }
        if let Some(after) = rest.strip_prefix('.') {
            let (precision, after) = number(after).filter(|(_, left)| left.len() < after.len())?;
            (column.precision, rest) = (Some(precision), after);
        }
        matches!(rest, "" | "s" | "d").then_some(column)
    }

    /// Writes `value` to `out`. Texts go to the left, numbers to the right.
    pub fn write(&self, value: &Value<'_>, out: &mut Vec<u8>) {
        let (text, align) = match value {
            Value::Text(text) => (text.as_bytes().to_vec(), Align::Left),
            Value::Bytes(bytes) => (bytes.to_vec(), Align::Left),
            Value::Number(number) => (self.digits(*number), Align::Right),
            Value::Time(time) => (time.long().into_bytes(), Align::Left),
        };
        let text = match self.precision {
            Some(most) => first_characters(&text, most),
            None => &text,
        };
        let missing = self.width.saturating_sub(characters(text));
        let before = match self.align.unwrap_or(align) {
            Align::Left => 0,
            Align::Right => missing,
            Align::Center => missing / 2,
        };
        let mut fill = [0; 4];
        let fill = self.fill.encode_utf8(&mut fill).as_bytes();
        (0..before).for_each(|_| out.extend(fill));
        out.extend(text);
        (before..missing).for_each(|_| out.extend(fill));
    }

    fn digits(&self, number: u64) -> Vec<u8> {
        let digits = number.to_string().into_bytes();
        if !self.thousands {
            return digits;
        }
        let mut text = Vec::new();
        for (n, digit) in digits.iter().enumerate() {
            if n > 0 && (digits.len() - n).is_multiple_of(3) {
                text.push(b',');
            }
            text.push(*digit);
        }
        text
    }
}

impl Align {
    fn of(c: char) -> Option<Align> {
        match c {
            '<' => Some(Align::Left),
            '>' => Some(Align::Right),
            '^' => Some(Align::Center),
            _ => None,
        }
    }
}

/// The number at the beginning of `text`, 0 if there is none, and the rest.
fn number(text: &str) -> Option<(usize, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let number = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    (number <= WIDEST).then_some((number, rest))
}

/// Each byte that is not UTF-8 counts as one.
fn characters(text: &[u8]) -> usize {
    text.utf8_chunks().map(|chunk| chunk.valid().chars().count() + chunk.invalid().len()).sum()
}

fn first_characters(text: &[u8], most: usize) -> &[u8] {
    let mut left = most;
    let mut end = 0;
    for chunk in text.utf8_chunks() {
        let lengths = chunk.valid().chars().map(char::len_utf8).chain(chunk.invalid().iter().map(|_| 1));
        for length in lengths {
            if left == 0 {
                return &text[..end];
            }
            left -= 1;
            end += length;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(spec: &str, value: Value<'_>) -> Option<String> {
        let mut out = Vec::new();
        Column::parse(spec)?.write(&value, &mut out);
        String::from_utf8(out).ok()
    }

    /// Results of Python's `format`.
    #[test]
    fn columns_are_filled_as_python_fills_them() {
        for (spec, expected) in [
            ("", "äb"),
            ("5", "äb   "),
            ("<5", "äb   "),
            (">5", "   äb"),
            ("^5", " äb  "),
            ("*^6", "**äb**"),
            ("ö>4", "ööäb"),
            (".1", "ä"),
            ("4.1", "ä   "),
            ("1", "äb"),
            ("5s", "äb   "),
        ] {
            assert_eq!(shown(spec, Value::text("äb")).as_deref(), Some(expected), "{spec}");
        }
        for (spec, expected) in [
            ("", "1234567"),
            ("9", "  1234567"),
            ("<9", "1234567  "),
            (",", "1,234,567"),
            ("12,", "   1,234,567"),
            ("010", "0001234567"),
            ("d", "1234567"),
        ] {
            assert_eq!(shown(spec, Value::Number(1_234_567)).as_deref(), Some(expected), "{spec}");
        }
        for spec in ["x", "5x", "=5", "+d", ".", "100000", "5.5.5", "99999999999999999999999"] {
            assert_eq!(Column::parse(spec), None, "{spec}");
        }
    }

    #[test]
    fn raw_bytes_are_characters_of_their_own() {
        let mut out = Vec::new();
        Column::parse("5.3").unwrap().write(&Value::Bytes(b"\xff\xfe\xfd\xfc"), &mut out);
        assert_eq!(out, b"\xff\xfe\xfd  ");
    }
}
