//! `check-config`

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value, json};

use crate::backup;
use crate::cli::console::print;
use crate::cli::exit::Exit;
use crate::cli::globals::Globals;
use crate::cli::units::count;
use crate::config::keys::KEYS;
use crate::config::{Config, Dataset, Hook, Selection};
use crate::error::{Error, Kind, Result};
use crate::process::{self, is_program};
use crate::tools::borg::Borg;
use crate::tools::mounts::{self, Mount};
use crate::tools::qubes;
use crate::tools::zfs;

/// Check the configuration, and show what it means on this machine.
#[derive(Args)]
pub struct CheckConfig {
    /// Print one JSON object on standard output.
    #[arg(long)]
    json: bool,
}

impl CheckConfig {
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let config = globals.config_to_create()?;
        // Without a borg, the findings report it.
        Borg::judge_compression(&config.compression).or_else(|e| match e.kind() {
            Kind::NotFound => Ok(()),
            _ => Err(e),
        })?;
        let found = Findings::new(&config)?;
        let text = if self.json { found.json(&config).to_string() } else { found.text(&config) };
        print(&text)?;
        for warning in found.warnings(&config) {
            globals.console().warn(&warning);
        }
        Ok(Exit::Done)
    }
}

/// What the configuration means here and now.
struct Findings {
    repository: String,
    /// The directory of a local repository, and whether it exists.
    local: Option<(PathBuf, bool)>,
    /// The reason why a connection to the server is impossible.
    no_way: Option<String>,
    /// Programs of Qubes OS that the bridge needs and that are missing.
    no_qubes: Vec<&'static str>,
    key_file: PathBuf,
    key: Key,
    /// The variable that gives it; `None` if it is empty.
    passphrase: Option<&'static str>,
    /// `borg 1.2.4`; or the reason why there is none.
    borg: std::result::Result<String, String>,
    filesystems: Vec<Filesystem>,
    /// What each entry of `datasets_to_backup` matches; or the reason why that is unknown.
    datasets: std::result::Result<Vec<Vec<String>>, String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    Missing,
    Private,
    /// Other users of this machine can read it.
    Open,
}

struct Filesystem {
    path: PathBuf,
    exists: bool,
    is_mount_point: bool,
}

impl Findings {
    fn new(config: &Config) -> Result<Self> {
        let borg = Borg::new(config)?;
        let mounts = mounts::list()?;
        Ok(Findings {
            repository: borg.repository().to_owned(),
            local: borg.local().map(|dir| (dir.to_owned(), dir.is_dir())),
            no_way: borg.route().and_then(|way| way.rsh(false).err()).map(|e| message(&e)),
            no_qubes: missing_of_qubes(config),
            key_file: borg.key_file().to_owned(),
            key: key(borg.key_file()),
            passphrase: Borg::passphrase_source(),
            borg: Borg::version().map_err(|e| message(&e)),
            filesystems: config.filesystems_to_backup.iter().map(|path| filesystem(path, &mounts)).collect(),
            datasets: datasets(config).map_err(|e| message(&e)),
        })
    }

    fn text(&self, config: &Config) -> String {
        let mut lines = vec![format!("{} is good", config.name())];
        let mut tell = |name: &str, text: String| lines.push(format!("  {name:<12}{text}"));
        tell("repository", self.repository.clone());
        if let Some(connection) = connection(config) {
            tell("connection", connection);
        }
        tell("key", format!("{}{}", self.key_file.display(), self.key.remark()));
        tell("passphrase", self.passphrase.map_or("empty".into(), |name| format!("from {name}")));
        tell("borg", self.borg.clone().unwrap_or_else(|_| "not found".into()));
        tell_all(&mut tell, "directories", self.filesystems.iter().map(Filesystem::text));
        tell_all(&mut tell, "datasets", self.dataset_lines(config).into_iter());
        tell("excludes", format!("{} patterns", count(config.exclude_patterns.len() as u64)));
        tell(
            "caches",
            if config.exclude_caches { "left out (directories with a CACHEDIR.TAG)" } else { "backed up" }
                .into(),
        );
        tell("compression", config.compression.clone());
        tell("keeps", retention(config));
        tell("prunes", pruning(config));
        tell("archives", format!("named {}", archive_names(config)));
        if !config.earlier_host_names.is_empty() {
            tell("earlier", config.earlier_host_names.join(", "));
        }
        let warned = if config.fail_on_warnings { "exit code 3" } else { "exit code 0" };
        tell("warnings", format!("`create` ends with {warned}"));
        if config.hooks.all().next().is_some() {
            tell_all(&mut tell, "commands", config.hooks.all().map(|(key, hook)| hook_text(key, hook)));
        }
        lines.join("\n")
    }

    /// Each entry, and what it matches if that is not the entry itself.
    fn dataset_lines(&self, config: &Config) -> Vec<String> {
        let mut lines = Vec::new();
        for (i, wanted) in config.datasets_to_backup.iter().enumerate() {
            lines.push(dataset(wanted));
            let found = self.datasets.as_ref().ok().and_then(|found| found.get(i));
            if wanted.selection != Selection::Only {
                lines.extend(found.into_iter().flatten().map(|name| format!("  {name}")));
            }
        }
        lines
    }

    fn json(&self, config: &Config) -> Value {
        let filesystems = self.filesystems.iter().map(|f| {
            json!({
                "path": f.path.to_string_lossy(),
                "exists": f.exists,
                "mount_point": f.is_mount_point,
            })
        });
        let datasets = config.datasets_to_backup.iter().enumerate().map(|(i, d)| {
            json!({
                "matches": self.datasets.as_ref().ok().and_then(|found| found.get(i)),
                "name": d.name,
                "glob": d.selection == Selection::Glob,
                "recursive": d.selection == Selection::Recursive,
            })
        });
        // The values of all keys; some are replaced by what was found.
        let mut found = json!({
            "config": config.name(),
            "repository": self.repository,
            "repository_exists": self.local.as_ref().map(|(_, exists)| exists),
            "connection": connection(config),
            "key_file": self.key_file.to_string_lossy(),
            "key_file_exists": self.key != Key::Missing,
            "passphrase": self.passphrase,
            "borg": self.borg.as_ref().ok(),
            "filesystems_to_backup": filesystems.collect::<Vec<_>>(),
            "datasets_to_backup": datasets.collect::<Vec<_>>(),
            "exclude_patterns": config.exclude_patterns.len(),
            "commands": Map::from_iter(config.hooks.all().map(|(key, hook)| (key.to_owned(), hook_json(hook)))),
            "warnings": self.warnings(config),
        });
        if let Some(found) = found.as_object_mut() {
            for key in &KEYS {
                found.entry(key.name).or_insert_with(|| (key.value)(config));
            }
        }
        found
    }

    /// What would fail on this machine with a valid configuration.
    fn warnings(&self, config: &Config) -> Vec<String> {
        let mut warnings = Vec::new();
        warnings.extend(self.no_way.clone());
        if let [first, ..] = self.no_qubes[..] {
            let (missing, hint) = (self.no_qubes.join(", "), process::package_hint(first));
            warnings.push(format!("bridge_vm: there is no {missing}; {hint}"));
        }
        if let Err(why) = &self.borg {
            warnings.push(why.clone());
        }
        if let Some((dir, false)) = &self.local {
            warnings.push(format!(
                "there is no directory {}; `borg-offsite-backup init` creates it",
                dir.display()
            ));
        }
        if self.key == Key::Open {
            let key = self.key_file.display();
            warnings.push(format!("others on this machine can read the key: chmod 600 {key}"));
        }
        match &self.datasets {
            Err(why) => warnings.push(why.clone()),
            Ok(found) => {
                let unmatched =
                    config.datasets_to_backup.iter().zip(found).filter(|(_, found)| found.is_empty());
                warnings.extend(unmatched.map(|(wanted, _)| no_match(wanted)));
            }
        }
        for missing in self.filesystems.iter().filter(|f| !f.exists) {
            warnings.push(format!("there is no directory {}", missing.path.display()));
        }
        if let Err(nothing) = config.require_sources() {
            warnings.push(format!("{nothing}: `create` cannot work, restoring can"));
        }
        for (key, hook) in config.hooks.all().filter(|(_, hook)| !is_program(&hook.command[0])) {
            warnings.push(format!("{key}: there is no program {}", hook.command[0]));
        }
        if std::env::var_os("BORG_REPO").is_some_and(|repository| repository != *self.repository) {
            warnings.push("BORG_REPO is set, but ignored: the configuration names the repository".into());
        }
        warnings
    }
}

/// An error on one line, with the next step.
fn message(error: &Error) -> String {
    [error.chain()].into_iter().chain(error.hints().iter().cloned()).collect::<Vec<_>>().join("; ")
}

/// The missing programs that the bridge would start; none if BORG_RSH of the user replaces it.
fn missing_of_qubes(config: &Config) -> Vec<&'static str> {
    let has_rsh = std::env::var_os("BORG_RSH").is_some_and(|rsh| !rsh.is_empty());
    match config.bridge_vm {
        Some(_) if !has_rsh => qubes::PROGRAMS.into_iter().filter(|name| !is_program(name)).collect(),
        _ => Vec::new(),
    }
}

impl Key {
    fn remark(self) -> &'static str {
        match self {
            Key::Missing => " (not there)",
            Key::Private => "",
            Key::Open => " (others can read it)",
        }
    }
}

impl Filesystem {
    fn text(&self) -> String {
        let remark = match (self.exists, self.is_mount_point) {
            (false, _) => " (not there)",
            (true, true) => "",
            (true, false) => " (a directory, not a mount point)",
        };
        format!("{}{remark}", self.path.display())
    }
}

/// How the server is reached, if the repository is remote.
fn connection(config: &Config) -> Option<String> {
    config.backup_server.as_ref()?;
    if std::env::var_os("BORG_RSH").is_some_and(|rsh| !rsh.is_empty()) {
        return Some("by BORG_RSH, as it is".into());
    }
    Some(match (&config.bridge_vm, &config.ssh_from) {
        (Some(qube), Some(account)) => format!("ssh as {account} in the qube {qube}"),
        (Some(qube), None) => format!("ssh in the qube {qube}"),
        (None, Some(account)) => format!("ssh as {account}"),
        (None, None) => "ssh as this account".into(),
    })
}

fn tell_all(tell: &mut impl FnMut(&str, String), name: &str, texts: impl Iterator<Item = String>) {
    let mut name = name;
    for text in texts {
        tell(name, text);
        name = "";
    }
    if !name.is_empty() {
        tell(name, "none".into());
    }
}

fn key(file: &Path) -> Key {
    match std::fs::metadata(file) {
        Err(_) => Key::Missing,
        Ok(meta) if meta.mode() & 0o077 != 0 => Key::Open,
        Ok(_) => Key::Private,
    }
}

fn filesystem(path: &Path, mounts: &[Mount]) -> Filesystem {
    // Paths in the mount table contain no links.
    let real = std::fs::canonicalize(path);
    Filesystem {
        path: path.to_owned(),
        exists: real.is_ok(),
        is_mount_point: real.is_ok_and(|real| mounts.iter().any(|m| m.dir == real)),
    }
}

fn dataset(dataset: &Dataset) -> String {
    let selection = match dataset.selection {
        Selection::Only => "",
        Selection::Recursive => " and all below it",
        Selection::Glob => " (all whose names match)",
    };
    format!("{}{selection}", dataset.name)
}

/// What each entry of `datasets_to_backup` matches now.
fn datasets(config: &Config) -> Result<Vec<Vec<String>>> {
    if config.datasets_to_backup.is_empty() {
        return Ok(Vec::new());
    }
    let all = zfs::datasets()?;
    let names = |wanted: &Dataset| {
        let found = backup::matches(wanted, &all)?;
        Ok(found.into_iter().map(|dataset| dataset.name.clone()).collect())
    };
    config.datasets_to_backup.iter().map(names).collect()
}

fn no_match(wanted: &Dataset) -> String {
    match wanted.selection {
        Selection::Glob => format!("{} matches no dataset", wanted.name),
        _ => format!("there is no dataset {}: `create` would stop", wanted.name),
    }
}

fn hook_text(key: &str, hook: &Hook) -> String {
    let words = hook.command.iter().map(|word| shlex::try_quote(word).unwrap_or(word.into()));
    format!("{key}: {} (at most {} s)", words.collect::<Vec<_>>().join(" "), hook.deadline.as_secs())
}

fn hook_json(hook: &Hook) -> Value {
    json!({"command": hook.command, "deadline": hook.deadline.as_secs()})
}

fn archive_names(config: &Config) -> String {
    let suffix = config.archive_suffix.as_ref().map(|suffix| format!("-{suffix}"));
    format!("yyyy-mm-dd{}", suffix.unwrap_or_default())
}

fn retention(config: &Config) -> String {
    let rule = |number: i32, period: &str| match number {
        0 => None,
        n if n < 0 => Some(format!("all {period}")),
        n => Some(format!("{n} {period}")),
    };
    let rules = [
        rule(config.keep_daily, "daily"),
        rule(config.keep_weekly, "weekly"),
        rule(config.keep_monthly, "monthly"),
    ];
    format!("{} archives", rules.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

fn pruning(config: &Config) -> String {
    let Some(days) = &config.prune_on_days else { return "after each backup".into() };
    let days: Vec<String> = days.iter().map(u8::to_string).collect();
    format!("after a backup on these days of the month: {}", days.join(", "))
}
