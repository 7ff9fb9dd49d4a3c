//! Where an archive comes from: what borg keeps of it, the mark that `create` leaves in its comment,
//! and whether that makes it ours.

use std::collections::HashSet;
use std::fmt;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use super::name::{Archive, as_date, date_name};

/// What begins and ends a mark in a comment. The text between them has no bracket, brace, quote or
/// space of its own, so borg and JSON leave it as it is.
const BEGIN: &str = "[borg-offsite-backup ";
const END: char = ']';
/// Marks with more text than this hold digests in the place of names: a command line has limits.
const NAMES_UP_TO: usize = 16 << 10;
/// With more than so many of them it holds one digest of all: one argument may have 128 KiB.
const DIGESTS_UP_TO: usize = 5000;
/// Many machines are called so: the name says nothing of which one it is.
const COMMON_HOSTS: [&str; 2] = ["dom0", "localhost"];

/// What `create` writes into an archive's comment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Derived from the machine-id; `None`: that could not be read.
    pub machine: Option<String>,
    /// `archive_suffix`
    pub suffix: Option<String>,
    /// The id of the run.
    pub run: String,
    /// What was backed up: places in the archive, each as [`token`] makes it.
    roots: Vec<String>,
}

impl Mark {
    /// `roots` are the places that the archive holds, as `/boot` or `/dev/zvol/tank/v`.
    pub fn new(machine: Option<String>, suffix: Option<String>, run: String, roots: &[Vec<u8>]) -> Self {
        let mut tokens: Vec<String> = roots.iter().map(|root| token(root)).collect();
        if tokens.iter().map(|token| token.len() + 1).sum::<usize>() > NAMES_UP_TO {
            tokens = match tokens.len() {
                ..=DIGESTS_UP_TO => tokens.iter().map(|token| digest(token)).collect(),
                _ => vec![digest_of_all(tokens)],
            };
        }
        Mark { machine, suffix, run, roots: tokens }
    }

    /// Of a text that holds one.
    pub fn find(text: &str) -> Option<Mark> {
        let (_, rest) = text.rsplit_once(BEGIN)?;
        let (fields, _) = rest.split_once(END)?;
        let mut mark = Mark::default();
        for (name, value) in fields.split(' ').filter_map(|field| field.split_once('=')) {
            match name {
                "machine" => mark.machine = Some(value.to_owned()),
                "suffix" => mark.suffix = Some(value.to_owned()),
                "run" => mark.run = value.to_owned(),
                "holds" => mark.roots = value.split(',').map(str::to_owned).collect(),
                _ => {}
            }
        }
        Some(mark)
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(BEGIN)?;
        if let Some(machine) = &self.machine {
            write!(f, "machine={machine} ")?;
        }
        if let Some(suffix) = &self.suffix {
            write!(f, "suffix={suffix} ")?;
        }
        write!(f, "run={} holds={}{END}", self.run, self.roots.join(","))
    }
}

/// A place as a mark has it: every byte that is not plain is written `%xx`.
fn token(place: &[u8]) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-".contains(&b);
    place.iter().map(|&b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02x}") }).collect()
}

/// The other way; `None` for a digest.
fn place(token: &str) -> Option<Vec<u8>> {
    if !token.starts_with('/') {
        return None;
    }
    let mut bytes = token.bytes();
    let mut place = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            place.push(byte);
            continue;
        }
        let digits = [bytes.next()?, bytes.next()?];
        place.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
    }
    Some(place)
}

fn digest(token: &str) -> String {
    hex(token, 6)
}

/// In whatever order they are.
fn digest_of_all(mut tokens: Vec<String>) -> String {
    tokens.sort();
    hex(&tokens.join(","), 16)
}

fn hex(text: &str, bytes: usize) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
}

/// What an archive says of where it comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// As borg has it: without the domain.
    pub host: String,
    pub mark: Option<Mark>,
    /// What borg was told to read, where no mark says it: `/boot`.
    paths: Vec<String>,
    /// How many files are missing in it since they could not be read; only the machine that made it
    /// remembers that.
    #[serde(default)]
    pub unread: u64,
}

impl Origin {
    /// `command_line` is that of the borg that made it: a checkpoint has no comment, but that.
    pub fn new(host: String, comment: &str, command_line: &[String]) -> Origin {
        let mark =
            Mark::find(comment).or_else(|| command_line.iter().rev().find_map(|word| Mark::find(word)));
        let paths = if mark.is_some() { Vec::new() } else { paths_of(command_line) };
        Origin { host, mark, paths, unread: 0 }
    }

    /// Of an archive that we have just made.
    pub fn ours(host: String, mark: Mark, unread: u64) -> Origin {
        Origin { host, mark: Some(mark), paths: Vec::new(), unread }
    }

    /// Whether it says nothing of itself, as an archive that cannot be read: borg keeps a host with each.
    pub fn is_unknown(&self) -> bool {
        *self == Origin::default()
    }

    fn roots(&self) -> Vec<String> {
        match &self.mark {
            Some(mark) => mark.roots.clone(),
            None => self.paths.iter().map(|path| token(path.as_bytes())).collect(),
        }
    }

    /// Those of `places` that it is not known to hold.
    pub fn lacks<'a>(&self, places: &'a [Vec<u8>]) -> Vec<&'a [u8]> {
        let roots: HashSet<String> = self.roots().into_iter().collect();
        let tokens: Vec<String> = places.iter().map(|place| token(place)).collect();
        let holds = |token: &String| roots.contains(token) || roots.contains(&digest(token));
        let lacks = places.iter().zip(&tokens).filter(|(_, token)| !holds(token));
        let lacks: Vec<&[u8]> = lacks.map(|(place, _)| &place[..]).collect();
        if roots.contains(&digest_of_all(tokens)) { Vec::new() } else { lacks }
    }

    /// The places that it holds and that are not among `roots`, for people. A place that only its
    /// digest is known of has no name.
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

    /// The names of all places that it holds; `None` when that is not known.
    pub fn held(&self) -> Option<Vec<String>> {
        let mark = self.mark.as_ref()?;
        mark.roots.iter().map(|token| place(token).map(|place| shown_place(&place))).collect()
    }

    /// Who made it, for people.
    pub fn maker(&self) -> String {
        let host =
            if self.host.is_empty() { "an unknown host".into() } else { format!("host {}", self.host) };
        match self.mark.as_ref().and_then(|mark| mark.machine.as_deref()) {
            Some(machine) => format!("{host} (machine {})", machine),
            None => host,
        }
    }
}

/// A place as a person wrote it in the configuration: a volume by its name.
pub fn shown_place(place: &[u8]) -> String {
    String::from_utf8_lossy(place.strip_prefix(b"/dev/zvol/").unwrap_or(place)).into_owned()
}

/// The paths after `::NAME` in a command line of `borg create`, from the root.
fn paths_of(command_line: &[String]) -> Vec<String> {
    let after = command_line.iter().skip_while(|word| !word.contains("::")).skip(1);
    let path = |word: &String| {
        let path = word.strip_prefix("/run/borg-offsite-backup").unwrap_or(word);
        let path = path.trim_start_matches("./").trim_matches('/');
        if path == "." { "/".to_owned() } else { format!("/{path}") }
    };
    after.filter(|word| !word.starts_with('-')).map(path).collect()
}

/// An archive with where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub archive: Archive,
    pub origin: Origin,
}

/// Who we are: what makes an archive ours, and what ours are called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// Derived from the machine-id.
    pub machine: Option<String>,
    /// `archive_suffix`
    pub suffix: Option<String>,
    /// Names of this host.
    pub hosts: Vec<String>,
    /// `earlier_host_names`
    pub earlier: Vec<String>,
}

impl Identity {
    /// Whether we made what says this of itself.
    pub fn made(&self, origin: &Origin) -> bool {
        let mark = origin.mark.as_ref();
        if mark.and_then(|mark| mark.suffix.as_ref()) != self.suffix.as_ref() {
            return false;
        }
        match (mark.and_then(|mark| mark.machine.as_ref()), &self.machine) {
            (Some(theirs), Some(ours)) => theirs == ours || self.earlier.contains(theirs),
            _ => self.is_host(&origin.host),
        }
    }

    fn is_host(&self, host: &str) -> bool {
        let same = |name: &String| name == host || short(name) == host;
        !host.is_empty()
            && (self.earlier.iter().any(same)
                || self.hosts.iter().any(same) && !COMMON_HOSTS.contains(&short(host)))
    }

    /// Who made an archive that is not ours, for people.
    pub fn describe(&self, origin: &Origin) -> String {
        let mark = origin.mark.as_ref();
        let machine = mark.and_then(|mark| mark.machine.as_ref());
        if machine.is_some() && machine == self.machine.as_ref() {
            return match mark.and_then(|mark| mark.suffix.as_ref()) {
                Some(suffix) => format!("this machine, with the archive_suffix {}", suffix),
                None => "this machine, without an archive_suffix".to_owned(),
            };
        }
        origin.maker()
    }

    /// What the archive of `date` is called.
    pub fn name_on(&self, date: NaiveDate) -> String {
        self.with_suffix(&date_name(date))
    }

    fn with_suffix(&self, day: &str) -> String {
        match &self.suffix {
            Some(suffix) => format!("{day}-{suffix}"),
            None => day.to_owned(),
        }
    }

    /// The day that an archive of ours of this name is of.
    pub fn day_of(&self, name: &str) -> Option<NaiveDate> {
        let day = match &self.suffix {
            Some(suffix) => name.strip_suffix(suffix.as_str())?.strip_suffix('-')?,
            None => name,
        };
        as_date(day)
    }
}

fn short(host: &str) -> &str {
    host.split('.').next().unwrap_or(host)
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

    fn identity(machine: Option<&str>, host: &str) -> Identity {
        Identity { machine: machine.map(str::to_owned), hosts: vec![host.into()], ..Identity::default() }
    }

    #[test]
    fn a_mark_is_read_back_from_whatever_stands_around_it() {
        for mark in [mark(Some("0f"), Some("media")), mark(None, None)] {
            let text = format!("mine [borg] {mark} more]");
            assert_eq!(Mark::find(&text), Some(mark.clone()));
            assert!(!mark.to_string().contains(['{', '}', '"', '\\']), "borg and JSON would change it");
        }
        assert_eq!(Mark::find("[borg-offsite-backup run=x"), None);
        assert_eq!(Mark::find("my comment"), None);
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

    #[test]
    fn a_checkpoint_is_known_by_the_command_line() {
        let words = ["borg".to_owned(), format!("--comment=x {}", mark(Some("0f"), None)), "::x".to_owned()];
        assert!(identity(Some("0f"), "b").made(&Origin::new("a".into(), "", &words)));
    }

    #[test]
    fn two_machines_of_one_name_differ_and_a_machine_that_was_renamed_does_not() {
        let of = |machine| made_by("dom0", Some(mark(Some(machine), None)));
        let us = identity(Some("0f"), "dom0");
        assert!(us.made(&of("0f")) && !us.made(&of("1e")));
        assert!(us.made(&made_by("old-name", Some(mark(Some("0f"), None)))));
    }

    #[test]
    fn what_bears_no_mark_is_known_by_the_host_unless_many_are_called_so() {
        let unmarked = |host: &str| made_by(host, None);
        assert!(identity(Some("0f"), "web").made(&unmarked("web")));
        assert!(identity(Some("0f"), "web.example.org").made(&unmarked("web")), "borg drops the domain");
        assert!(!identity(Some("0f"), "web").made(&unmarked("old")));
        for host in ["dom0", "localhost", "localhost.localdomain"] {
            let us = identity(Some("0f"), host);
            assert!(!us.made(&unmarked(host)), "{host}");
            let adopted = Identity { earlier: vec![host.into()], ..us };
            assert!(adopted.made(&unmarked(host)), "{host}");
        }
        let adopting = Identity { earlier: vec!["old".into()], ..identity(Some("0f"), "dom0") };
        assert!(adopting.made(&unmarked("old")) && !adopting.made(&unmarked("")));
    }

    #[test]
    fn a_name_adopts_no_archive_that_another_machine_has_marked() {
        let us = Identity { earlier: vec!["dom0".into()], ..identity(Some("0f"), "dom0") };
        assert!(!us.made(&made_by("dom0", Some(mark(Some("1e"), None)))));
        let reinstalled = Identity { earlier: vec!["1e".into()], ..us };
        assert!(reinstalled.made(&made_by("dom0", Some(mark(Some("1e"), None)))));
    }

    #[test]
    fn without_a_machine_id_the_host_decides() {
        let us = identity(None, "web");
        assert!(us.made(&made_by("web", Some(mark(Some("0f"), None)))));
        assert!(!us.made(&made_by("db", Some(mark(None, None)))));
        assert!(!identity(None, "dom0").made(&made_by("dom0", Some(mark(None, None)))));
    }

    #[test]
    fn the_suffix_is_part_of_the_name_and_of_the_mark() {
        let us = Identity { suffix: Some("media".into()), ..identity(Some("0f"), "web") };
        let day = NaiveDate::from_ymd_opt(2026, 11, 27).unwrap();
        assert_eq!(us.name_on(day), "2026-11-27-media");
        assert_eq!(us.day_of("2026-11-27-media"), Some(day));
        for other in ["2026-11-27", "2026-11-27-media.new", "2026-11-27-medias", "x-media"] {
            assert_eq!(us.day_of(other), None, "{other}");
        }
        assert!(us.made(&made_by("web", Some(mark(Some("0f"), Some("media"))))));
        assert!(!us.made(&made_by("web", Some(mark(Some("0f"), None)))));
        assert!(!us.made(&made_by("web", None)));
    }
}
