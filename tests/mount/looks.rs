//! Looks for new archives that fail.

use std::time::Duration;

use borg_offsite_backup::archive::filter::ArchiveFilter;
use borg_offsite_backup::archives::native::NativeCatalog;
use borg_offsite_backup::archives::options::Options;
use borg_offsite_backup::archives::source::Catalog;
use borg_offsite_backup::archives::streams::{BorgCatalog, Limits};
use borg_offsite_backup::config::Config;
use borg_offsite_backup::tools::borg::Borg;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::{Flavour, wait_until};
use crate::contract::{archived, files};

#[test]
fn archives_that_a_failed_look_did_not_list_are_listed_by_the_next() {
    let Some(flavour) = Flavour::any() else { return };
    let (machine, repository) = archived(flavour, &files());
    let borg = Borg::new(&Config::load(&machine.config()).unwrap()).unwrap();
    let limits = Limits { lock_wait: Duration::from_secs(1), ..Limits::default() };
    // What this pattern means only borg knows, which is kept out below.
    let filter = ArchiveFilter { glob: Some("**".into()), ..ArchiveFilter::default() };
    let options = Options { filter: filter.clone(), limits: limits.clone(), ..Options::default() };
    let native = NativeCatalog::open(&borg, &options);
    let catalogs: [Box<dyn Catalog>; 2] =
        [Box::new(native.ok().unwrap()), Box::new(BorgCatalog::new(borg, filter, limits))];
    for catalog in &catalogs {
        assert_eq!(catalog.archives().unwrap().len(), 1);
    }
    repository.create(&machine, "y");
    let mut holder = repository.borg(&machine, "with-lock").args(["::", "sleep", "600"]).spawn();
    assert!(wait_until(Duration::from_secs(60), || repository.is_locked()));
    for catalog in &catalogs {
        assert!(catalog.look_again().is_err());
    }
    kill(Pid::from_raw(holder.id() as i32), Signal::SIGTERM).unwrap();
    holder.wait().unwrap();
    for catalog in &catalogs {
        assert_eq!(catalog.look_again().unwrap().map(|archives| archives.len()), Some(2));
        assert!(catalog.look_again().unwrap().is_none(), "nothing has come since");
    }
}
