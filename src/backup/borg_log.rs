//! Reads the log of `borg create`: counts its warnings, and keeps what explains a failure.

use super::archived::Warnings;
use crate::tools::borg::{Level, Line};

/// What was found in borg's log.
#[derive(Default)]
pub struct Seen {
    /// According to the exit code.
    pub warned: bool,
    pub warnings: Warnings,
    pub caches: u64,
    /// The last messages that explain a failure.
    pub lines: Vec<Line>,
    /// Python aborted borg, for example because of an exclude pattern that is not a regular
    /// expression. The exit code is then 1, which otherwise means warnings.
    pub crashed: bool,
}

impl Seen {
    const KEPT_LINES: usize = 200;

    /// Adds a line; returns whether the user should see it.
    pub fn take(&mut self, line: &Line) -> bool {
        if let Line::Message { text, .. } = line
            && (self.crashed || text == "Traceback (most recent call last):")
        {
            self.trace(line, text);
            return false;
        }
        match line {
            Line::Message { level: Level::Warning, text, .. } => {
                self.warnings.all += 1;
                // The text may contain names of files, which may contain anything.
                match text.ends_with(CHANGED) {
                    true => self.warnings.changed += 1,
                    false => self.warnings.unread += u64::from(says_unread(text)),
                }
            }
            Line::Message { level: Level::Error, .. } | Line::Question { .. } => {}
            _ => return true,
        }
        if self.lines.len() == Seen::KEPT_LINES {
            self.lines.remove(0);
        }
        self.lines.push(line.clone());
        true
    }

    /// Of a traceback, only the exception is useful: the first line that is not indented.
    fn trace(&mut self, line: &Line, text: &str) {
        if !self.crashed {
            self.crashed = true;
            self.lines.clear();
        } else if self.lines.is_empty() && !text.is_empty() && !text.starts_with(' ') {
            self.lines.push(line.clone());
        }
    }

    /// The exit code decides: messages of ssh or a shell alone are not warnings.
    pub fn warnings(&self) -> Warnings {
        match self.warned {
            true => Warnings { all: self.warnings.all.max(1), ..self.warnings },
            false => Warnings::default(),
        }
    }
}

/// Every version of borg ends the line about a file that changed while it was read like this.
const CHANGED: &str = ": file changed while we backed it up";

/// Whether borg reports that it could not read something. All versions of borg write the number of
/// a system error at the end. Files that vanished or changed their type do not count.
fn says_unread(text: &str) -> bool {
    const VANISHED: [i32; 4] = [libc::ENOENT, libc::ENOTDIR, libc::ELOOP, libc::ESTALE];
    let errno = text.match_indices("[Errno ").find_map(|(at, begin)| {
        let (number, rest) = text[at + begin.len()..].split_once("] ")?;
        is_end_of_error(rest).then(|| number.parse::<i32>().ok()).flatten()
    });
    errno.is_some_and(|errno| !VANISHED.contains(&errno))
}

/// Whether this is the rest of a Python error after its number: the message, and possibly the file
/// as a literal. In the name of a file, more would follow.
fn is_end_of_error(rest: &str) -> bool {
    let (meaning, file) = rest.split_once(": ").map_or((rest, None), |(meaning, file)| (meaning, Some(file)));
    !meaning.contains(['[', '\'', '"']) && file.is_none_or(is_literal)
}

/// Whether the text is one string literal, or the number of a descriptor, as Python writes them.
fn is_literal(text: &str) -> bool {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return true;
    }
    let mut chars = text.strip_prefix('b').unwrap_or(text).chars();
    let Some(quote) = chars.next().filter(|c| ['\'', '"'].contains(c)) else { return false };
    while let Some(c) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            c if c == quote => return chars.as_str().is_empty(),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ssh_says_in_passing_is_no_warning_when_borg_is_content() {
        let mut seen = Seen::default();
        seen.take(&Line::parse(b"Warning: Permanently added 'milena' to the list of known hosts."));
        assert_eq!(seen.warnings(), Warnings::default());
        seen.warned = true;
        assert_eq!(seen.warnings(), Warnings { all: 1, changed: 0, unread: 0 });
    }

    #[test]
    fn a_file_that_changed_is_counted_as_such() {
        let mut seen = Seen { warned: true, ..Seen::default() };
        for text in
            ["a: file changed while we backed it up", "b: stat: [Errno 2] No such file or directory: 'b'"]
        {
            let line = serde_json::json!({"type": "log_message", "levelname": "WARNING", "message": text});
            seen.take(&Line::parse(line.to_string().as_bytes()));
        }
        assert_eq!(seen.warnings(), Warnings { all: 2, changed: 1, unread: 0 });
    }

    #[test]
    fn a_line_counts_once_whatever_the_file_is_called() {
        let mut seen = Seen { warned: true, ..Seen::default() };
        for text in [
            "x: read: [Errno 5] Input/output error: file changed while we backed it up",
            "x: file changed while we backed it up: read: [Errno 5] Input/output error",
        ] {
            let line = serde_json::json!({"type": "log_message", "levelname": "WARNING", "message": text});
            seen.take(&Line::parse(line.to_string().as_bytes()));
        }
        assert_eq!(seen.warnings(), Warnings { all: 2, changed: 1, unread: 1 });
    }

    #[test]
    fn what_could_not_be_read_differs_from_what_was_gone() {
        for unread in [
            "a: read: [Errno 5] Input/output error",
            "b: open: [Errno 13] Permission denied: 'b'",
            "d: dir_open: [Errno 1] Operation not permitted: 'd'",
            "n: [Errno 2] x: open: [Errno 107] Transport endpoint is not connected: 'n: [Errno 2] x'",
            "x: open: [Errno 13] Permission denied: b\"it's\"",
            "x: scandir: [Errno 5] Input/output error: 7",
            r#"a'"\: open: [Errno 13] Permission denied: 'a\'"\\'"#,
        ] {
            assert!(says_unread(unread), "{unread}");
        }
        for other in [
            "a: file changed while we backed it up",
            "a: stat: [Errno 2] No such file or directory: 'a'",
            "a: open: [Errno 40] Too many levels of symbolic links: 'a'",
            "a: dir_open: [Errno 20] Not a directory: 'a'",
            "[Errno x] [Errno",
            "x [Errno 5] y: stat: [Errno 2] No such file or directory: 'x [Errno 5] y'",
            "x: read: [Errno 5] Input/output error: stat: [Errno 2] No such file or directory",
            "[Errno 5] y: 'z: open: [Errno 2] No such file or directory: \"[Errno 5] y: 'z\"",
            r#"[Errno 5] y: "z': open: [Errno 2] No such file or directory: '[Errno 5] y: "z\''"#,
            "Include pattern '[Errno 5] x' never matched.",
        ] {
            assert!(!says_unread(other), "{other}");
        }
    }

    #[test]
    fn a_crash_of_python_is_told_by_its_exception() {
        let mut seen = Seen { warned: true, ..Seen::default() };
        let lines: [&[u8]; 5] = [
            b"Traceback (most recent call last):",
            b"  File \"/usr/bin/borg\", line 33, in <module>",
            b"    raise source.error(\"nothing to repeat\",",
            b"re.error: nothing to repeat at position 0",
            b"Platform: Linux",
        ];
        for line in lines {
            assert!(!seen.take(&Line::parse(line)));
        }
        assert!(seen.crashed);
        assert_eq!(seen.lines, [Line::parse(lines[3])]);
    }
}
