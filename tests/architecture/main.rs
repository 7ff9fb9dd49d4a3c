//! Holds the code to the one way between the modules in src/lib.rs.

mod circles;

use std::path::{Path, PathBuf};

/// What every module above them may use.
const BASE: [&str; 8] =
    ["config", "process", "archive", "directories", "error", "escape", "progress", "secret"];

/// A module, and those besides [`BASE`] that it may use.
const ALLOWED: [(&str, &[&str]); 10] = [
    ("main", &["cli"]),
    ("cli", &["restore", "verify", "device", "mount", "backup", "listing", "archives", "tools"]),
    ("restore", &["archives", "tools"]),
    ("verify", &["archives", "tools"]),
    ("listing", &["tools"]),
    ("device", &["archives", "tools"]),
    ("mount", &["archives", "tools"]),
    ("backup", &["archives", "tools"]),
    ("archives", &["tools"]),
    ("tools", &[]),
];

/// The lowest modules, and what they may use.
const ALLOWED_BELOW: [(&str, &[&str]); 7] = [
    ("config", &["error", "escape", "secret"]),
    ("process", &["error", "secret"]),
    ("archive", &["error", "escape", "secret"]),
    ("directories", &["error"]),
    ("error", &[]),
    ("escape", &[]),
    ("progress", &[]),
];

/// Files with the code that stands before their comments and with the module they belong to.
struct Source {
    path: PathBuf,
    module: String,
    code: String,
}

fn sources() -> Vec<Source> {
    sources_in("src")
}

fn sources_in(dir: &str) -> Vec<Source> {
    let root = &Path::new(env!("CARGO_MANIFEST_DIR")).join(dir);
    let mut open = vec![root.to_owned()];
    let mut sources = Vec::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let code: Vec<&str> = text.lines().map(|l| l.split("//").next().unwrap()).collect();
        let path = path.strip_prefix(root).unwrap().to_owned();
        let module = path.with_extension("").iter().next().unwrap().to_str().unwrap().to_owned();
        sources.push(Source { path, module, code: code.join("\n") });
    }
    sources
}

/// The modules that `code` names after `crate::`, also in braces.
fn modules_in<'a>(code: &'a str, root: &str) -> Vec<&'a str> {
    let mut modules = Vec::new();
    for (at, _) in code.match_indices(root) {
        let rest = &code[at + root.len()..];
        match rest.strip_prefix('{') {
            Some(list) => modules.extend(top_level_names(list)),
            None => modules.extend(first_name(rest)),
        }
    }
    modules
}

fn first_name(text: &str) -> Option<&str> {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    (end > 0).then(|| &text[..end])
}

/// Of `a::b, c::{d, e}}` the names a and c.
fn top_level_names(list: &str) -> Vec<&str> {
    let mut depth = 0;
    let mut start = 0;
    let mut names = Vec::new();
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' | ',' if depth == 0 => {
                names.extend(first_name(list[start..at].trim_start()));
                if c == '}' {
                    break;
                }
                start = at + 1;
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    names
}

fn allowed(module: &str) -> Option<Vec<&'static str>> {
    let of = |table: &[(&str, &'static [&'static str])]| {
        table.iter().find(|(name, _)| *name == module).map(|(_, allowed)| *allowed)
    };
    let above = of(&ALLOWED).map(|allowed| [allowed, &BASE].concat());
    above.or_else(|| of(&ALLOWED_BELOW).map(<[_]>::to_vec))
}

#[test]
fn modules_use_only_those_below_them() {
    let mut wrong = Vec::new();
    for Source { path, module, code } in sources() {
        if module == "lib" {
            continue;
        }
        let allowed = allowed(&module).unwrap_or_else(|| panic!("{} is in no known module", path.display()));
        let root = if module == "main" { "borg_offsite_backup::" } else { "crate::" };
        for used in modules_in(&code, root) {
            if used != module && !allowed.contains(&used) {
                wrong.push(format!("{} uses {used}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn fusers_types_stay_in_the_file_systems_and_in_what_they_share() {
    let users: Vec<PathBuf> =
        sources().into_iter().filter(|s| s.code.contains("fuser::")).map(|s| s.path).collect();
    let at_home = [
        "tools/fuse/mounted.rs",
        "tools/fuse/answer.rs",
        "mount/fuse.rs",
        "backup/volumes.rs",
        "device/writable.rs",
    ]
    .map(PathBuf::from);
    let elsewhere: Vec<_> = users.iter().filter(|path| !at_home.contains(path)).collect();
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
}

#[test]
fn only_the_command_line_prints() {
    let prints = |s: &Source| ["print!", "println!"].iter().any(|word| s.code.contains(word));
    let elsewhere: Vec<_> =
        sources().into_iter().filter(|s| s.module != "cli" && prints(s)).map(|s| s.path).collect();
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
}

/// Cargo forbids the crate to use this package.
#[test]
fn the_reader_of_repositories_neither_prints_nor_starts_programs() {
    let words = ["print!", "println!", "process::"];
    let wrong: Vec<_> = sources_in("crates/borg-repository/src")
        .into_iter()
        .filter(|source| words.iter().any(|word| source.code.contains(word)))
        .map(|source| source.path)
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn modules_below_the_reader_of_repositories_do_not_name_it() {
    let below = ["tools", "config", "process", "directories"];
    let wrong: Vec<_> = sources()
        .into_iter()
        .filter(|source| source.code.contains("borg_repository") && below.contains(&&*source.module))
        .map(|source| source.path)
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn main_is_short() {
    let main = sources().into_iter().find(|s| s.module == "main").unwrap();
    assert!(main.code.lines().count() < 25);
}

#[test]
fn names_are_found_in_every_form_of_use() {
    let code = "use crate::{a, b::{c, d}, e::f};\nuse crate::g::h;\ncrate::i::j();";
    assert_eq!(modules_in(code, "crate::"), ["a", "b", "e", "g", "i"]);
}
