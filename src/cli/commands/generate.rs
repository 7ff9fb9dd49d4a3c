//! `generate`: man pages and completions, for packagers.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use clap::Args;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::cli::borg_commands::BORG_COMMANDS;
use crate::cli::config_page;
use crate::cli::exit::Exit;
use crate::cli::globals::Globals;
use crate::error::{Error, Result};

const PROGRAM: &str = "borg-offsite-backup";
const FILES: [(&str, &str); 4] = [
    (
        "/etc/borg-offsite-backup.conf",
        "The configuration, in JSON; see borg-offsite-backup.conf(5). --config names another.",
    ),
    ("~/.borg-offsite-backup.key", "The key of the repository. Keep a copy on another machine."),
    ("/run/borg-offsite-backup/", "File systems are staged here during a backup."),
    (
        "/var/cache/borg-offsite-backup/",
        "Caches; $XDG_CACHE_HOME/borg-offsite-backup/ for those who are not root.",
    ),
];
const ENVIRONMENT: [(&str, &str); 7] = [
    (
        "BORG_PASSPHRASE, BORG_PASSCOMMAND, BORG_PASSPHRASE_FD",
        "The passphrase. Unset, root's is in /etc/credstore/borg-offsite-backup.passphrase (of root, mode 0600), or it is \
         empty; on a terminal it is asked for.",
    ),
    ("BORG_KEY_FILE", "The key, if it is not at its default place in the home directory."),
    (
        "CREDENTIALS_DIRECTORY",
        "Where systemd has the files of LoadCredential=. borg-offsite-backup.passphrase and \
         borg-offsite-backup.key in it are used where the variables above are not set.",
    ),
    ("BORG_RSH", "The command that makes the connection [default: ssh with keep-alives]."),
    ("BORG_REPO", "Ignored: the configuration or --repository names the repository."),
    ("QUIET", "yes is the same as --quiet."),
    ("NO_COLOR", "Set to anything: no colours."),
];

/// Write man pages and shell completions.
#[derive(Args)]
#[command(hide = true)]
pub struct Generate {
    /// The directory to write to; it is created if it does not exist.
    dir: PathBuf,
}

impl Generate {
    pub fn run(&self, globals: &Globals, cli: clap::Command) -> Result<Exit> {
        self.write(cli).map_err(|e| {
            Error::failed(format!("cannot write man pages and completions to {}", self.dir.display()))
                .because(e)
        })?;
        globals.console().say(&format!("Man pages and completions are in {}", self.dir.display()));
        Ok(Exit::Done)
    }

    fn write(&self, mut cli: clap::Command) -> std::io::Result<()> {
        fs::create_dir_all(&self.dir)?;
        let mut with_borgs = cli.clone().subcommands(BORG_COMMANDS.map(clap::Command::new));
        for shell in [Shell::Zsh, Shell::Fish] {
            clap_complete::generate_to(shell, &mut with_borgs, PROGRAM, &self.dir)?;
        }
        fs::write(self.dir.join(format!("{PROGRAM}.bash")), for_bash(&mut with_borgs))?;
        cli.build();
        page(cli.clone(), &self.dir.join("borg-offsite-backup.1"), true)?;
        for command in cli.get_subcommands().filter(|c| !c.is_hide_set()) {
            let name = format!("borg-offsite-backup-{}", command.get_name());
            let path = self.dir.join(format!("{name}.1"));
            page(command.clone().display_name(name), &path, false)?;
        }
        config_page::man().to_writer(&mut File::create(self.dir.join("borg-offsite-backup.conf.5"))?)?;
        fs::write(self.dir.join("configuration-keys.md"), config_page::markdown())?;
        Ok(())
    }
}

/// clap_complete 4.6 spells a name with hyphens differently when it sets the command and when it
/// looks it up. Without this, nothing below the program's name would be completed.
fn for_bash(cli: &mut clap::Command) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(Shell::Bash, cli, PROGRAM, &mut script);
    let looked_up = PROGRAM.replace('-', "__subcmd__");
    String::from_utf8_lossy(&script).replace(&looked_up, &PROGRAM.replace('-', "__")).into_bytes()
}

fn page(command: clap::Command, path: &Path, is_main: bool) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    let examples = command.get_after_help().map(ToString::to_string);
    let man = Man::new(command);
    man.render_title(&mut file)?;
    man.render_name_section(&mut file)?;
    man.render_synopsis_section(&mut file)?;
    man.render_description_section(&mut file)?;
    man.render_options_section(&mut file)?;
    if is_main {
        man.render_subcommands_section(&mut file)?;
    }
    let mut roff = Roff::new();
    if let Some(examples) = examples {
        roff.control("SH", ["EXAMPLES"]).control("nf", []).text([roman(examples)]).control("fi", []);
    }
    section(&mut roff, "EXIT STATUS", Exit::ALL.map(|e| ((e as u8).to_string(), e.meaning())).into());
    if is_main {
        roff.control("PP", []).text([roman("Commands that are passed through to borg exit as borg does.")]);
        section(&mut roff, "FILES", FILES.map(|(name, text)| (name.to_owned(), text)).into());
        section(&mut roff, "ENVIRONMENT", ENVIRONMENT.map(|(name, text)| (name.to_owned(), text)).into());
        roff.control("PP", []).text([roman("Borg reads every other BORG_ variable itself.")]);
    }
    roff.to_writer(&mut file)
}

fn section(roff: &mut Roff, title: &str, entries: Vec<(String, &str)>) {
    roff.control("SH", [title]);
    for (name, text) in entries {
        roff.control("TP", []).text([bold(name)]).text([roman(text)]);
    }
}
