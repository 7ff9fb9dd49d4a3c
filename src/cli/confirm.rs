//! Asks a person before something is lost.

use std::io::{IsTerminal, Write};

use crate::error::{Error, Kind, Result};
use crate::escape;

/// Asks `question` on the terminal. Only `y` and `yes` continue.
///
/// # Errors
/// [`Kind::Usage`] if nobody can be asked, [`Kind::Failed`] if the answer is no.
pub fn ask(question: &str) -> Result<()> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(Error::usage(format!("{question} There is no terminal to ask on"))
            .hint("`--yes` goes ahead without asking; `--dry-run` shows what would be done"));
    }
    let _ = write!(std::io::stderr().lock(), "{}", prompt(question));
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    read.map_err(|e| Error::failed("cannot read the answer").because(e))?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Error::new(Kind::Failed, "nothing was done, because the answer was no")),
    }
}

/// The question contains names from outside.
fn prompt(question: &str) -> String {
    format!("{} [y/N] ", escape::line(question))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_name_cannot_rewrite_the_question() {
        let label = super::prompt("All of it becomes a\r\x1b[2KNothing is lost. Go on?");
        assert_eq!(label, "All of it becomes a\\r\\u{1b}[2KNothing is lost. Go on? [y/N] ");
    }
}
