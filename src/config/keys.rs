//! The table of all keys: how to read each of them, and its documentation.

use serde_json::{Value, json};

use super::hooks::{self, Hook};
use super::json::{self, JsonNode};
use super::model::{Config, Dataset, Selection};
use super::reader::Reader;

/// A key of the configuration.
pub struct Key {
    pub name: &'static str,
    pub group: Group,
    pub readers: Readers,
    /// In JSON; `None` if the key is not set by default.
    pub default: Option<&'static str>,
    /// The documentation, with Markdown's backticks and links.
    pub doc: &'static str,
    /// Puts the value into the configuration.
    pub(super) read: fn(&mut Reader, &JsonNode<'_>, &mut Config),
    /// The value in the form that the file can have.
    pub value: fn(&Config) -> Value,
}

/// A section of the documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    Repository,
    Sources,
    Archives,
    Retention,
    Commands,
}

/// Which commands read a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    Everyone,
    /// A mistake in it stops only `create`, and no command that restores.
    Create,
}

impl Group {
    pub const ALL: [Group; 5] =
        [Group::Repository, Group::Sources, Group::Archives, Group::Retention, Group::Commands];

    pub fn title(self) -> &'static str {
        match self {
            Group::Repository => "Where the repository is",
            Group::Sources => "What is backed up",
            Group::Archives => "How archives are made",
            Group::Retention => "How long archives are kept",
            Group::Commands => "Commands around a backup",
        }
    }

    pub fn keys(self) -> impl Iterator<Item = &'static Key> {
        KEYS.iter().filter(move |key| key.group == self)
    }
}

pub static KEYS: [Key; 26] = [
    Key {
        name: "backup_server",
        group: Group::Repository,
        readers: Readers::Everyone,
        default: None,
        doc: "The server, reached by ssh: `host`, `host:port`, `2001:db8::1` or `[2001:db8::1]:port`.",
        read: |reader, value, config| set_some(&mut config.backup_server, reader.server(value)),
        value: |config| json!(config.backup_server),
    },
    Key {
        name: "backup_user",
        group: Group::Repository,
        readers: Readers::Everyone,
        default: None,
        doc: "The account on the server.",
        read: |reader, value, config| set_some(&mut config.backup_user, reader.account(value)),
        value: |config| json!(config.backup_user),
    },
    Key {
        name: "backup_path",
        group: Group::Repository,
        readers: Readers::Everyone,
        default: None,
        doc: "The repository: a path on `backup_server`, or a directory on this machine if there is no `backup_server`. Required.",
        read: |reader, value, config| set(&mut config.backup_path, reader.repository(value)),
        value: |config| json!(config.backup_path),
    },
    Key {
        name: "remote_path",
        group: Group::Repository,
        readers: Readers::Everyone,
        default: None,
        doc: "The name or path of Borg on the server, such as `borg14`, if it is not `borg`. Borg's placeholders (`{borgmajor}`) are filled in. BORG_REMOTE_PATH takes precedence.",
        read: |reader, value, config| set_some(&mut config.remote_path, reader.text(value)),
        value: |config| json!(config.remote_path),
    },
    Key {
        name: "ssh_from",
        group: Group::Repository,
        readers: Readers::Everyone,
        default: None,
        doc: "The account whose ssh key, `known_hosts` and ssh configuration make the connection. Root can name any account.",
        read: |reader, value, config| set_some(&mut config.ssh_from, reader.account(value)),
        value: |config| json!(config.ssh_from),
    },
    Key {
        name: "bridge_vm",
        group: Group::Repository,
        readers: Readers::Everyone,
        default: None,
        doc: "Qubes OS: the qube that the connection goes through ([docs/qubes.md](qubes.md)). `ssh_from` is then an account in it.",
        read: |reader, value, config| set_some(&mut config.bridge_vm, reader.qube(value)),
        value: |config| json!(config.bridge_vm),
    },
    Key {
        name: "filesystems_to_backup",
        group: Group::Sources,
        readers: Readers::Create,
        default: Some("[]"),
        doc: "Absolute paths. Each is one file system: a file system mounted below it is backed up only if it is listed too.",
        read: |reader, value, config| set(&mut config.filesystems_to_backup, reader.filesystems(value)),
        value: |config| json!(config.filesystems_to_backup),
    },
    Key {
        name: "datasets_to_backup",
        group: Group::Sources,
        readers: Readers::Create,
        default: Some("[]"),
        doc: "ZFS datasets: a name, or `{\"name\": …, \"recursive\": true}`, or `{\"name\": …, \"glob\": true}`, where `*` also matches `/`. `check-config` lists what each entry matches now.",
        read: |reader, value, config| set(&mut config.datasets_to_backup, reader.datasets(value)),
        value: |config| config.datasets_to_backup.iter().map(dataset).collect(),
    },
    Key {
        name: "exclude_patterns",
        group: Group::Sources,
        readers: Readers::Create,
        default: Some("[]"),
        doc: "Patterns as `borg help patterns` describes them, for paths without the leading `/`.",
        read: |reader, value, config| set(&mut config.exclude_patterns, reader.patterns(value)),
        value: |config| json!(config.exclude_patterns),
    },
    Key {
        name: "exclude_caches",
        group: Group::Sources,
        readers: Readers::Create,
        default: Some("true"),
        doc: "`true`: of a directory with a `CACHEDIR.TAG`, only the directory and its tag are backed up. `create` counts such directories; `create -v` names them.",
        read: |reader, value, config| set(&mut config.exclude_caches, reader.boolean(value)),
        value: |config| json!(config.exclude_caches),
    },
    Key {
        name: "compression",
        group: Group::Archives,
        readers: Readers::Create,
        default: Some("\"auto,zstd\""),
        doc: "The compression, as `borg create --compression` takes it.",
        read: |reader, value, config| set(&mut config.compression, reader.compression(value)),
        value: |config| json!(config.compression),
    },
    Key {
        name: "archive_suffix",
        group: Group::Archives,
        readers: Readers::Everyone,
        default: None,
        doc: "Archives are named `yyyy-mm-dd-SUFFIX`, so that several machines or configurations can share a repository.",
        read: |reader, value, config| set_some(&mut config.archive_suffix, reader.suffix(value)),
        value: |config| json!(config.archive_suffix),
    },
    Key {
        name: "earlier_host_names",
        group: Group::Archives,
        readers: Readers::Everyone,
        default: Some("[]"),
        doc: "Archives without a mark that these hosts made belong to this machine, too; so do archives that bear the mark of one of these machines.",
        read: |reader, value, config| set(&mut config.earlier_host_names, reader.host_names(value)),
        value: |config| json!(config.earlier_host_names),
    },
    Key {
        name: "catalog_cache_mb",
        group: Group::Archives,
        readers: Readers::Everyone,
        default: None,
        doc: "The most space that lists of files take in the cache directory, in MB (10⁶ bytes); the least recently used go first. Without it a quarter of the free space, up to 8.6 GB. A list of 10 million files has about 1.4 GB, and one of the next day what changed. `0`: no lists are kept.",
        read: |reader, value, config| {
            set_some(&mut config.catalog_cache_mb, reader.integer(value, 0, "0 or more MB"))
        },
        value: |config| json!(config.catalog_cache_mb),
    },
    Key {
        name: "stall_limit",
        group: Group::Archives,
        readers: Readers::Create,
        default: Some("3600"),
        doc: "`create` stops a Borg that neither says nor does anything for this many seconds, for example because its server hangs, and fails. The backup as a whole has no time limit.",
        read: |reader, value, config| set(&mut config.stall_limit, reader.seconds(value)),
        value: |config| json!(config.stall_limit.as_secs()),
    },
    Key {
        name: "fail_on_warnings",
        group: Group::Archives,
        readers: Readers::Create,
        default: Some("false"),
        doc: "`true`: a backup with warnings exits with code 3.",
        read: |reader, value, config| set(&mut config.fail_on_warnings, reader.boolean(value)),
        value: |config| json!(config.fail_on_warnings),
    },
    Key {
        name: "keep_bookmarks",
        group: Group::Archives,
        readers: Readers::Create,
        default: Some("true"),
        doc: "`true`: each archive leaves a ZFS bookmark on each of its datasets. Without it, every volume is read from beginning to end each time.",
        read: |reader, value, config| set(&mut config.keep_bookmarks, reader.boolean(value)),
        value: |config| json!(config.keep_bookmarks),
    },
    Key {
        name: "keep_daily",
        group: Group::Retention,
        readers: Readers::Create,
        default: Some("7"),
        doc: "How many daily archives pruning keeps; -1 keeps all.",
        read: |reader, value, config| set(&mut config.keep_daily, reader.keep(value)),
        value: |config| json!(config.keep_daily),
    },
    Key {
        name: "keep_weekly",
        group: Group::Retention,
        readers: Readers::Create,
        default: Some("4"),
        doc: "How many weekly archives pruning keeps; -1 keeps all.",
        read: |reader, value, config| set(&mut config.keep_weekly, reader.keep(value)),
        value: |config| json!(config.keep_weekly),
    },
    Key {
        name: "keep_monthly",
        group: Group::Retention,
        readers: Readers::Create,
        default: Some("12"),
        doc: "How many monthly archives pruning keeps; -1 keeps all.",
        read: |reader, value, config| set(&mut config.keep_monthly, reader.keep(value)),
        value: |config| json!(config.keep_monthly),
    },
    Key {
        name: "prune_on_days",
        group: Group::Retention,
        readers: Readers::Create,
        default: None,
        doc: "Days of the month (1 to 31) on which `create` prunes. Without it, `create` always prunes.",
        read: |reader, value, config| set_some(&mut config.prune_on_days, reader.days(value)),
        value: |config| json!(config.prune_on_days),
    },
    Key {
        name: "compact_after_prune",
        group: Group::Retention,
        readers: Readers::Create,
        default: Some("false"),
        doc: "`true`: after pruning, `create` frees the space in the repository, as `compact` does.",
        read: |reader, value, config| set(&mut config.compact_after_prune, reader.boolean(value)),
        value: |config| json!(config.compact_after_prune),
    },
    Key {
        name: "before_backup",
        group: Group::Commands,
        readers: Readers::Create,
        default: None,
        doc: "Your command before a backup, such as a database dump. If it fails, nothing is backed up. A list `[\"program\", \"argument\", …]`, or `{\"command\": [ … ], \"deadline\": SECONDS}`. ([docs/client.md](client.md#8-commands-around-the-backup))",
        read: |reader, value, config| {
            set_some(&mut config.hooks.before_backup, reader.hook(value, hooks::LONG))
        },
        value: |config| hook(config.hooks.before_backup.as_ref()),
    },
    Key {
        name: "after_backup",
        group: Group::Commands,
        readers: Readers::Create,
        default: None,
        doc: "Your command after every backup, whatever its result. Written as `before_backup` is.",
        read: |reader, value, config| {
            set_some(&mut config.hooks.after_backup, reader.hook(value, hooks::SHORT))
        },
        value: |config| hook(config.hooks.after_backup.as_ref()),
    },
    Key {
        name: "on_success",
        group: Group::Commands,
        readers: Readers::Create,
        default: None,
        doc: "Your command after a backup that succeeded. Written as `before_backup` is.",
        read: |reader, value, config| {
            set_some(&mut config.hooks.on_success, reader.hook(value, hooks::SHORT))
        },
        value: |config| hook(config.hooks.on_success.as_ref()),
    },
    Key {
        name: "on_failure",
        group: Group::Commands,
        readers: Readers::Create,
        default: None,
        doc: "Your command after a backup that failed. Written as `before_backup` is.",
        read: |reader, value, config| {
            set_some(&mut config.hooks.on_failure, reader.hook(value, hooks::SHORT))
        },
        value: |config| hook(config.hooks.on_failure.as_ref()),
    },
];

/// The key of this name.
pub fn key(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// A configuration in which no key is set.
pub fn defaults() -> Config {
    let (mut config, mut reader) = (Config::default(), Reader::default());
    for key in &KEYS {
        if let Some(value) = key.default.and_then(|default| json::parse(default).ok()) {
            (key.read)(&mut reader, &value, &mut config);
        }
    }
    debug_assert!(reader.mistakes.is_empty());
    config
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

fn set_some<T>(field: &mut Option<T>, value: Option<T>) {
    set(field, value.map(Some));
}

fn dataset(dataset: &Dataset) -> Value {
    match dataset.selection {
        Selection::Only => json!(dataset.name),
        Selection::Recursive => json!({ "name": dataset.name, "recursive": true }),
        Selection::Glob => json!({ "name": dataset.name, "glob": true }),
    }
}

fn hook(hook: Option<&Hook>) -> Value {
    hook.map(|hook| json!({ "command": hook.command, "deadline": hook.deadline.as_secs() })).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_default_is_what_its_key_takes() {
        for key in &KEYS {
            let Some(default) = key.default else { continue };
            let (mut config, mut reader) = (Config::default(), Reader::default());
            (key.read)(&mut reader, &json::parse(default).unwrap(), &mut config);
            assert!(reader.mistakes.is_empty(), "{}: {:?}", key.name, reader.mistakes);
            assert_eq!((key.value)(&config).to_string(), default, "{}", key.name);
        }
    }

    #[test]
    fn each_key_stands_in_the_table_once() {
        for (at, key) in KEYS.iter().enumerate() {
            assert!(KEYS[..at].iter().all(|other| other.name != key.name), "{}", key.name);
            assert!(key.doc.ends_with(['.', ')']), "{}: {}", key.name, key.doc);
        }
    }
}
