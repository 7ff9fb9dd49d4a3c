//! The name of an archive, and the names that stand for one: today, yesterday, latest.

use chrono::{Days, NaiveDate, NaiveDateTime};

use crate::error::{Error, Kind, Result};

/// An archive as `borg list --json` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    pub name: String,
    /// 64 hex digits; pins the archive even when another takes its name.
    pub id: String,
    /// When it was started, in UTC, as ISO text (it sorts by time).
    pub start: String,
}

impl Archive {
    /// When it was started, in nanoseconds since the epoch; 0 where that cannot be read.
    pub fn start_ns(&self) -> i64 {
        let start = NaiveDateTime::parse_from_str(&self.start, "%Y-%m-%dT%H:%M:%S%.f");
        start.ok().and_then(|t| t.and_utc().timestamp_nanos_opt()).unwrap_or_default()
    }
}

/// What a person wrote after `::`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    Named(String),
    Today,
    Yesterday,
    Latest,
}

impl Wanted {
    /// Reads `::name`.
    ///
    /// # Errors
    /// When it does not begin with `::` or names nothing.
    pub fn parse(text: &str) -> Result<Self> {
        let name = text.strip_prefix("::").ok_or_else(|| {
            Error::usage(format!("`{text}` is no archive"))
                .hint("an archive is written `::yyyy-mm-dd`, `::today`, `::yesterday` or `::latest`")
        })?;
        if name.is_empty() || name.contains('/') {
            return Err(Error::usage(format!("`{text}` names no archive")).hint("write `::yyyy-mm-dd`"));
        }
        Ok(match name {
            "today" => Wanted::Today,
            "yesterday" => Wanted::Yesterday,
            "latest" => Wanted::Latest,
            _ => Wanted::Named(name.to_owned()),
        })
    }

    /// The archive of that name among `archives` (in `repository`, for the message), `today` being
    /// the date here and now.
    ///
    /// # Errors
    /// [`Kind::NotFound`] with the nearest names when there is none.
    pub fn find<'a>(
        &self,
        archives: &'a [Archive],
        repository: &str,
        today: NaiveDate,
    ) -> Result<&'a Archive> {
        let name = match self {
            Wanted::Named(name) => name.clone(),
            Wanted::Today => date_name(today),
            Wanted::Yesterday => date_name(today.checked_sub_days(Days::new(1)).unwrap_or(today)),
            Wanted::Latest => {
                return archives.iter().max_by(|a, b| a.start.cmp(&b.start)).ok_or_else(|| {
                    Error::new(Kind::NotFound, format!("there is no archive in {repository} yet"))
                        .hint("`borg-offsite-backup create` makes the first one")
                });
            }
        };
        archives.iter().find(|a| a.name == name).ok_or_else(|| missing(&name, archives, repository))
    }
}

/// `yyyy-mm-dd`, the name of the archive of that day.
pub fn date_name(date: NaiveDate) -> String {
    date.format("%Y-%m-%d").to_string()
}

/// The date that `name` is, when it is exactly `yyyy-mm-dd`.
pub fn as_date(name: &str) -> Option<NaiveDate> {
    let date = NaiveDate::parse_from_str(name, "%Y-%m-%d").ok()?;
    (date_name(date) == name).then_some(date)
}

fn missing(name: &str, archives: &[Archive], repository: &str) -> Error {
    let error = Error::new(Kind::NotFound, format!("there is no archive {name} in {repository}"));
    let error = match nearest(name, archives).as_slice() {
        [] => error.hint("the repository holds no archive yet; `borg-offsite-backup create` makes one"),
        [one] => error.hint(format!("the nearest is {one}")),
        [first, second, ..] => error.hint(format!("the nearest are {first} and {second}")),
    };
    if archives.is_empty() {
        return error;
    }
    error.hint(format!("`borg-offsite-backup list` shows all {}", archives.len()))
}

/// Up to two names: for a date the one before and the one after it, otherwise the most alike.
fn nearest(name: &str, archives: &[Archive]) -> Vec<String> {
    let mut names: Vec<&str> = archives.iter().map(|a| a.name.as_str()).collect();
    // A day that no calendar has (2026-11-31) still has neighbours: dates as text sort as dates do.
    let is_dated = |n: &str| {
        n.len() == 10
            && n.bytes()
                .enumerate()
                .all(|(i, b)| if i == 4 || i == 7 { b == b'-' } else { b.is_ascii_digit() })
    };
    if is_dated(name) {
        names.retain(|n| is_dated(n));
        names.sort_unstable();
        let at = names.partition_point(|n| *n < name);
        let before = at.checked_sub(1).map(|i| names[i]);
        return before.into_iter().chain(names.get(at).copied()).map(str::to_owned).collect();
    }
    names.sort_by(|a, b| {
        strsim::normalized_levenshtein(b, name).total_cmp(&strsim::normalized_levenshtein(a, name))
    });
    names.into_iter().take(2).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archives(names: &[&str]) -> Vec<Archive> {
        let make = |(i, n): (usize, &&str)| Archive {
            name: n.to_string(),
            id: format!("{i:064}"),
            start: format!("2026-01-01T00:00:{:02}", i),
        };
        names.iter().enumerate().map(make).collect()
    }

    fn day() -> NaiveDate {
        NaiveDate::from_ymd_opt(2026, 3, 1).unwrap()
    }

    #[test]
    fn the_words_stand_for_dates() {
        let all = archives(&["2026-02-28", "2026-03-01", "other"]);
        let name = |text: &str| Wanted::parse(text).unwrap().find(&all, "r", day()).unwrap().name.clone();
        assert_eq!(name("::today"), "2026-03-01");
        assert_eq!(name("::yesterday"), "2026-02-28");
        assert_eq!(name("::latest"), "other");
        assert_eq!(name("::2026-02-28"), "2026-02-28");
    }

    #[test]
    fn a_day_that_does_not_exist_still_has_neighbours() {
        let all = archives(&["2026-12-01", "notes", "2026-11-30", "2026-11-02"]);
        let e = Wanted::parse("::2026-11-31").unwrap().find(&all, "/srv/backup", day()).unwrap_err();
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

    #[test]
    fn only_an_exact_date_is_a_date() {
        assert!(as_date("2026-11-30").is_some());
        for name in ["2026-11-31", "2026-1-3", "2026-11-30.new", "x", "+026-11-30"] {
            assert!(as_date(name).is_none(), "{name}");
        }
    }
}
