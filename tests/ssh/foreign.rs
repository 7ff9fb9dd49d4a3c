//! Directories of other programs in the place of a repository on a server.

use crate::common::{Machine, Need, available, each_borg};

/// What each makes of an empty directory PLACE, and what it is called.
const FOREIGN: [(&str, &str); 4] = [
    ("mkdir -p PLACE/config PLACE/archives PLACE/keys PLACE/data", "is a repository of borg 2"),
    (
        "mkdir -p PLACE/data PLACE/index PLACE/keys PLACE/locks PLACE/snapshots; printf '\\377\\376\\0\\1' > PLACE/config",
        "is a repository of restic",
    ),
    (
        "mkdir -p PLACE/data/0; echo 'This is an Attic repository' > PLACE/README; \
         printf '[repository]\\nversion = 1\\nsegments_per_dir = 10000\\nmax_segment_size = 5242880\\n' > PLACE/config; \
         printf 'id = %064d\\n' 1 >> PLACE/config; printf ATTICSEG > PLACE/data/0/0",
        "is a repository of Attic",
    ),
    ("mkdir -p PLACE/repodata", "holds no repository"),
];

#[test]
fn a_directory_of_another_program_on_a_server_is_said_to_be_one() {
    if !available(&[Need::Root, Need::Fuse, Need::Sshd]) {
        return;
    }
    each_borg(|flavour| {
        let machine = Machine::with_server(flavour);
        let out = machine.path("out/x");
        let out = out.to_str().unwrap();
        for (fill, what) in FOREIGN {
            let place = "/var/backups/machine/backup";
            let fill = fill.replace("PLACE", place);
            machine.shell(&format!("rm -rf {place}; {fill}; chown -R machine: {place}")).ok();
            let commands: [&[&str]; 3] = [&["list"], &["create"], &["restore", "::latest", "x", "--to", out]];
            for command in commands {
                let said = machine.offsite(command).fails();
                assert!(said.contains(what), "{command:?}: {said}");
                assert!(said.lines().count() > 1 && !said.contains("Traceback"), "{command:?}: {said}");
            }
            machine.shell(&format!("! ls -d {place}/lock.*")).ok();
        }
    });
}
