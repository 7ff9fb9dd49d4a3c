//! Lists of files from earlier mounts: one file each in the cache directory, encrypted and
//! authenticated with a key that is derived from the repository's own. A file that is not exactly
//! right is ignored.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ring::hmac;
use zeroize::Zeroizing;

use super::lists::{self, Lists};
use super::sealed::{self, Sealed};
use crate::archive::tree::{self, Tree, View};
use crate::directories::Private;
use crate::secret::Secret;

/// The limit for all files together, in bytes. A file that was just written stays even if it has
/// more.
const LIMIT: u64 = 1 << 30;
const SUFFIX: &str = "catalog";
/// The prefix of an incomplete file's name.
const UNFINISHED: &str = ".tmp";
/// Must be increased when the meaning of the arrays changes between two versions of the program.
const FORM: u32 = 3;
/// The age at which a file that a killed process left is removed.
const STALE: Duration = Duration::from_secs(3600);
const SECTIONS: usize = tree::SECTIONS + lists::SECTIONS;

/// The directory of the files.
pub struct Saved {
    dir: PathBuf,
    secret: Secret<[u8; 32]>,
    limit: u64,
}

impl Saved {
    /// In `dir`, which is made when something is saved; `secret` opens the files.
    pub fn new(dir: PathBuf, secret: Zeroizing<[u8; 32]>) -> Self {
        Saved { dir, secret: Secret::new(*secret), limit: LIMIT }
    }

    /// The saved list of the archive with this id in this view.
    pub fn load(&self, archive: &str, view: &View) -> Option<(Tree, Lists)> {
        let about = about(archive, view);
        let directory = Private::open(&self.dir).ok()?;
        let file = File::open(self.path(&directory.path(), &about)).ok()?;
        let sealed = Sealed::<SECTIONS>::open(&file, &*self.secret, &about)?;
        let (of_tree, of_lists) = sealed.lengths.split_first_chunk::<{ tree::SECTIONS }>()?;
        let mut tree = Tree::with_lengths(*of_tree)?;
        let mut lists = Lists::with_lengths(of_lists.try_into().ok()?)?;
        let sections: Vec<&mut [u8]> = tree.sections_mut().into_iter().chain(lists.sections_mut()).collect();
        sealed.read(sections.try_into().ok()?)?;
        lists.finish();
        // The file that was used last is removed last. A failure here does no harm.
        let _ = file.set_modified(SystemTime::now());
        Some((tree, lists))
    }

    /// Saves the list and replaces the earlier one.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, archive: &str, view: &View, tree: &Tree, lists: &Lists) -> io::Result<()> {
        let directory = Private::make(&self.dir).map_err(io::Error::other)?;
        let dir = directory.path();
        let about = about(archive, view);
        // The file has mode 0600.
        let file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(&dir)?;
        let sections: Vec<&[u8]> = tree.sections().into_iter().chain(lists.sections()).collect();
        sealed::write(BufWriter::new(file.as_file()), &*self.secret, &about, &sections)?;
        let path = self.path(&dir, &about);
        file.persist(&path)?;
        self.prune(&dir, &path);
        Ok(())
    }

    /// The name reveals nothing without the key.
    fn path(&self, dir: &Path, about: &[u8]) -> PathBuf {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &*self.secret);
        let name: String =
            hmac::sign(&key, about).as_ref()[..16].iter().map(|b| format!("{b:02x}")).collect();
        dir.join(name).with_extension(SUFFIX)
    }

    /// Removes the least recently used files, except `newest`, until all fit.
    fn prune(&self, dir: &Path, newest: &Path) {
        let Ok(entries) = fs::read_dir(dir) else { return };
        let known = |entry: fs::DirEntry| {
            // Removes only our own files: the user may have other files in the directory.
            let name = entry.file_name();
            let ours = |name: &str| name.starts_with(UNFINISHED) || is_saved(name);
            name.to_str().filter(|name| ours(name))?;
            let meta = entry.metadata().ok().filter(fs::Metadata::is_file)?;
            Some((meta.modified().ok()?, meta.len(), entry.path()))
        };
        let (mut saved, left): (Vec<_>, Vec<_>) = entries
            .flatten()
            .filter_map(known)
            .partition(|(.., path)| path.extension().is_some_and(|suffix| suffix == SUFFIX));
        let stale = |used: &SystemTime| used.elapsed().is_ok_and(|age| age > STALE);
        for (.., path) in left.iter().filter(|(used, ..)| stale(used)) {
            let _ = fs::remove_file(path);
        }
        saved.sort();
        let mut bytes: u64 = saved.iter().map(|(_, length, _)| length).sum();
        for (_, length, path) in saved.iter().filter(|(.., path)| path != newest) {
            if bytes <= self.limit {
                return;
            }
            if fs::remove_file(path).is_ok() {
                bytes -= length;
            }
        }
    }
}

/// Whether this is the name of one of our files.
fn is_saved(name: &str) -> bool {
    let digits = name.strip_suffix(SUFFIX).and_then(|name| name.strip_suffix('.'));
    digits.is_some_and(|digits| digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// The subject of a file: the program that wrote it, the archive and the view.
fn about(archive: &str, view: &View) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    let mut about = format!("{version} {FORM} {archive} {}", view.strip_components).into_bytes();
    for path in &view.paths {
        // A path cannot contain a NUL.
        about.push(0);
        about.extend_from_slice(path.as_bytes());
    }
    about
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::tree::TreeBuilder;
    use borg_repository::{Chunk, Id, Item, ItemPath, Xattr};
    use std::os::unix::fs::PermissionsExt;

    fn path(text: &str) -> ItemPath {
        ItemPath::new(text.as_bytes()).unwrap()
    }

    fn catalog() -> (Tree, Lists) {
        let file = |name: &str| Item { size: 9, ..Item::new(path(name), libc::S_IFREG | 0o644) };
        let xattr: Xattr = (b"user.x"[..].into(), b"value"[..].into());
        let items = [
            Item { user: Some(b"root"[..].into()), ..Item::new(path("d"), libc::S_IFDIR | 0o700) },
            Item { xattrs: vec![xattr], acl_access: Some(b"acl"[..].into()), ..file("d/one") },
            file("d/\u{e9}"),
            file("d/one"),
            Item { source: Some(b"d/one"[..].into()), ..file("link") },
            Item { source: Some(b"to"[..].into()), ..Item::new(path("symlink"), libc::S_IFLNK | 0o777) },
            Item { rdev: 1 << 40 | 5, ..Item::new(path("device"), libc::S_IFCHR) },
            Item { source: Some(b"nowhere"[..].into()), ..file("strange") },
        ];
        let (mut builder, mut lists) = (TreeBuilder::new(View::default(), 3), Lists::default());
        for (number, item) in (0..).zip(items) {
            if item.size > 0 {
                let chunk = |n, size| Chunk { id: Id([n; 32]), size, stored: 3 };
                lists.add(number, &[chunk(number as u8, 4), chunk(0, 5)], |c| c.size == 5).unwrap();
            }
            builder.add(Item { number: number.into(), ..item });
        }
        lists.finish();
        (builder.finish(), lists)
    }

    fn assert_same((tree, lists): &(Tree, Lists), (other, other_lists): &(Tree, Lists)) {
        assert_eq!(tree.len(), other.len());
        for id in 0..tree.len() as u32 {
            assert_eq!(tree.node(id), other.node(id));
            assert_eq!(tree.extra(id), other.extra(id));
        }
        assert!(tree.contents().eq(other.contents()));
        assert_eq!((tree.left_out(), tree.content_count()), (other.left_out(), 3));
        for content in tree.contents() {
            for at in [0, 4] {
                let span = lists.span(content.item, at);
                assert!(span.is_some() && span == other_lists.span(content.item, at));
                assert_eq!(lists.chunk(&span.clone().unwrap()), other_lists.chunk(&span.unwrap()));
            }
            assert_eq!((lists.holes(content.item), other_lists.holes(content.item)), (5, 5));
        }
    }

    fn saved(dir: &Path) -> Saved {
        Saved::new(dir.join("catalogs"), Zeroizing::new([7; 32]))
    }

    fn files(saved: &Saved) -> Vec<PathBuf> {
        fs::read_dir(&saved.dir).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    #[test]
    fn what_was_saved_is_loaded_with_all_that_is_in_it_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let (saved, catalog, view) = (saved(dir.path()), catalog(), View::default());
        assert!(saved.load("id", &view).is_none());
        saved.save("id", &view, &catalog.0, &catalog.1).unwrap();
        assert_same(&saved.load("id", &view).unwrap(), &catalog);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&saved.dir), mode(&files(&saved)[0])), (0o700, 0o600));
        let bytes = fs::read(&files(&saved)[0]).unwrap();
        assert!(!bytes.windows(7).any(|w| w == b"symlink"));
    }

    #[test]
    fn another_archive_view_or_key_is_not_mistaken_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let (saved, (tree, lists), view) = (saved(dir.path()), catalog(), View::default());
        saved.save("id", &view, &tree, &lists).unwrap();
        let part = View { paths: vec![path("d")], strip_components: 0 };
        let stripped = View { paths: vec![], strip_components: 1 };
        let right = files(&saved).remove(0);
        for (archive, view) in [("other", &view), ("id", &part), ("id", &stripped)] {
            assert!(saved.load(archive, view).is_none());
            // Also if somebody renames one to the other.
            fs::copy(&right, saved.path(&saved.dir, &about(archive, view))).unwrap();
            assert!(saved.load(archive, view).is_none());
        }
        let other = Saved::new(saved.dir.clone(), Zeroizing::new([8; 32]));
        fs::copy(&right, other.path(&other.dir, &about("id", &view))).unwrap();
        assert!(other.load("id", &view).is_none());
    }

    #[test]
    fn a_broken_one_is_none_and_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (saved, catalog, view) = (saved(dir.path()), catalog(), View::default());
        saved.save("id", &view, &catalog.0, &catalog.1).unwrap();
        let file = files(&saved).remove(0);
        let bytes = fs::read(&file).unwrap();
        let mut flipped = bytes.clone();
        *flipped.last_mut().unwrap() ^= 1;
        for broken in [&bytes[..bytes.len() / 2], &flipped, b""] {
            fs::write(&file, broken).unwrap();
            assert!(saved.load("id", &view).is_none());
        }
        saved.save("id", &view, &catalog.0, &catalog.1).unwrap();
        assert_same(&saved.load("id", &view).unwrap(), &catalog);
    }

    #[test]
    fn those_that_were_not_used_for_longest_make_room() {
        let dir = tempfile::tempdir().unwrap();
        let (mut saved, (tree, lists), view) = (saved(dir.path()), catalog(), View::default());
        let save = |saved: &Saved, archive: &str, age: u64| {
            saved.save(archive, &view, &tree, &lists).unwrap();
            let file = File::open(saved.path(&saved.dir, &about(archive, &view))).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
            file.metadata().unwrap().len()
        };
        let length = save(&saved, "a", 300);
        save(&saved, "b", 200);
        saved.load("a", &view).unwrap();
        let abandoned = saved.dir.join(".tmpX");
        File::create(&abandoned).unwrap().set_modified(SystemTime::now() - 2 * STALE).unwrap();
        saved.limit = 2 * length;
        save(&saved, "c", 100);
        let there = |archive| saved.load(archive, &view).is_some();
        assert_eq!([there("a"), there("b"), there("c")], [true, false, true]);
        assert!(!abandoned.exists());
        saved.limit = 0;
        save(&saved, "d", 0);
        assert_eq!(files(&saved).len(), 1, "the newest stays");
    }
}
