//! `mount`

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use borg_repository::ItemPath;
use clap::Args;

use crate::archive::choice::Wanted;
use crate::archive::filter::ArchiveFilter;
use crate::archive::tree::View;
use crate::archive::volumes;
use crate::cli::console::Console;
use crate::cli::exit::Exit;
use crate::cli::globals::Globals;
use crate::cli::mount_options;
use crate::cli::progress::Display;
use crate::cli::source::SourceArgument;
use crate::cli::units::{count, duration, size};
use crate::error::{Error, Result};
use crate::mount::fs::Summary;
use crate::mount::open::{self, Opened, Request};
use crate::process::daemon::{self, Half};
use crate::process::interrupt;
use crate::tools::borg::{Borg, Preflight};
use crate::tools::mount_log::Log;
use crate::tools::mount_point;

/// The number of volumes that are named after mounting; there may be hundreds.
const VOLUMES_SHOWN: usize = 10;

/// Mount an archive, or all archives, as a read-only directory.
#[derive(Args)]
#[command(
    override_usage = "borg-offsite-backup mount [OPTIONS] [::ARCHIVE] DIR [PATH]...",
    // Like `borg mount`: scripts may use `--sort=name`.
    infer_long_args = true
)]
pub struct Mount {
    /// The archive (without one: every archive as a directory), the mount point, and paths in the archive to
    /// show only these.
    #[arg(value_name = "[::ARCHIVE] DIR [PATH]...", required = true, num_args = 1..)]
    words: Vec<OsString>,
    /// Stay in the foreground, and notify systemd when the mount is ready.
    #[arg(short, long)]
    foreground: bool,
    /// allow_other, allow_root, uid=, gid=, umask=, numeric_ids, allow_damaged_files,
    /// ignore_permissions; noexec, nosymfollow (absolute links lead nowhere), transform_symlinks (absolute
    /// links lead into the archive; without either, they lead to this machine's files); idle= (seconds until
    /// an unused stream releases the repository's lock), stall=, deadline= (seconds until a read fails),
    /// lock_wait= (seconds to wait for the repository), refresh= (seconds between two checks for new
    /// archives). ro, nosuid and nodev are always set.
    #[arg(short, value_name = "OPT,...")]
    options: Vec<String>,
    /// How to read the files.
    #[arg(long, value_enum, default_value_t = SourceArgument::Auto)]
    source: SourceArgument,
    /// The size of the encrypted cache on disk, such as 20G; 0 for none [default: half of the free space,
    /// up to 64 GiB].
    #[arg(long, value_name = "SIZE", value_parser = mount_options::size)]
    cache_size: Option<u64>,
    /// The directory of the cache [default: /var/cache/borg-offsite-backup, or below ~/.cache]. A directory
    /// named here also keeps what a server sent for the next mount, encrypted as in the repository.
    #[arg(long, value_name = "DIR")]
    cache_dir: Option<PathBuf>,
    /// Remove the first N components of each path.
    #[arg(long, value_name = "N", default_value_t = 0)]
    strip_components: usize,
    /// Only the first N archives.
    #[arg(long, value_name = "N", conflicts_with = "last")]
    first: Option<u64>,
    /// Only the last N archives.
    #[arg(long, value_name = "N")]
    last: Option<u64>,
    /// Only archives whose names match.
    #[arg(short = 'a', long = "glob-archives", value_name = "GLOB")]
    glob: Option<String>,
    /// The order for --first and --last (timestamp, name, id).
    #[arg(long, value_name = "KEYS")]
    sort_by: Option<String>,
    /// Include checkpoints of unfinished archives.
    #[arg(long)]
    consider_checkpoints: bool,
    /// As `-o numeric_ids`.
    #[arg(long, hide = true, alias = "numeric-owner")]
    numeric_ids: bool,
    /// Accepted for scripts written for `borg mount`; no lock is held anyway.
    #[arg(long, hide = true)]
    bypass_lock: bool,
}

impl Mount {
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let (dir, request) = self.request()?;
        let config = globals.config()?;
        let borg = Borg::new(&config)?;
        if self.foreground {
            interrupt::heed()?;
            let up = self.bring_up(&borg, &dir, request, globals.console())?;
            globals.console().say(&up.banner);
            // Without systemd, there is nobody to notify.
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
            return up.session.wait().map(|()| Exit::Done);
        }
        match daemon::split()? {
            Half::Foreground { ready: Some(banner), .. } => {
                globals.console().say(&String::from_utf8_lossy(&banner));
                Ok(Exit::Done)
            }
            // The background half has already reported the error.
            Half::Foreground { code, .. } => Ok(Exit::from_code(code)),
            Half::Background(ready) => {
                interrupt::heed()?;
                let up = self.bring_up(&borg, &dir, request, globals.console())?;
                let log = Log::new()?;
                ready.send(up.banner.as_bytes(), log.file())?;
                let result = up.session.wait();
                log.close();
                result.map(|()| Exit::Done)
            }
        }
    }

    fn bring_up(&self, borg: &Borg, dir: &Path, request: Request, console: Console) -> Result<Up> {
        let start = Instant::now();
        daemon::share_free_memory();
        if let Some(mode) = request.make_point {
            mount_point::make_mount_point(dir, mode)?;
        }
        let point = mount_point::mount_point(dir, borg.local())?;
        let reached = borg.reach(open::DOING)?;
        let display = Display::new(console);
        let opened = open::open(borg, request, &display);
        display.clear();
        let opened = opened?;
        let session = opened.mount(&point)?;
        Ok(Up { banner: banner(&opened, dir, start), session, _preflight: reached })
    }

    /// Options that select archives make no sense if one is named.
    fn refuse_choices_among_archives(&self) -> Result<()> {
        let given = [
            ("--first", self.first.is_some()),
            ("--last", self.last.is_some()),
            ("--glob-archives", self.glob.is_some()),
            ("--sort-by", self.sort_by.is_some()),
            ("--consider-checkpoints", self.consider_checkpoints),
        ];
        match given.iter().find(|(_, is_given)| *is_given) {
            Some((option, _)) => Err(Error::usage(format!("`{option}` picks archives, and one is named"))
                .hint("remove the option or the archive")),
            None => Ok(()),
        }
    }

    fn request(&self) -> Result<(PathBuf, Request)> {
        let (archive, words) = match self.words.split_first() {
            Some((first, rest)) if first.as_bytes().starts_with(b"::") => {
                let text = first.to_str().ok_or_else(|| Error::usage("the archive's name is not UTF-8"))?;
                (if text == "::" { None } else { Some(Wanted::parse(text)?) }, rest)
            }
            _ => (None, &self.words[..]),
        };
        if archive.is_some() {
            self.refuse_choices_among_archives()?;
        }
        let (dir, paths) = words.split_first().ok_or_else(|| {
            Error::usage("the mount point is missing").hint("borg-offsite-backup mount ::ARCHIVE DIR")
        })?;
        let paths = paths.iter().map(|p| item_path(p)).collect::<Result<_>>()?;
        let mut request = Request {
            archive,
            source: self.source.into(),
            filter: ArchiveFilter {
                first: self.first,
                last: self.last,
                glob: self.glob.clone(),
                sort_by: self.sort_by.clone(),
                consider_checkpoints: self.consider_checkpoints,
            },
            view: View { paths, strip_components: self.strip_components },
            cache_size: self.cache_size,
            cache_dir: self.cache_dir.clone(),
            ..Request::default()
        };
        request.ownership.numeric_ids = self.numeric_ids;
        for list in &self.options {
            mount_options::apply(list, &mut request)?;
        }
        Ok((PathBuf::from(dir), request))
    }
}

fn item_path(path: &OsStr) -> Result<ItemPath> {
    ItemPath::new(path.as_bytes())
        .ok_or_else(|| Error::usage(format!("`{}` is not a path that an archive can hold", path.display())))
}

/// A running mount, and the message about it.
struct Up {
    session: crate::mount::session::Session,
    banner: String,
    _preflight: Preflight,
}

fn banner(opened: &Opened, dir: &Path, start: Instant) -> String {
    let took = duration(start.elapsed());
    let (what, source, dir) = (&opened.what, opened.source, dir.display());
    let mut lines = Vec::new();
    match opened.fs.summary() {
        Some(Summary { entries, volumes }) => {
            let entries = count(entries);
            let colon = if volumes.is_empty() { "" } else { " Volumes:" };
            lines.push(format!("{what} is at {dir} ({source} source, {entries} entries, {took}).{colon}"));
            for (path, bytes) in volumes.iter().take(VOLUMES_SHOWN) {
                lines.push(format!("  {}   {}", path.escape_ascii(), size(*bytes)));
            }
            if volumes.len() > VOLUMES_SHOWN {
                lines.push(format!("  and {} more", volumes.len() - VOLUMES_SHOWN));
            }
            if let Some((path, _)) = volumes.first() {
                let name = volumes::name_of(path).unwrap_or(path);
                lines.push(format!(
                    "Attach one:  borg-offsite-backup attach ::{what} {}",
                    name.escape_ascii()
                ));
            }
        }
        None => {
            let verb = if what == "1 archive" { "is" } else { "are" };
            lines.push(format!("{what} {verb} at {dir} ({source} source, {took})."));
        }
    }
    lines.push(format!("Unmount it:  borg-offsite-backup umount {dir}"));
    lines.join("\n")
}
