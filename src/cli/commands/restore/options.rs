//! The options of `restore`, and the table of the jobs that each applies to.

use clap::Args;

use crate::cli::source::SourceArgument;
use crate::error::{Error, Result};

/// What `restore` can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Write an image to a block device or a file.
    Image,
    /// Restore files and directories of the archive.
    Files,
    /// Copy files from a volume in the archive.
    VolumeFiles,
    /// Show what is in a volume.
    VolumeList,
}

#[derive(Args)]
pub struct Options {
    /// Only list what is at VOLUME:/PATH.
    #[arg(long, conflicts_with = "to")]
    pub list: bool,
    /// For VOLUME:/PATH: read this partition of the volume.
    #[arg(long, value_name = "N")]
    pub partition: Option<u32>,
    /// For VOLUME:/PATH, on Qubes OS: mount the file system in dom0. A file system can be made to attack the kernel
    /// that mounts it. `attach --to-qube VM` does not mount it in dom0.
    #[arg(long)]
    pub in_host: bool,
    /// Create the ZFS volume that TARGET names, like the one that was archived.
    #[arg(long, conflicts_with = "dry_run")]
    pub create: bool,
    /// Only estimate what would be fetched, written and deleted, and how long it would take.
    #[arg(long)]
    pub dry_run: bool,
    /// Write everything, even what is already right.
    #[arg(long)]
    pub full: bool,
    /// Do not read back what was written.
    #[arg(long, conflicts_with = "dry_run")]
    pub no_verify: bool,
    /// Do not ask for confirmation.
    #[arg(long)]
    pub yes: bool,
    /// Replace files that exist, or a target of another size than the image.
    #[arg(long)]
    pub overwrite: bool,
    /// Delete what the archive does not have in the directories that are restored. Lists it and asks first. What the
    /// configuration excludes from backups stays.
    #[arg(long)]
    pub delete: bool,
    /// Take a file to be right if its size and its time are, without reading it.
    #[arg(long)]
    pub trust_times: bool,
    /// Change large files where they are, with `--overwrite`, instead of replacing them: this takes no space, but if
    /// the restore breaks off, the file is a mixture of old and new bytes.
    #[arg(long, requires = "overwrite")]
    pub in_place: bool,
    /// Restore damaged files with zeros in the place of what is lost, and name the ranges. Exits with 3.
    #[arg(long)]
    pub salvage: bool,
    /// A directory, file or device that may have the same bytes, such as an older copy or a snapshot: these are not
    /// fetched. Can be given several times.
    #[arg(long, value_name = "PATH")]
    pub seed: Vec<std::path::PathBuf>,
    /// Restore owners by number instead of by name.
    #[arg(long)]
    pub numeric_ids: bool,
    /// How to read the archive.
    #[arg(long, value_enum, default_value_t = SourceArgument::Auto)]
    pub source: SourceArgument,
    /// Print the result as JSON on standard output.
    #[arg(long)]
    pub json: bool,
}

/// An option, and the jobs that it applies to.
struct Rule {
    option: &'static str,
    is_given: fn(&Options) -> bool,
    jobs: &'static [Kind],
}

use Kind::{Files, Image, VolumeFiles, VolumeList};

/// Every job takes the options that are not here.
const RULES: [Rule; 16] = [
    Rule { option: "--create", is_given: |o| o.create, jobs: &[Image] },
    Rule { option: "--dry-run", is_given: |o| o.dry_run, jobs: &[Image, Files] },
    Rule { option: "--delete", is_given: |o| o.delete, jobs: &[Files] },
    Rule { option: "--trust-times", is_given: |o| o.trust_times, jobs: &[Files] },
    Rule { option: "--in-place", is_given: |o| o.in_place, jobs: &[Files] },
    Rule { option: "--salvage", is_given: |o| o.salvage, jobs: &[Image, Files, VolumeFiles] },
    Rule { option: "--seed", is_given: |o| !o.seed.is_empty(), jobs: &[Image, Files] },
    Rule { option: "--full", is_given: |o| o.full, jobs: &[Image] },
    Rule { option: "--no-verify", is_given: |o| o.no_verify, jobs: &[Image] },
    Rule { option: "--numeric-ids", is_given: |o| o.numeric_ids, jobs: &[Image, Files] },
    Rule { option: "--source", is_given: |o| o.source != SourceArgument::Auto, jobs: &[Image, Files] },
    Rule { option: "--json", is_given: |o| o.json, jobs: &[Image, Files] },
    Rule { option: "--overwrite", is_given: |o| o.overwrite, jobs: &[Image, Files, VolumeFiles] },
    Rule { option: "--partition", is_given: |o| o.partition.is_some(), jobs: &[VolumeFiles, VolumeList] },
    Rule { option: "--in-host", is_given: |o| o.in_host, jobs: &[VolumeFiles, VolumeList] },
    Rule { option: "--list", is_given: |o| o.list, jobs: &[VolumeList] },
];

impl Options {
    /// Refuses what none of the jobs that it can still become would heed.
    ///
    /// # Errors
    /// A usage error that names the option, and what it is for.
    pub fn refuse_unless_for(&self, possible: &[Kind]) -> Result<()> {
        let is_idle =
            |rule: &&Rule| (rule.is_given)(self) && !rule.jobs.iter().any(|job| possible.contains(job));
        let Some(rule) = RULES.iter().find(is_idle) else { return Ok(()) };
        let error = Error::usage(format!(
            "`{}` is for {}, not for {}",
            rule.option,
            names(rule.jobs),
            names(possible)
        ));
        Err(match rule.option {
            "--list" => error.hint("`borg-offsite-backup list ::ARCHIVE PATH` shows what is in an archive"),
            option => error.hint(format!("leave `{option}` out")),
        })
    }
}

/// `images and files`
fn names(jobs: &[Kind]) -> String {
    let mut names: Vec<&str> = jobs.iter().map(|job| job.name()).collect();
    names.dedup();
    names.join(" and ")
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Image => "images",
            Files => "files and directories",
            VolumeFiles => "files in a volume (VOLUME:/PATH)",
            VolumeList => "the list of a volume (VOLUME:/PATH)",
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Alone {
        #[arg(long, id = "to")]
        _to: Option<String>,
        #[command(flatten)]
        options: Options,
    }

    fn refused(option: &str, possible: &[Kind]) -> Option<String> {
        let alone = Alone::try_parse_from(["x", option]).unwrap();
        alone.options.refuse_unless_for(possible).err().map(|e| e.to_string())
    }

    #[test]
    fn an_option_is_refused_where_no_possible_job_heeds_it() {
        let message = refused("--full", &[Files]).unwrap();
        assert_eq!(message, "`--full` is for images, not for files and directories");
        assert_eq!(refused("--full", &[Files, Image]), None);
        assert_eq!(refused("--overwrite", &[VolumeFiles]), None);
        assert!(refused("--overwrite", &[VolumeList]).is_some());
        for option in ["--numeric-ids", "--json", "--source=native", "--create", "--no-verify"] {
            assert!(
                refused(option, &[VolumeFiles]).is_some() && refused(option, &[VolumeList]).is_some(),
                "{option}"
            );
        }
        for kind in [Image, Files, VolumeFiles, VolumeList] {
            assert_eq!(refused("--yes", &[kind]), None);
        }
    }
}
