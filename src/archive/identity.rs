//! Our identity, and whether it makes an archive ours.

use chrono::NaiveDate;

use super::name::{as_date, date_name};
use super::origin::Origin;

/// Many machines have this name, so it identifies none.
const COMMON_HOSTS: [&str; 2] = ["dom0", "localhost"];

/// What makes an archive ours, and how our archives are named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// Derived from the machine-id.
    pub machine: Option<String>,
    /// `archive_suffix`
    pub suffix: Option<String>,
    /// The names of this host.
    pub hosts: Vec<String>,
    /// `earlier_host_names`
    pub earlier: Vec<String>,
}

impl Identity {
    /// Whether we made the archive with this origin.
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

    /// The maker of an archive that is not ours, for people.
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

    /// The name of the archive of `date`.
    pub fn name_on(&self, date: NaiveDate) -> String {
        self.with_suffix(&date_name(date))
    }

    fn with_suffix(&self, day: &str) -> String {
        match &self.suffix {
            Some(suffix) => format!("{day}-{suffix}"),
            None => day.to_owned(),
        }
    }

    /// The day of an archive of ours with this name.
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
    use crate::archive::mark::Mark;

    fn mark(machine: Option<&str>, suffix: Option<&str>) -> Mark {
        let roots = [b"/".to_vec(), b"/with space, [x]%".to_vec(), b"/dev/zvol/tank/a b".to_vec()];
        Mark::new(machine.map(str::to_owned), suffix.map(str::to_owned), "r-1".into(), &roots)
    }

    fn made_by(host: &str, mark: Option<Mark>) -> Origin {
        match mark {
            Some(mark) => Origin::ours(host.into(), mark, 0),
            None => Origin::new(host.into(), "", &[]),
        }
    }

    fn identity(machine: Option<&str>, host: &str) -> Identity {
        Identity { machine: machine.map(str::to_owned), hosts: vec![host.into()], ..Identity::default() }
    }

    #[test]
    fn a_checkpoint_is_known_by_the_command_line() {
        let words = ["borg".to_owned(), format!("--comment=x {}", mark(Some("0f"), None)), "::x".to_owned()];
        assert!(identity(Some("0f"), "b").made(&Origin::new("a".into(), "", &words)));
    }

    #[test]
    fn two_machines_of_one_name_differ_and_a_machine_that_was_renamed_does_not() {
        let origin = |machine| made_by("dom0", Some(mark(Some(machine), None)));
        let us = identity(Some("0f"), "dom0");
        assert!(us.made(&origin("0f")) && !us.made(&origin("1e")));
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
