//! Files out of a volume: `VOLUME:/PATH`.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use chrono::{DateTime, Local};
use clap::Args;

use crate::archive::choice::Wanted;
use crate::archives::archived::Place;
use crate::cli::console::{self, Console, redraw};
use crate::cli::exit::Exit;
use crate::cli::units::size;
use crate::device::inside::{self, Entry, Volume};
use crate::error::{Error, Result};
use crate::restore::volume_files;
use crate::tools::borg::Borg;

/// A line of progress for so many bytes.
const DRAWN: u64 = 8 << 20;

/// Which file system of a volume is meant, and how it is mounted.
#[derive(Args)]
pub struct Options {
    /// For VOLUME:/PATH: the partition of the volume that is looked into.
    #[arg(long, value_name = "N")]
    pub partition: Option<u32>,
    /// For VOLUME:/PATH, on Qubes OS: dom0 mounts the file system, which can be made so that it attacks
    /// the kernel. `attach --to-qube VM` does without.
    #[arg(long)]
    pub in_host: bool,
}

/// What is done with the files.
pub enum Act<'a> {
    List,
    /// Into this folder; whether what is there may be replaced.
    Copy(&'a Path, bool),
}

/// Lists or copies what `places` are, all in one volume of the archive `said`.
pub fn run(
    borg: &Borg,
    console: Console,
    said: &str,
    places: Vec<Place>,
    options: &Options,
    act: &Act,
) -> Result<Exit> {
    let (image, paths) = same_volume(places)?;
    let volume = Volume {
        archive: Wanted::parse(said)?,
        said: said.to_owned(),
        image,
        partition: options.partition,
        in_host: options.in_host,
    };
    let inside = inside::Inside::open(borg, &volume, &|_| ())?;
    let mut exit = Exit::Done;
    for path in &paths {
        match act {
            Act::List => inside.list(path)?.iter().try_for_each(|entry| console::print(&line(entry)))?,
            Act::Copy(to, overwrite) => {
                if let Some(missing) = copy(&inside, path, to, *overwrite, console)? {
                    console.warn(&format!("not all of {} came: {missing}", path.escape_ascii()));
                    exit = Exit::Warned;
                }
            }
        }
    }
    inside.close()?;
    Ok(exit)
}

/// The volume, and the paths in it.
fn same_volume(places: Vec<Place>) -> Result<(Vec<u8>, Vec<Vec<u8>>)> {
    let mut found: Option<Vec<u8>> = None;
    let mut paths = Vec::new();
    for place in places {
        let Place::Volume { volume, path } = place else {
            return Err(Error::usage("some of the paths are in the archive, some in a volume of it")
                .hint("take them one after the other"));
        };
        if *found.get_or_insert_with(|| volume.clone()) != volume {
            return Err(Error::usage("the paths are in several volumes").hint("take one volume at a time"));
        }
        paths.push(path);
    }
    Ok((found.unwrap_or_default(), paths))
}

/// What did not come of it.
fn copy(
    inside: &inside::Inside,
    path: &[u8],
    to: &Path,
    overwrite: bool,
    console: Console,
) -> Result<Option<String>> {
    let shown = path.escape_ascii();
    let total = inside.size(path)?;
    let mut drawn = 0;
    let (from, name) = inside.place(path)?;
    let copied = volume_files::copy(&from, &name, to, overwrite, &mut |done| {
        if console.is_interactive() && done >= drawn + DRAWN {
            drawn = done;
            redraw(&format!("  copied     {} of {}   {shown}", size(done.min(total)), size(total)));
        }
    });
    if console.is_interactive() {
        redraw("");
    }
    let missing = copied?;
    if missing.is_none() {
        console.say(&format!("{shown} is in {} ({})", to.display(), size(total)));
    }
    Ok(missing)
}

/// `-rw-r--r--  1000:1000   3000000  2026-03-14 07:00  letter`
fn line(entry: &Entry) -> String {
    let m = &entry.metadata;
    let time = DateTime::from_timestamp(m.mtime(), 0).unwrap_or_default().with_timezone(&Local);
    let name = entry.name.as_bytes().escape_ascii();
    format!(
        "{}  {:>5}:{:<5} {:>14}  {}  {name}",
        mode(m.mode()),
        m.uid(),
        m.gid(),
        m.size(),
        time.format("%Y-%m-%d %H:%M")
    )
}

/// `drwxr-xr-x`
fn mode(mode: u32) -> String {
    let kind = match mode & libc::S_IFMT {
        libc::S_IFDIR => 'd',
        libc::S_IFLNK => 'l',
        libc::S_IFREG => '-',
        libc::S_IFBLK => 'b',
        libc::S_IFCHR => 'c',
        libc::S_IFIFO => 'p',
        _ => 's',
    };
    let bits = "rwxrwxrwx".chars().enumerate();
    let bits = bits.map(|(n, letter)| if mode & (0o400 >> n) != 0 { letter } else { '-' });
    std::iter::once(kind).chain(bits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_paths_must_be_in_one_volume() {
        let place = |volume: &str, path: &str| Place::Volume { volume: volume.into(), path: path.into() };
        let (volume, paths) = same_volume(vec![place("tank/v", "/a"), place("tank/v", "/b c")]).unwrap();
        assert_eq!((&volume[..], paths.len(), &paths[1][..]), (&b"tank/v"[..], 2, &b"/b c"[..]));
        assert!(same_volume(vec![place("tank/v", "/a"), place("tank/w", "/a")]).is_err());
        assert!(same_volume(vec![place("tank/v", "/a"), Place::Archive]).is_err());
    }

    #[test]
    fn modes_are_shown_as_ls_does() {
        assert_eq!(mode(0o100_644), "-rw-r--r--");
        assert_eq!(mode(0o040_751), "drwxr-x--x");
    }
}
