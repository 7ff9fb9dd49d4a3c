//! What a person writes after `::`, and the archive that it means.

use chrono::{Days, NaiveDate};

use super::identity::Identity;
use super::makers::makers;
use super::name::{Archive, as_date, date_name, is_beside, is_checkpoint};
use super::nearest::{begun_on, nearest};
use super::origin::Origin;
use crate::error::{Error, Kind, Result};

/// The number of machines that are named if one must be chosen.
const SHOWN: usize = 8;

/// A name or word that a person wrote after `::`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    Named(String),
    Today,
    Yesterday,
    /// The number of archives to go back from the latest.
    Latest(usize),
}

/// The archive that was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    pub archive: Archive,
    /// A note for a person who did not name exactly this one.
    pub note: Option<String>,
}

/// The archives to choose from.
pub struct Shelf<'a> {
    /// All archives, including checkpoints.
    pub archives: &'a [Archive],
    /// The repository, for messages.
    pub repository: &'a str,
    pub identity: &'a Identity,
    /// The current local date.
    pub today: NaiveDate,
}

impl Wanted {
    /// Parses `::name`.
    ///
    /// # Errors
    /// When it does not begin with `::`, or names nothing.
    pub fn parse(text: &str) -> Result<Self> {
        let name = text.strip_prefix("::").ok_or_else(|| {
            Error::usage(format!("`{text}` is not an archive"))
                .hint("an archive is written `::yyyy-mm-dd`, `::today`, `::yesterday` or `::latest`")
        })?;
        if name.is_empty() || name.contains('/') {
            return Err(Error::usage(format!("`{text}` names no archive")).hint("write `::yyyy-mm-dd`"));
        }
        Ok(Wanted::word(name).unwrap_or_else(|| Wanted::Named(name.to_owned())))
    }

    /// Parses a word that stands for an archive.
    pub fn word(name: &str) -> Option<Self> {
        match name {
            "today" => Some(Wanted::Today),
            "yesterday" => Some(Wanted::Yesterday),
            "latest" => Some(Wanted::Latest(0)),
            _ => name.strip_prefix("latest~")?.parse().ok().map(Wanted::Latest),
        }
    }

    /// The day that is meant, if it is a day.
    pub fn day(&self, today: NaiveDate) -> Option<NaiveDate> {
        match self {
            Wanted::Named(name) => as_date(name),
            Wanted::Today => Some(today),
            Wanted::Yesterday => today.checked_sub_days(Days::new(1)),
            Wanted::Latest(_) => None,
        }
    }

    /// Chooses the archive. `origin` returns where an archive comes from, and is called only if
    /// that matters.
    ///
    /// # Errors
    /// [`Kind::NotFound`] with the nearest names if there is no such archive; [`Kind::Usage`] with
    /// the candidates if several machines have one; those of `origin`.
    pub fn find(
        &self,
        shelf: &Shelf<'_>,
        origin: &mut dyn FnMut(&Archive) -> Result<Origin>,
    ) -> Result<Chosen> {
        match (self, self.day(shelf.today)) {
            (Wanted::Latest(back), _) => shelf.latest(*back, origin),
            (_, Some(day)) => shelf.of_day(day, origin),
            (Wanted::Named(name), None) => match shelf.named(name) {
                Some(archive) => Ok(Chosen { archive: archive.clone(), note: None }),
                None => Err(shelf.missing(name)),
            },
            (Wanted::Today | Wanted::Yesterday, None) => Err(shelf.missing("yesterday")),
        }
    }
}

impl Shelf<'_> {
    fn named(&self, name: &str) -> Option<&Archive> {
        self.archives.iter().find(|archive| archive.name == name)
    }

    /// The archive named after `day`, or if there is none, the last one begun on that day.
    fn of_day(&self, day: NaiveDate, origin: &mut dyn FnMut(&Archive) -> Result<Origin>) -> Result<Chosen> {
        let (ours, plain) = (self.identity.name_on(day), date_name(day));
        if let Some(archive) = self.named(&ours).or_else(|| self.named(&plain)) {
            let note = match &archive.name {
                name if *name != plain => Some(format!("{plain} means {name} here")),
                // The origin matters only if others may have made such an archive.
                _ if self.archives.len() > 1 || self.identity.suffix.is_some() => {
                    let origin = origin(archive)?;
                    let foreign = !self.identity.made(&origin);
                    foreign.then(|| format!("{plain} was made by {}", self.identity.describe(&origin)))
                }
                _ => None,
            };
            return Ok(self.chosen(archive, note));
        }
        let on_day = |archive: &&Archive| !is_checkpoint(&archive.name) && begun_on(archive) == Some(day);
        let found: Vec<&Archive> = self.archives.iter().filter(on_day).collect();
        if found.is_empty() {
            return Err(self.missing(&plain));
        }
        let archive = self.last(found, 0, &format!("::{plain}"), origin)?;
        let note =
            format!("there is no archive {plain}: using {}, the last one begun on that day", archive.name);
        Ok(self.chosen(archive, Some(note)))
    }

    /// The newest archive, or the one `back` before it.
    fn latest(&self, back: usize, origin: &mut dyn FnMut(&Archive) -> Result<Origin>) -> Result<Chosen> {
        let offered = |archive: &&Archive| {
            !is_checkpoint(&archive.name)
                && is_beside(&archive.name).is_none_or(|name| self.named(name).is_none())
        };
        let found: Vec<&Archive> = self.archives.iter().filter(offered).collect();
        if found.is_empty() {
            let nothing = format!("there is no archive in {} yet", self.repository);
            return Err(
                Error::new(Kind::NotFound, nothing).hint("`borg-offsite-backup create` makes the first one")
            );
        }
        let label = if back == 0 { "::latest".to_owned() } else { format!("::latest~{back}") };
        let archive = self.last(found, back, &label, origin)?;
        Ok(self.chosen(archive, None))
    }

    /// The newest in `found` that we made, or the one `back` before it. If none is ours, those of
    /// the only other host.
    fn last<'a>(
        &self,
        mut found: Vec<&'a Archive>,
        back: usize,
        label: &str,
        origin: &mut dyn FnMut(&Archive) -> Result<Origin>,
    ) -> Result<&'a Archive> {
        // Of two that were begun in the same second, the later one in the list counts as newer.
        found.sort_by(|a, b| a.start.cmp(&b.start));
        found.reverse();
        let (mut ours, mut others) = (Vec::new(), Vec::new());
        for archive in found {
            let origin = origin(archive)?;
            if !self.identity.made(&origin) {
                others.push((archive, origin));
                continue;
            }
            ours.push(archive);
            if ours.len() > back {
                return Ok(archive);
            }
        }
        let makers = makers(&others);
        let from: Vec<&Archive> = match (ours.is_empty(), makers.as_slice()) {
            (false, _) => ours,
            (true, [_]) => others.iter().map(|(archive, _)| *archive).collect(),
            (true, makers) => return Err(self.several(label, makers)),
        };
        from.get(back).copied().ok_or_else(|| {
            Error::new(Kind::NotFound, format!("there is no archive {label} in {}", self.repository))
                .hint(format!("there are {} to count back from", from.len()))
        })
    }

    fn several(&self, label: &str, makers: &[(&Archive, &Origin)]) -> Error {
        let what = format!("`{label}` may mean archives of several machines in {}", self.repository);
        let error = Error::usage(what);
        let error = makers.iter().take(SHOWN).fold(error, |error, (archive, origin)| {
            error.hint(format!("{}: its last is {}", origin.maker(), archive.name))
        });
        let more = makers.len().saturating_sub(SHOWN);
        let error = if more > 0 { error.hint(format!("and {more} more machines")) } else { error };
        error.hint("write the name of the one that you mean")
    }

    fn chosen(&self, archive: &Archive, note: Option<String>) -> Chosen {
        let newer = self.archives.iter().rfind(|a| is_beside(&a.name) == Some(&archive.name));
        let beside = newer.map(|newer| {
            format!("{} is used; {} is beside it, made later and kept separately", archive.name, newer.name)
        });
        Chosen { archive: archive.clone(), note: note.or(beside) }
    }

    fn missing(&self, name: &str) -> Error {
        let error =
            Error::new(Kind::NotFound, format!("there is no archive {} in {}", name, self.repository));
        if self.archives.is_empty() {
            return error.hint("the repository holds no archive yet; `borg-offsite-backup create` makes one");
        }
        let error = match nearest(name, self.archives).as_slice() {
            [] => error,
            [one] => error.hint(format!("the nearest is {one}")),
            [first, second, ..] => error.hint(format!("the nearest are {first} and {second}")),
        };
        error.hint(format!("`borg-offsite-backup list` shows all {}", self.archives.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::mark::Mark;

    /// Archives begun at noon, one a day from 2026-01-01 on, each with the host that made it. Noon
    /// is the same day nearly everywhere.
    fn archives(names: &[(&str, &str)]) -> Vec<(Archive, Origin)> {
        let make = |(i, (name, host)): (usize, &(&str, &str))| {
            let start = format!("2026-01-{:02}T12:00:00.000000", i + 1);
            let archive = Archive { name: name.to_string(), id: format!("{i:064}"), start };
            (archive, Origin::new(host.to_string(), "", &[]))
        };
        names.iter().enumerate().map(make).collect()
    }

    fn us() -> Identity {
        Identity { hosts: vec!["us".into()], ..Identity::default() }
    }

    fn find_as(word: &str, all: &[(Archive, Origin)], identity: &Identity) -> Result<Chosen> {
        let archives: Vec<Archive> = all.iter().map(|(archive, _)| archive.clone()).collect();
        let today = NaiveDate::from_ymd_opt(2026, 3, 1).unwrap();
        let shelf = Shelf { archives: &archives, repository: "/srv/backup", identity, today };
        Wanted::parse(word)
            .unwrap()
            .find(&shelf, &mut |archive| Ok(all.iter().find(|(a, _)| a == archive).unwrap().1.clone()))
    }

    fn name(word: &str, all: &[(Archive, Origin)]) -> String {
        find_as(word, all, &us()).unwrap().archive.name
    }

    #[test]
    fn the_words_stand_for_dates_and_for_the_last() {
        let all = archives(&[("2026-02-28", "us"), ("2026-03-01", "us"), ("other", "us")]);
        assert_eq!(name("::today", &all), "2026-03-01");
        assert_eq!(name("::yesterday", &all), "2026-02-28");
        assert_eq!(name("::latest", &all), "other");
        assert_eq!(name("::latest~2", &all), "2026-02-28");
        assert_eq!(name("::2026-02-28", &all), "2026-02-28");
        let mut at_once = archives(&[("a", "us"), ("b", "us")]);
        at_once[1].0.start = at_once[0].0.start.clone();
        assert_eq!(name("::latest", &at_once), "b");
        let e = find_as("::latest~3", &all, &us()).unwrap_err();
        assert_eq!(
            (e.kind(), e.hints()),
            (Kind::NotFound, &["there are 3 to count back from".to_owned()][..])
        );
    }

    #[test]
    fn what_is_no_word_is_a_name() {
        for text in ["::latest~", "::latest~x", "::latest~-1", "::latest2", "::Today"] {
            assert_eq!(Wanted::parse(text).unwrap(), Wanted::Named(text[2..].into()));
        }
    }

    #[test]
    fn the_latest_is_ours_else_the_only_hosts_else_shown() {
        let all = archives(&[("a", "us"), ("b", "them"), ("c", "others")]);
        assert_eq!(name("::latest", &all), "a");
        assert_eq!(name("::latest", &all[1..2]), "b");
        let e = find_as("::latest", &all[1..], &us()).unwrap_err();
        assert_eq!(e.kind(), Kind::Usage);
        let hints = [
            "host others: its last is c",
            "host them: its last is b",
            "write the name of the one that you mean",
        ];
        assert_eq!(e.hints(), hints);
    }

    #[test]
    fn a_machine_that_began_to_leave_marks_is_one_machine() {
        let mut all = archives(&[("a", "them"), ("b", "them")]);
        all[1].1.mark = Some(Mark::new(Some("1e".into()), None, String::new(), &[]));
        assert_eq!(name("::latest", &all), "b");
        let mut other = archives(&[("x", ""), ("y", ""), ("c", "them")]).remove(2);
        other.1.mark = Some(Mark::new(Some("2d".into()), None, String::new(), &[]));
        all.push(other);
        let e = find_as("::latest", &all, &us()).unwrap_err();
        assert_eq!(e.hints()[0], "host them (machine 2d): its last is c");
    }

    #[test]
    fn a_date_without_an_archive_of_its_name_is_the_last_begun_on_that_day() {
        let mut all = archives(&[("us-2026-01-01T04", "us"), ("us-2026-01-01T05", "us"), ("x", "them")]);
        for (archive, _) in &mut all {
            archive.start = format!("2026-01-01T12:00:0{}", &archive.id[63..]);
        }
        let chosen = find_as("::2026-01-01", &all, &us()).unwrap();
        assert_eq!(chosen.archive.name, "us-2026-01-01T05");
        let note = "there is no archive 2026-01-01: using us-2026-01-01T05, the last one begun on that day";
        assert_eq!(chosen.note.as_deref(), Some(note));
        let nobody = Identity::default();
        assert_eq!(find_as("::2026-01-01", &all, &nobody).unwrap_err().kind(), Kind::Usage);
        let e = find_as("::2026-01-02", &all, &us()).unwrap_err();
        assert_eq!(e.hints(), ["the nearest is x", "`borg-offsite-backup list` shows all 3"]);
    }

    #[test]
    fn a_checkpoint_is_taken_by_its_full_name_alone() {
        let all =
            archives(&[("2026-01-01", "us"), ("2026-01-02.checkpoint", "us"), ("x.checkpoint.1", "us")]);
        assert_eq!(name("::latest", &all), "2026-01-01");
        assert_eq!(name("::2026-01-02.checkpoint", &all), "2026-01-02.checkpoint");
        for word in ["::2026-01-02", "::2026-01-03"] {
            assert_eq!(find_as(word, &all, &us()).unwrap_err().kind(), Kind::NotFound, "{word}");
        }
        assert_eq!(find_as("::latest", &all[1..], &us()).unwrap_err().kind(), Kind::NotFound);
    }

    #[test]
    fn what_stands_beside_an_archive_is_told_and_taken_by_its_full_name_alone() {
        let all = archives(&[("2026-01-01", "us"), ("2026-01-01.beside", "us")]);
        for word in ["::latest", "::2026-01-01"] {
            let chosen = find_as(word, &all, &us()).unwrap();
            assert_eq!(chosen.archive.name, "2026-01-01");
            assert!(chosen.note.unwrap().contains("2026-01-01.beside is beside it"), "{word}");
        }
        assert_eq!(name("::latest", &all[1..]), "2026-01-01.beside");
        assert_eq!(name("::2026-01-01.beside", &all), "2026-01-01.beside");
    }

    #[test]
    fn a_suffix_is_understood_in_a_date() {
        let all = archives(&[("2026-01-01", "them"), ("2026-01-01-media", "us"), ("2026-01-02", "them")]);
        let identity = Identity { suffix: Some("media".into()), ..us() };
        let find = |word| find_as(word, &all, &identity).unwrap();
        assert_eq!(find("::2026-01-01").archive.name, "2026-01-01-media");
        assert_eq!(find("::2026-01-02").archive.name, "2026-01-02");
        assert_eq!(find("::2026-01-02").note.as_deref(), Some("2026-01-02 was made by host them"));
    }

    #[test]
    fn a_date_of_somebody_else_says_so() {
        let all = archives(&[("2026-01-01", "them"), ("2026-01-02", "us")]);
        assert_eq!(find_as("::2026-01-02", &all, &us()).unwrap().note, None);
        let note = find_as("::2026-01-01", &all, &us()).unwrap().note;
        assert_eq!(note.as_deref(), Some("2026-01-01 was made by host them"));
    }

    #[test]
    fn a_day_that_does_not_exist_still_has_neighbours() {
        let all =
            archives(&[("2026-12-01", "us"), ("notes", "us"), ("2026-11-30", "us"), ("2026-11-02", "us")]);
        let e = find_as("::2026-11-31", &all, &us()).unwrap_err();
        assert_eq!(e.to_string(), "there is no archive 2026-11-31 in /srv/backup");
        assert_eq!(
            e.hints(),
            ["the nearest are 2026-11-30 and 2026-12-01", "`borg-offsite-backup list` shows all 4"]
        );
        assert_eq!(e.kind(), Kind::NotFound);
    }

    #[test]
    fn what_is_no_archive_is_refused() {
        for text in ["2026-11-30", "::", "::a/b"] {
            assert_eq!(Wanted::parse(text).unwrap_err().kind(), Kind::Usage, "{text}");
        }
    }
}
