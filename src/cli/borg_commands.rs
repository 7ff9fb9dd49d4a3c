//! The commands that are borg's own.

/// The commands of borg 1.x, without those that we replace.
pub const BORG_COMMANDS: [&str; 23] = [
    "init",
    "list",
    "info",
    "extract",
    "delete",
    "rename",
    "prune",
    "compact",
    "check",
    "key",
    "config",
    "diff",
    "export-tar",
    "import-tar",
    "recreate",
    "break-lock",
    "benchmark",
    "debug",
    "serve",
    "upgrade",
    "with-lock",
    "change-passphrase",
    "help",
];
