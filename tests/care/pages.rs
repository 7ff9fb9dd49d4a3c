//! What all pages must keep: links that lead somewhere, tests that exist, files that are really written.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{Machine, STAGING};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// README.md and its kind, and everything in docs.
fn pages() -> Vec<PathBuf> {
    let files = |dir: PathBuf| fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let all = files(root().to_owned()).chain(files(root().join("docs")));
    all.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

/// The files below `dir`, and `dir`'s directories themselves, relative to it.
fn found_below(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(path) = open.pop() {
        for entry in fs::read_dir(&path).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
            } else {
                found.push(entry.path().strip_prefix(dir).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found
}

/// `#setting-up-a-client` for `## Setting up a client`, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_link_in_a_page_leads_somewhere() {
    for page in pages() {
        let text = read(&page);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            let (file, section) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { page.with_file_name(file) };
            assert!(target.exists(), "{}: {link}", page.display());
            let is_there = || read(&target).lines().any(|l| l.starts_with('#') && anchor(l) == section);
            assert!(section.is_empty() || is_there(), "{}: {link}", page.display());
        }
    }
}

#[test]
fn every_test_that_the_semantics_name_exists() {
    let is_rust = |path: &String| path.ends_with(".rs");
    let code: Vec<String> = ["src", "tests"]
        .map(|dir| root().join(dir))
        .iter()
        .flat_map(|dir| found_below(dir).into_iter().filter(is_rust).map(|file| read(&dir.join(file))))
        .collect();
    let text = read(&root().join("docs/SEMANTICS.md"));
    let quoted = text.split('`').skip(1).step_by(2);
    let is_name = |word: &&str| word.matches('_').count() >= 3 && !word.contains([' ', '-']);
    let names: Vec<&str> = quoted.filter(is_name).collect();
    assert!(names.len() > 40, "{names:?}");
    for name in names {
        let declared = format!("fn {name}(");
        assert!(code.iter().any(|file| file.contains(&declared)), "there is no test {name}");
    }
    for statement in text.split("\n- ").skip(1).map(|rest| rest.split("\n#").next().unwrap()) {
        let is_linked = statement.contains("](FORMATS.md)");
        assert!(is_linked || statement.contains("`)"), "no test is named: {statement}");
    }
}

/// What the first column of the section names, as patterns: `telemetry-HASH.json` is `telemetry-*.json`.
fn listed(section: &str) -> Vec<glob::Pattern> {
    let text = read(&root().join("docs/FORMATS.md"));
    let rows = text.split(section).nth(1).unwrap().split("\n## ").next().unwrap();
    let cells = rows.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    let names = cells.flat_map(|cell| cell.split('`').step_by(2)).filter(|name| name.len() > 2);
    let is_variable = |c: char| c.is_ascii_uppercase() || ['…', '*'].contains(&c);
    let pattern = |name: &str| {
        let mut pattern: Vec<char> =
            name.replace("/xx/", "/*/").chars().map(|c| if is_variable(c) { '*' } else { c }).collect();
        pattern.dedup_by(|a, b| *a == '*' && *b == '*');
        glob::Pattern::new(&pattern.into_iter().collect::<String>()).unwrap()
    };
    names.map(pattern).collect()
}

#[test]
fn every_file_that_is_written_stands_in_the_page_of_formats() {
    let mut machine = Machine::with_repository();
    machine.write("data/letter", "dear");
    machine.list(&["data"]);
    machine.run(["create", "--telemetry-file", machine.path("x.prom").to_str().unwrap()]).succeeds();
    machine.run(["verify", "::latest", "--sample", "50%"]).succeeds();
    let point = machine.mount_point();
    machine.run(["mount", "::latest", point.to_str().unwrap()]).succeeds();
    let cache = found_below(&machine.path("home/.cache/borg-offsite-backup"));
    let state = found_below(Path::new(STAGING));
    machine.run(["umount", point.to_str().unwrap()]).succeeds();
    for (section, found, at_least) in [("## In CACHE", cache, 4), ("## In RUN", state, 2)] {
        assert!(found.len() >= at_least, "{section}: {found:?}");
        let listed = listed(section);
        for file in found {
            assert!(listed.iter().any(|pattern| pattern.matches(&file)), "{section} lacks {file}");
        }
    }
}
