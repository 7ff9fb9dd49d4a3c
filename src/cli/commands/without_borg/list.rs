//! `list`

use std::ffi::OsString;

use clap::Args;
use serde_json::Value;

use super::opened::{Opened, all};
use super::output::Output;
use crate::archive::choice::Wanted;
use crate::archive::filter::ArchiveFilter;
use crate::cli::console;
use crate::cli::exit::Exit;
use crate::cli::globals::Globals;
use crate::error::{Error, Result};
use crate::listing::{ArchiveList, ItemList, repository_json};

/// List the archives, or the files of one.
#[derive(Args)]
pub struct List {
    /// The archive (without one: all archives), and paths in it to list only these.
    #[arg(value_name = "[::ARCHIVE] [PATH]...", num_args = 0..)]
    words: Vec<OsString>,
    /// Print only names.
    #[arg(long)]
    short: bool,
    /// Print each line in this format, with keys such as `{path}` and `{size}`.
    #[arg(long, visible_alias = "list-format", value_name = "FORMAT")]
    format: Option<String>,
    /// Print the archives as one JSON object.
    #[arg(long)]
    json: bool,
    /// Print the files as JSON, one object a line.
    #[arg(long)]
    json_lines: bool,
    /// Leave out files that match.
    #[arg(short, long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Only archives whose names begin like this.
    #[arg(short = 'P', long, value_name = "PREFIX", conflicts_with = "glob_archives")]
    prefix: Option<String>,
    /// Only archives whose names match.
    #[arg(short = 'a', long, value_name = "GLOB")]
    glob_archives: Option<String>,
    /// The order: timestamp, name, id.
    #[arg(long, value_name = "KEYS")]
    sort_by: Option<String>,
    /// Only the first N archives.
    #[arg(long, value_name = "N", conflicts_with = "last")]
    first: Option<u64>,
    /// Only the last N archives.
    #[arg(long, value_name = "N")]
    last: Option<u64>,
    /// Include checkpoints of unfinished archives.
    #[arg(long)]
    consider_checkpoints: bool,
    /// Accepted for scripts; no lock is held anyway.
    #[arg(long, hide = true)]
    bypass_lock: bool,
}

impl List {
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let first = self.words.first().and_then(|word| word.to_str());
        match first {
            Some(word) if word.starts_with("::") && word != "::" => self.files(globals, word),
            None | Some("::") if self.words.len() < 2 => self.archives(globals),
            _ => Err(Error::usage("`list` without borg lists the repository, or one `::ARCHIVE` in it")
                .hint("`--repository URL`, before `list`, names another repository")),
        }
    }

    fn archives(&self, globals: &Globals) -> Result<Exit> {
        if self.json_lines {
            return Err(Error::usage("`--json-lines` lists the files of an archive, not archives"));
        }
        let list = ArchiveList::new(self.format.as_deref(), self.short)?;
        let opened = Opened::new(globals, "list the archives", self.filter())?;
        let native = opened.native()?;
        let (mut out, mut objects) = (Output::new(), Vec::new());
        for archive in opened.archives.list()? {
            let metadata = list.needs_metadata().then(|| native.metadata(&archive)).transpose()?;
            match self.json {
                true => objects.push(list.json(&archive, metadata.as_ref())),
                false => list.write(&archive, metadata.as_ref(), out.lines()),
            }
            out.pass()?;
        }
        out.flush()?;
        drop(out);
        if self.json {
            let mut json = repository_json(native.repository(), &opened.location);
            json["archives"] = Value::Array(objects);
            console::print(&format!("{json:#}"))?;
        }
        Ok(Exit::Done)
    }

    fn files(&self, globals: &Globals, archive: &str) -> Result<Exit> {
        if self.json {
            return Err(Error::usage("`--json` lists archives; `--json-lines` lists the files of one"));
        }
        let (format, paths) = (self.format.as_deref(), &self.words[1..]);
        let list = ItemList::new(format, self.short, self.json_lines, paths, &self.exclude)?;
        let wanted = Wanted::parse(archive)?;
        let opened = Opened::new(globals, "list its files", all())?;
        let native = opened.native()?;
        let archive = opened.archives.resolve(&wanted, &opened.archives.list()?)?;
        let metadata = native.metadata(&archive)?;
        let mut out = Output::new();
        let mut written = Ok(());
        native.each_item(&metadata, &mut |item, chunks| {
            if written.is_ok() && !out.is_closed() {
                list.write(&metadata, &item, chunks, out.lines());
                written = out.pass();
            }
        })?;
        written.and_then(|()| out.flush()).map(|()| Exit::Done)
    }

    fn filter(&self) -> ArchiveFilter {
        let prefix = self.prefix.as_ref().map(|prefix| format!("{}*", glob::Pattern::escape(prefix)));
        ArchiveFilter {
            first: self.first,
            last: self.last,
            glob: self.glob_archives.clone().or(prefix),
            sort_by: self.sort_by.clone(),
            consider_checkpoints: self.consider_checkpoints,
        }
    }
}
