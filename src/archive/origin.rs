//! The origin of an archive: what borg stores about it, and its mark.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::mark::{Mark, digest, digest_of_all, place, shown_place, token};
use super::name::Archive;

/// Where an archive comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The host as borg stores it: without the domain.
    pub host: String,
    pub mark: Option<Mark>,
    /// The paths in borg's command line (`/boot`), if there is no mark.
    paths: Vec<String>,
    /// How many files are missing because they could not be read. Only the machine that made the
    /// archive remembers this number.
    #[serde(default)]
    pub unread: u64,
}

impl Origin {
    /// `command_line` is that of the borg that made the archive. A checkpoint has no comment, but a
    /// command line.
    pub fn new(host: String, comment: &str, command_line: &[String]) -> Origin {
        let mark =
            Mark::find(comment).or_else(|| command_line.iter().rev().find_map(|word| Mark::find(word)));
        let paths = if mark.is_some() { Vec::new() } else { paths_of(command_line) };
        Origin { host, mark, paths, unread: 0 }
    }

    /// The origin of an archive that we have just made.
    pub fn ours(host: String, mark: Mark, unread: u64) -> Origin {
        Origin { host, mark: Some(mark), paths: Vec::new(), unread }
    }

    /// Whether nothing is known, because the archive cannot be read: borg stores a host in every
    /// archive.
    pub fn is_unknown(&self) -> bool {
        *self == Origin::default()
    }

    fn roots(&self) -> Vec<String> {
        match &self.mark {
            Some(mark) => mark.roots.clone(),
            None => self.paths.iter().map(|path| token(path.as_bytes())).collect(),
        }
    }

    /// Those of `places` that the archive is not known to hold.
    pub fn lacks<'a>(&self, places: &'a [Vec<u8>]) -> Vec<&'a [u8]> {
        let roots: HashSet<String> = self.roots().into_iter().collect();
        let tokens: Vec<String> = places.iter().map(|place| token(place)).collect();
        let holds = |token: &String| roots.contains(token) || roots.contains(&digest(token));
        let lacks = places.iter().zip(&tokens).filter(|(_, token)| !holds(token));
        let lacks: Vec<&[u8]> = lacks.map(|(place, _)| &place[..]).collect();
        if roots.contains(&digest_of_all(tokens)) { Vec::new() } else { lacks }
    }

    /// The places that the archive holds and that are not among `roots`, for people. A place with
    /// only a digest has no name.
    pub fn besides(&self, roots: &[Vec<u8>]) -> Vec<String> {
        let tokens: Vec<String> = roots.iter().map(|root| token(root)).collect();
        let mut known: HashSet<String> = tokens.iter().map(|token| digest(token)).collect();
        known.extend(tokens.iter().cloned());
        known.insert(digest_of_all(tokens));
        let unknown = |held: &String| !known.contains(held);
        let name = |held: String| match place(&held) {
            Some(place) => shown_place(&place),
            None => "something without a known name".to_owned(),
        };
        self.roots().into_iter().filter(unknown).map(name).collect()
    }

    /// The names of all places that the archive holds; `None` if they are not known.
    pub fn held(&self) -> Option<Vec<String>> {
        let mark = self.mark.as_ref()?;
        mark.roots.iter().map(|token| place(token).map(|place| shown_place(&place))).collect()
    }

    /// The maker, for people.
    pub fn maker(&self) -> String {
        let host =
            if self.host.is_empty() { "an unknown host".into() } else { format!("host {}", self.host) };
        match self.mark.as_ref().and_then(|mark| mark.machine.as_deref()) {
            Some(machine) => format!("{host} (machine {})", machine),
            None => host,
        }
    }
}

/// The paths after `::NAME` in a command line of `borg create`, relative to the root.
fn paths_of(command_line: &[String]) -> Vec<String> {
    let after = command_line.iter().skip_while(|word| !word.contains("::")).skip(1);
    let path = |word: &String| {
        let path = word.strip_prefix("/run/borg-offsite-backup").unwrap_or(word);
        let path = path.trim_start_matches("./").trim_matches('/');
        if path == "." { "/".to_owned() } else { format!("/{path}") }
    };
    after.filter(|word| !word.starts_with('-')).map(path).collect()
}

/// An archive with its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub archive: Archive,
    pub origin: Origin,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(machine: Option<&str>, suffix: Option<&str>) -> Mark {
        let roots = [b"/".to_vec(), b"/with space, [x]%".to_vec(), b"/dev/zvol/tank/a b".to_vec()];
        Mark::new(machine.map(str::to_owned), suffix.map(str::to_owned), "r-1".into(), &roots)
    }

    fn made_by(host: &str, mark: Option<Mark>) -> Origin {
        Origin { host: host.into(), mark, ..Origin::default() }
    }

    #[test]
    fn what_it_holds_is_known_by_name_or_by_digest() {
        let many: Vec<Vec<u8>> = (0..3000).map(|i| format!("/dev/zvol/tank/v{i}").into_bytes()).collect();
        for roots in [&many[..3], &many] {
            let origin = made_by("a", Some(Mark::new(None, None, String::new(), roots)));
            let asked = [b"/dev/zvol/tank/v2".to_vec(), b"/dev/zvol/tank/x".to_vec()];
            assert_eq!(origin.lacks(&asked), [&asked[1][..]]);
            assert!(origin.besides(roots).is_empty());
            assert_eq!(origin.besides(&roots[1..]).len(), 1);
        }
        let origin = made_by("a", Some(mark(None, None)));
        assert_eq!(origin.besides(&[b"/".to_vec()]), ["/with space, [x]%", "tank/a b"]);
        assert!(Mark::new(None, None, String::new(), &many).to_string().len() < 100_000);
    }

    #[test]
    fn of_very_many_places_it_is_known_whether_they_are_the_same() {
        let mut many: Vec<Vec<u8>> = (0..20_000).map(|i| format!("/tank/v{i}").into_bytes()).collect();
        let mark = Mark::new(None, None, String::new(), &many);
        assert!(mark.to_string().len() < 1000);
        let origin = made_by("a", Some(mark));
        many.reverse();
        assert!(origin.lacks(&many).is_empty() && origin.besides(&many).is_empty());
        assert_eq!((origin.lacks(&many[1..]).len(), origin.besides(&many[1..]).len()), (19_999, 1));
        assert_eq!(origin.held(), None);
    }

    #[test]
    fn without_a_mark_the_command_line_says_what_it_holds() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let origin = Origin::new("a".into(), "", &words("borg create --stats ::2026-11-24 -- . boot/efi"));
        let asked = ["/", "/boot", "/boot/efi"].map(|place| place.as_bytes().to_vec());
        assert_eq!(origin.lacks(&asked), [b"/boot"]);
        let old = Origin::new("a".into(), "", &words("borg create r::x /run/borg-offsite-backup/ /home/"));
        assert!(old.lacks(&[b"/".to_vec(), b"/home".to_vec()]).is_empty());
    }
}
