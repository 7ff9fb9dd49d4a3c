//! The names nearest to one that no archive has.

use chrono::{Local, NaiveDate, NaiveDateTime, TimeZone};

use super::name::{Archive, date_name, is_checkpoint};

/// Up to two names: for a date those before and after it, by their names or else by when they
/// were begun; otherwise the most alike.
pub fn nearest(name: &str, archives: &[Archive]) -> Vec<String> {
    let mut archives: Vec<&Archive> = archives.iter().filter(|a| !is_checkpoint(&a.name)).collect();
    if !is_dated(name) {
        let alike = |archive: &Archive| strsim::normalized_levenshtein(&archive.name, name);
        archives.sort_by(|a, b| alike(b).total_cmp(&alike(a)));
        return archives.into_iter().take(2).map(|a| a.name.clone()).collect();
    }
    // A day that no calendar has (2026-11-31) still has neighbours: dates as text sort as dates do.
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

/// The day here on which it was begun.
pub fn begun_on(archive: &Archive) -> Option<NaiveDate> {
    let start = NaiveDateTime::parse_from_str(&archive.start, "%Y-%m-%dT%H:%M:%S%.f").ok()?;
    Some(Local.from_utc_datetime(&start).date_naive())
}

fn is_dated(name: &str) -> bool {
    let is_digit_or_dash =
        |(i, b): (usize, u8)| if i == 4 || i == 7 { b == b'-' } else { b.is_ascii_digit() };
    name.len() == 10 && name.bytes().enumerate().all(is_digit_or_dash)
}
