//! The documentation of the configuration's keys, made from their table.

use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use crate::config::keys::{Group, Key, Readers};

const INTRODUCTION: &str = "The configuration of borg-offsite-backup(1) is one JSON object. Only backup_path is required. \
    A key that is null is as if it were not there. `borg-offsite-backup check-config` shows mistakes with their line and \
    column, and what the configuration means on this machine.";
const EXAMPLE: &str = r#"{
    "backup_server": "backup.example.org",
    "backup_user": "backup_of_this_machine",
    "backup_path": "/var/backups/backup_of_this_machine/backup",
    "filesystems_to_backup": ["/", "/boot"],
    "exclude_patterns": ["fm:*/.cache", "tmp/*"]
}"#;
const CREATE_ONLY: &str = "Only `create` reads it.";

/// A Markdown table for each group of keys.
pub fn markdown() -> String {
    Group::ALL.map(markdown_table).join("\n")
}

fn markdown_table(group: Group) -> String {
    let mut text = format!("## {}\n\n| key | default | meaning |\n|---|---|---|\n", group.title());
    for key in group.keys() {
        let default = key.default.map(|default| format!("`{default}`")).unwrap_or_default();
        let doc = key.doc.replace('|', "\\|");
        text.push_str(&format!("| `{}` | {default} | {doc} |\n", key.name));
    }
    text
}

/// borg-offsite-backup.conf(5)
pub fn man() -> Roff {
    let mut page = Roff::new();
    page.control("TH", ["borg-offsite-backup.conf", "5"]);
    page.control("SH", ["NAME"]);
    page.text([roman("borg-offsite-backup.conf - what borg-offsite-backup backs up, and where to")]);
    page.control("SH", ["SYNOPSIS"]).text([roman("/etc/borg-offsite-backup.conf")]);
    page.control("SH", ["DESCRIPTION"]).text(inlines(INTRODUCTION));
    for group in Group::ALL {
        page.control("SH", [group.title().to_uppercase().as_str()]);
        group.keys().for_each(|key| entry(&mut page, key));
    }
    page.control("SH", ["EXAMPLE"]).control("nf", []).text([roman(EXAMPLE)]).control("fi", []);
    page.control("SH", ["SEE ALSO"]).text([
        bold("borg-offsite-backup"),
        roman("(1), "),
        bold("borg"),
        roman("(1)"),
    ]);
    page
}

fn entry(page: &mut Roff, key: &Key) {
    page.control("TP", []).text([bold(key.name)]).text(inlines(&without_links(key.doc)));
    let default = key.default.map(|default| format!("Default: `{default}`."));
    let readers = (key.readers == Readers::Create).then(|| CREATE_ONLY.to_owned());
    let notes: Vec<String> = default.into_iter().chain(readers).collect();
    if !notes.is_empty() {
        page.text(inlines(&notes.join(" ")));
    }
}

/// Text between backticks is literal.
fn inlines(text: &str) -> Vec<Inline> {
    let parts = text.split('`').enumerate();
    parts.map(|(at, part)| if at % 2 == 1 { italic(part) } else { roman(part) }).collect()
}

/// Replaces links of Markdown by their texts.
fn without_links(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("](") {
        let (before, label) = before.rsplit_once('[').unwrap_or((before, ""));
        plain.push_str(before);
        plain.push_str(label);
        rest = after.split_once(')').map_or("", |(_, rest)| rest);
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::KEYS;

    #[test]
    fn both_pages_have_every_key() {
        let (markdown, man) = (markdown(), man().to_roff());
        for key in &KEYS {
            assert!(markdown.contains(&format!("| `{}` |", key.name)), "{}", key.name);
            assert!(man.contains(&format!("\n\\fB{}\\fR\n", key.name)), "{}: {man}", key.name);
        }
    }

    #[test]
    fn a_link_becomes_its_text() {
        assert_eq!(without_links("see ([docs/a.md](a.md#b)) [c"), "see (docs/a.md) [c");
        assert_eq!(without_links("[1, 2] and [x](y)"), "[1, 2] and x");
    }
}
