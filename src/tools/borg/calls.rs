//! Our own calls of borg, and their results.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use serde::Deserialize;

use super::client::Borg;
use super::failure::{self, explain};
use super::log::Line;
use crate::archive::filter::ArchiveFilter;
use crate::archive::name::{Archive, is_checkpoint};
use crate::config::compression;
use crate::error::{Error, Result};
use crate::process::{Command, Ended, Output};

const CONSIDER_CHECKPOINTS: &str = "--consider-checkpoints";
/// borg 1.1 does not know the option, and always lists checkpoints.
static LISTS_CHECKPOINTS: AtomicBool = AtomicBool::new(false);

impl Borg {
    /// Runs a command that should end with exit code 0, or with 1 and only warnings.
    ///
    /// # Errors
    /// The failure of borg, explained ([`explain`]).
    pub fn run(&self, command: Command, doing: &str) -> Result<Output> {
        let output = command.output()?;
        match lines_of_failure(&output) {
            None => Ok(output),
            Some(lines) => Err(explain(self, doing, output.ended, &lines)),
        }
    }

    /// The same; if no passphrase was given, finds the one that opens the key.
    fn run_trying(&self, command: impl Fn() -> Result<Command>, doing: &str) -> Result<Output> {
        loop {
            let tried = self.passphrase_tried();
            let output = command()?.output()?;
            match lines_of_failure(&output) {
                None => return Ok(output),
                Some(lines) if failure::is_wrong_passphrase(&lines) && self.passphrase_failed(tried)? => {}
                // The next attempt leaves the option out.
                Some(lines)
                    if failure::knows_no(CONSIDER_CHECKPOINTS, &lines)
                        && !LISTS_CHECKPOINTS.swap(true, Relaxed) => {}
                Some(lines) => return Err(explain(self, doing, output.ended, &lines)),
            }
        }
    }

    /// The archives that `filter` selects, in borg's order. borg checks the authenticity of the
    /// manifest, and that it knows all features.
    ///
    /// # Errors
    /// The failure of borg, explained.
    pub fn archives(&self, filter: &ArchiveFilter, lock_wait: Duration) -> Result<Vec<Archive>> {
        let list = || Ok(filter_arguments(self.command("list --json", lock_wait)?, filter));
        let output = self.run_trying(list, "list the archives")?;
        let mut archives = archives_of(&output.stdout).map_err(|e| {
            Error::failed(format!("cannot read borg's list of the archives in {}", self.repository))
                .because(e)
        })?;
        archives.retain(|archive| filter.consider_checkpoints || !is_checkpoint(&archive.name));
        Ok(archives)
    }

    /// The output of `borg list --json` with these arguments for all archives, including
    /// checkpoints.
    ///
    /// # Errors
    /// The failure of borg, explained.
    pub fn list_all(&self, arguments: &[&str], doing: &str, lock_wait: Duration) -> Result<Output> {
        let all = ArchiveFilter { consider_checkpoints: true, ..ArchiveFilter::default() };
        let list = || Ok(filter_arguments(self.command("list --json", lock_wait)?, &all).args(arguments));
        self.run_trying(list, doing)
    }

    /// The highest transaction of a local repository: while it is the same, nothing in the
    /// repository has changed. `None` if it is unknown, or the repository is remote.
    pub fn transaction(&self) -> Option<u64> {
        let entries = std::fs::read_dir(self.local.as_deref()?).ok()?;
        entries.flatten().filter_map(|e| e.file_name().to_str()?.strip_prefix("index.")?.parse().ok()).max()
    }

    /// Checks whether borg accepts the compression. No call is needed for those that every borg
    /// accepts.
    ///
    /// # Errors
    /// [`crate::error::Kind::Usage`] when it does not.
    pub fn judge_compression(spec: &str) -> Result<()> {
        if compression::is_known(spec) {
            return Ok(());
        }
        // borg checks its arguments, then shows its help and does nothing else.
        let asked = Command::new("borg").args(["create", "--compression", spec, "--help"]).output()?;
        if asked.ended == Ended::Code(0) {
            return Ok(());
        }
        let borg = Borg::version().unwrap_or_else(|_| "borg".into());
        Err(Error::usage(format!("{borg} does not take the compression `{spec}`"))
            .hint(format!("`compression` in the configuration is one of {}", compression::SYNTAX)))
    }

    /// `borg` and its version, such as `borg 1.2.4`.
    ///
    /// # Errors
    /// When there is no borg.
    pub fn version() -> Result<String> {
        let output = Command::new("borg").arg("--version").output()?;
        String::from_utf8(output.stdout.trim_ascii().to_vec())
            .map_err(|e| Error::failed("cannot read the version of borg").because(e))
    }
}

/// The message of a borg that failed; `None` if it succeeded.
fn lines_of_failure(output: &Output) -> Option<Vec<Line>> {
    match output.ended {
        Ended::Code(code) if code < 2 || is_warning(code) => None,
        _ => Some(output.stderr.iter().map(|l| Line::parse(l)).collect()),
    }
}

/// Exit codes of borg's modern scheme (BORG_EXIT_CODES) that mean "done, with warnings".
fn is_warning(code: i32) -> bool {
    (100..=127).contains(&code)
}

/// Whether borg only warned (true) or succeeded (false); `None` if it failed.
pub fn warned(ended: Ended) -> Option<bool> {
    match ended {
        Ended::Code(0) => Some(false),
        Ended::Code(code) if code == 1 || is_warning(code) => Some(true),
        _ => None,
    }
}

fn filter_arguments(mut command: Command, filter: &ArchiveFilter) -> Command {
    if let Some(n) = filter.first {
        command = command.args(["--first", &n.to_string()]);
    }
    if let Some(n) = filter.last {
        command = command.args(["--last", &n.to_string()]);
    }
    if let Some(glob) = &filter.glob {
        command = command.args(["--glob-archives", glob]);
    }
    if let Some(keys) = &filter.sort_by {
        command = command.args(["--sort-by", keys]);
    }
    if filter.consider_checkpoints && !LISTS_CHECKPOINTS.load(Relaxed) {
        command = command.arg(CONSIDER_CHECKPOINTS);
    }
    command
}

fn archives_of(json: &[u8]) -> serde_json::Result<Vec<Archive>> {
    #[derive(Deserialize)]
    struct List {
        archives: Vec<Archive>,
    }
    serde_json::from_slice(json).map(|list: List| list.archives)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_archives_is_read_from_borgs_json() {
        let json = br#"{"archives": [{"archive": "a", "barchive": "a", "id": "00ff", "name": "a",
            "start": "2026-11-24T07:06:54.000000", "time": "2026-11-24T07:06:54.000000"}], "encryption": {}}"#;
        let list = archives_of(json).unwrap();
        assert_eq!(
            list,
            [Archive { name: "a".into(), id: "00ff".into(), start: "2026-11-24T07:06:54.000000".into() }]
        );
    }

    #[test]
    fn exit_codes_tell_done_warned_and_failed_apart() {
        assert_eq!(warned(Ended::Code(0)), Some(false));
        assert_eq!(warned(Ended::Code(1)), Some(true));
        assert_eq!(warned(Ended::Code(105)), Some(true));
        for ended in [Ended::Code(2), Ended::Code(73), Ended::Code(128), Ended::Signal(9)] {
            assert_eq!(warned(ended), None, "{ended}");
        }
    }
}
