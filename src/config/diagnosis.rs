//! Shows the mistakes of a configuration in their lines, as a compiler does.

use std::fmt;
use std::path::{Path, PathBuf};

use unicode_width::UnicodeWidthChar;

/// How many columns of a line are shown before and after the caret.
const BEFORE: usize = 60;
const AFTER: usize = 40;

/// A mistake, before its position is converted to line and column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// In bytes from the beginning of the text.
    pub at: usize,
    /// `expected …`
    pub expected: String,
    /// What is wrong with the text at this position.
    pub note: String,
    /// Only `create` reads this value.
    pub only_create: bool,
}

impl Mistake {
    pub fn new(at: usize, expected: impl Into<String>, note: impl Into<String>) -> Self {
        Mistake { at, expected: expected.into(), note: note.into(), only_create: false }
    }
}

/// All mistakes of a configuration; there is at least one.
#[derive(Debug)]
pub struct Diagnosis {
    file: PathBuf,
    text: String,
    mistakes: Vec<Mistake>,
}

/// A mistake with its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place<'a> {
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters. If something is missing at the end of a line, one more than
    /// the line has.
    pub column: usize,
    pub mistake: &'a Mistake,
}

impl Diagnosis {
    pub(super) fn new(file: &Path, text: &str, mut mistakes: Vec<Mistake>) -> Self {
        mistakes.sort_by_key(|m| m.at);
        Diagnosis { file: file.to_owned(), text: text.to_owned(), mistakes }
    }

    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The mistakes in the order of the text.
    pub fn places(&self) -> impl Iterator<Item = Place<'_>> {
        self.mistakes.iter().map(|mistake| {
            let before = &self.text[..mistake.at];
            let start = before.rfind('\n').map_or(0, |i| i + 1);
            Place {
                line: before.matches('\n').count() + 1,
                column: before[start..].chars().count() + 1,
                mistake,
            }
        })
    }

    /// `FILE:LINE:COLUMN: expected …`
    pub fn headline(&self, place: &Place<'_>) -> String {
        format!("{}:{}:{}: {}", self.file.display(), place.line, place.column, place.mistake.expected)
    }

    /// The previous line, the line itself, and a caret with the note below it.
    pub fn excerpt(&self, place: &Place<'_>) -> Vec<String> {
        let line = |number: usize| self.text.lines().nth(number - 1).unwrap_or_default();
        let width = place.line.to_string().len();
        let (label, first, caret) = window(line(place.line), place.column);
        let mut excerpt = Vec::new();
        if place.line > 1 {
            let above = cut(&expand(line(place.line - 1)), first, BEFORE + AFTER);
            excerpt.push(format!("  {:>width$} | {above}", place.line - 1));
        }
        excerpt.push(format!("  {:>width$} | {label}", place.line));
        excerpt.push(format!("  {:>width$} | {:caret$}^ {}", "", "", place.mistake.note));
        excerpt.iter().map(|l| l.trim_end().to_owned()).collect()
    }
}

impl fmt::Display for Diagnosis {
    /// All mistakes on one line, for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, place) in self.places().enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            write!(f, "{separator}{} ({})", self.headline(&place), place.mistake.note)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnosis {}

/// A character as it is shown, and its width in columns of a terminal.
type Cell = (char, usize);

/// A tab becomes spaces, so that the caret is in the right column with any tab stops. A character
/// that could steer the terminal becomes a dot.
fn expand(line: &str) -> Vec<Cell> {
    let cells = line.chars().flat_map(|c| match c {
        '\t' => [Some((' ', 1)); 4],
        c => {
            let cell = c.width().map_or(('\u{b7}', 1), |width| (c, width));
            [Some(cell), None, None, None]
        }
    });
    cells.flatten().collect()
}

/// The part of `line` around `column` (in characters, from 1), its first cell, and the column of
/// the caret in it.
fn window(line: &str, column: usize) -> (String, usize, usize) {
    let cells = expand(line);
    let prefix: String = line.chars().take(column - 1).collect();
    let at = expand(&prefix).len();
    let first = if cells.len() > BEFORE + AFTER { at.saturating_sub(BEFORE) } else { 0 };
    let mark = if first > 0 { 1 } else { 0 };
    let caret = mark + cells[first..at.min(cells.len())].iter().map(|(_, width)| width).sum::<usize>();
    (cut(&cells, first, BEFORE + AFTER), first, caret)
}

/// `count` cells from `first` on, with marks where the line was cut.
fn cut(cells: &[Cell], first: usize, count: usize) -> String {
    let first = first.min(cells.len());
    let end = (first + count).min(cells.len());
    let middle: String = cells[first..end].iter().map(|(c, _)| c).collect();
    let left = if first > 0 { "…" } else { "" };
    let right = if end < cells.len() { "…" } else { "" };
    format!("{left}{middle}{right}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(text: &str, at: usize) -> String {
        let diagnosis = Diagnosis::new(Path::new("f"), text, vec![Mistake::new(at, "expected x", "here")]);
        let place = diagnosis.places().next().unwrap();
        let mut lines = vec![diagnosis.headline(&place)];
        lines.extend(diagnosis.excerpt(&place));
        lines.join("\n")
    }

    #[test]
    fn the_line_before_and_a_caret_are_shown() {
        assert_eq!(label("ab\n cd\nef", 4), "f:2:2: expected x\n  1 | ab\n  2 |  cd\n    |  ^ here");
        assert_eq!(label("ab\r\n cd\r\nef", 5), "f:2:2: expected x\n  1 | ab\n  2 |  cd\n    |  ^ here");
    }

    #[test]
    fn the_first_line_has_none_before_it() {
        assert_eq!(label("ab", 2), "f:1:3: expected x\n  1 | ab\n    |   ^ here");
        assert_eq!(label("", 0), "f:1:1: expected x\n  1 |\n    | ^ here");
    }

    #[test]
    fn line_numbers_keep_the_bars_in_one_column() {
        let text = "\n".repeat(9) + "x";
        assert_eq!(label(&text, 9), "f:10:1: expected x\n   9 |\n  10 | x\n     | ^ here");
    }

    #[test]
    fn the_caret_stands_right_after_tabs_and_wide_characters() {
        assert_eq!(label("\t\tx", 2), "f:1:3: expected x\n  1 |         x\n    |         ^ here");
        assert_eq!(label("äx", 2), "f:1:2: expected x\n  1 | äx\n    |  ^ here");
        assert_eq!(label("備x", 3), "f:1:2: expected x\n  1 | 備x\n    |   ^ here");
    }

    #[test]
    fn nothing_shown_can_steer_the_terminal() {
        assert!(!label("\x1b[2Jx\x07\u{9b}", 1).contains(|c: char| c.is_control() && c != '\n'));
    }

    #[test]
    fn a_long_line_is_cut_around_the_caret() {
        let text = "a".repeat(500) + "X" + &"b".repeat(500);
        let label = label(&text, 500);
        let lines: Vec<&str> = label.lines().collect();
        assert!(lines[1].chars().count() < 120, "{label}");
        let caret = lines[2].chars().position(|c| c == '^').unwrap();
        assert_eq!(lines[1].chars().nth(caret), Some('X'), "{label}");
        assert!(lines[1].contains("…a") && lines[1].ends_with("b…"), "{label}");
    }
}
