//! Suggests names that are near to one that no archive has.

use chrono::{Local, NaiveDate, NaiveDateTime, TimeZone};

use super::name::{Archive, date_name, is_checkpoint};

/// Up to two names. For a date: the archives before and after it, by their names or their start.
/// Otherwise: the most similar names.
pub fn nearest(name: &str, archives: &[Archive]) -> Vec<String> {
    let mut archives: Vec<&Archive> = archives.iter().filter(|a| !is_checkpoint(&a.name)).collect();
    if !is_dated(name) {
        let alike = |archive: &Archive| strsim::normalized_levenshtein(&archive.name, name);
        archives.sort_by(|a, b| alike(b).total_cmp(&alike(a)));
        return archives.into_iter().take(2).map(|a| a.name.clone()).collect();
    }
    // A day that does not exist (2026-11-31) still has neighbours, because dates sort as text.
    let by_name = archives.iter().any(|archive| is_dated(&archive.name));
    let key = |archive: &Archive| match by_name {
        true => archive.name.clone(),
        false => begun_on(archive).map(date_name).unwrap_or_default(),
    };
    archives.retain(|archive| !by_name || is_dated(&archive.name));
    archives.sort_by(|a, b| key(a).cmp(&key(b)).then_with(|| a.start.cmp(&b.start)));
    let at = archives.partition_point(|archive| key(archive).as_str() < name);
    let before = at.checked_sub(1).map(|i| archives[i]);
    before.into_iter().chain(archives.get(at).copied()).map(|a| a.name.clone()).collect()
}

/// The local day on which the archive was begun.
pub fn begun_on(archive: &Archive) -> Option<NaiveDate> {
    let start = NaiveDateTime::parse_from_str(&archive.start, "%Y-%m-%dT%H:%M:%S%.f").ok()?;
    Some(Local.from_utc_datetime(&start).date_naive())
}

fn is_dated(name: &str) -> bool {
    let is_digit_or_dash =
        |(i, b): (usize, u8)| if i == 4 || i == 7 { b == b'-' } else { b.is_ascii_digit() };
    name.len() == 10 && name.bytes().enumerate().all(is_digit_or_dash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archives(names: &[&str]) -> Vec<Archive> {
        let archive = |name: &&str| Archive {
            name: (*name).to_owned(),
            id: String::new(),
            start: format!("2026-11-{:02}T12:00:00.000000", 10 + name.len()),
        };
        names.iter().map(archive).collect()
    }

    fn nearest_of(name: &str, names: &[&str]) -> Vec<String> {
        nearest(name, &archives(names))
    }

    #[test]
    fn a_date_lies_between_its_neighbours_also_if_no_calendar_has_it() {
        let names = ["2026-12-01", "2026-11-30", "2026-11-29", "other"];
        assert_eq!(nearest_of("2026-11-31", &names), ["2026-11-30", "2026-12-01"]);
        assert_eq!(nearest_of("2026-11-01", &names), ["2026-11-29"]);
        assert_eq!(nearest_of("2027-01-01", &names), ["2026-12-01"]);
        assert!(nearest_of("2026-11-31", &[]).is_empty());
    }

    #[test]
    fn names_that_only_resemble_a_date_are_compared_as_names() {
        for name in ["2026-11-3", "2026-11-301", "2026_11_30", "2026-1130-", "x026-11-30"] {
            assert_eq!(nearest_of(name, &["2026-11-30", "2026-01-01", "zzz"])[0], "2026-11-30", "{name}");
        }
        assert_eq!(nearest_of("home-2", &["home-1", "mail", "home-22"]), ["home-22", "home-1"]);
    }

    #[test]
    fn archives_without_dates_in_their_names_are_ordered_by_when_they_began() {
        // These began on the 11th, 13th and 15th.
        let names = ["ccccc", "a", "bbb"];
        assert_eq!(nearest_of("2026-11-12", &names), ["a", "bbb"]);
        assert_eq!(nearest_of("2026-11-14", &names), ["bbb", "ccccc"]);
    }

    #[test]
    fn a_checkpoint_is_near_to_nothing() {
        assert_eq!(nearest_of("2026-11-02", &["2026-11-01", "2026-11-03.checkpoint"]), ["2026-11-01"]);
        assert_eq!(nearest_of("home", &["home.checkpoint", "mail"]), ["mail"]);
    }
}
