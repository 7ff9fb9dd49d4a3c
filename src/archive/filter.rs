//! Selects archives of a repository with the options of `borg list`.

use std::cmp::Ordering;

use glob::Pattern;

use super::name::Archive;

/// `None` and `false`: all but checkpoints, in the order of their start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ArchiveFilter {
    pub first: Option<u64>,
    pub last: Option<u64>,
    pub glob: Option<String>,
    /// Keys separated by commas: timestamp, name, id.
    pub sort_by: Option<String>,
    pub consider_checkpoints: bool,
}

impl ArchiveFilter {
    /// Selects from `archives` as borg 1.x does, in order; `None` if only borg knows the meaning of
    /// a pattern or a key.
    pub fn choose(&self, mut archives: Vec<Archive>) -> Option<Vec<Archive>> {
        let pattern = self.glob.as_deref().map(pattern);
        if let Some(pattern) = pattern {
            let pattern = pattern?;
            archives.retain(|archive| pattern.matches(&archive.name));
        }
        archives.retain(|archive| self.consider_checkpoints || !archive.name.contains(".checkpoint"));
        let keys = self.sort_by.as_deref().unwrap_or("timestamp");
        let keys = keys.split(',').map(key).collect::<Option<Vec<_>>>()?;
        archives.sort_by(|a, b| keys.iter().map(|key| key(a, b)).fold(Ordering::Equal, Ordering::then));
        let count = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        match (self.first, self.last) {
            (Some(first), _) => archives.truncate(count(first)),
            (None, Some(last)) => drop(archives.drain(..archives.len().saturating_sub(count(last)))),
            (None, None) => {}
        }
        Some(archives)
    }
}

/// These are borg's shell patterns, except for `**` and `[^`. Names of archives have no `/`.
fn pattern(text: &str) -> Option<Pattern> {
    Pattern::new(text).ok().filter(|_| !text.contains("**") && !text.contains("[^"))
}

fn key(name: &str) -> Option<fn(&Archive, &Archive) -> Ordering> {
    match name {
        "timestamp" => Some(|a, b| a.start.cmp(&b.start)),
        "name" => Some(|a, b| a.name.cmp(&b.name)),
        "id" => Some(|a, b| a.id.cmp(&b.id)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names that `filter` selects of b, a, b.checkpoint and c, which were started in this
    /// order.
    fn chosen(filter: ArchiveFilter) -> Option<String> {
        let archive = |(n, name): (usize, &str)| Archive {
            name: name.into(),
            id: format!("{}", 9 - n),
            start: format!("2026-11-2{n}T00:00:00"),
        };
        let mut archives: Vec<_> =
            ["b", "a", "b.checkpoint", "c"].into_iter().enumerate().map(archive).collect();
        archives.reverse();
        let names: Vec<String> = filter.choose(archives)?.into_iter().map(|a| a.name).collect();
        Some(names.join(" "))
    }

    #[test]
    fn archives_are_chosen_as_borg_chooses_them() {
        let filter = ArchiveFilter::default;
        let sorted = |keys: &str| ArchiveFilter { sort_by: Some(keys.into()), ..filter() };
        let like = |glob: &str| ArchiveFilter { glob: Some(glob.into()), ..filter() };
        let message = |filter| chosen(filter).unwrap();
        assert_eq!(message(filter()), "b a c");
        assert_eq!(message(ArchiveFilter { consider_checkpoints: true, ..filter() }), "b a b.checkpoint c");
        assert_eq!(message(ArchiveFilter { first: Some(1), ..sorted("name") }), "a");
        assert_eq!(message(ArchiveFilter { last: Some(2), ..filter() }), "a c");
        assert_eq!(message(ArchiveFilter { last: Some(9), ..sorted("id,name") }), "c a b");
        assert_eq!(message(like("[bc]")), "b c");
        assert_eq!(message(like("?")), "b a c");
        assert_eq!(message(ArchiveFilter { consider_checkpoints: true, ..like("b*") }), "b b.checkpoint");
        assert_eq!(message(like("x*")), "");
        for only_borg_knows in [like("**/b"), like("[^a]"), like("[a"), sorted("size")] {
            assert_eq!(chosen(only_borg_knows), None);
        }
    }
}
