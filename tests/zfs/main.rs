//! `create` and what is done with volumes on real ZFS, in a virtual machine that `scripts/zfs-lab/setup.sh` makes: each test is a
//! script that runs in there, and that fails with what it found.

#[path = "../common/mod.rs"]
mod common;

use common::lab::Lab;
use common::needs::Need;

fn run(script: &str) {
    let lab = Lab { name: "zfs", needs: &[Need::Root], limit: 900 };
    if lab.is_there() {
        lab.run(script, &[]);
    }
}

#[test]
fn datasets_are_backed_up_at_one_moment_and_come_back_as_they_were() {
    run("backup.sh");
}

#[test]
fn a_run_that_is_killed_anywhere_leaves_nothing_that_is_not_cleaned_up() {
    run("killed.sh");
}

#[test]
fn only_what_can_be_backed_up_is_and_the_rest_is_told() {
    run("selection.sh");
}

#[test]
fn a_volume_goes_back_to_an_earlier_day_and_zfs_tells_what_changed_since() {
    run("images.sh");
}

#[test]
fn a_volume_that_got_other_blocks_than_were_written_to_it_is_read() {
    run("proof.sh");
}

#[test]
fn a_volume_in_an_archive_is_a_device_again_with_its_journal_replayed_or_not() {
    run("attach.sh");
}
