//! No circle among the files of a crate: whoever reads a file need not know those that use it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The files of a crate, by their modules: `a::b` of `src/a/b.rs`, `a` of `src/a/mod.rs`.
#[derive(Default)]
pub struct Files(BTreeMap<Vec<String>, String>);

type Module = Vec<String>;

impl Files {
    fn add(&mut self, path: &Path, code: &str) {
        let mut module: Module =
            path.with_extension("").iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        if module.last().is_some_and(|name| name == "mod") {
            module.pop();
        }
        let code = code.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        self.0.insert(module, code.to_owned());
    }

    /// The modules that `module` uses. That a module declares or re-exports its children is no use.
    fn used_by(&self, module: &[String]) -> BTreeSet<Module> {
        let code = without_reexports(&self.0[module]);
        let mut used: BTreeSet<Module> = BTreeSet::new();
        for (base, path) in paths_in(&code, module) {
            used.insert(self.defined_in(&[base, path].concat()));
        }
        for child in self.0.keys().filter(|m| m.len() == module.len() + 1 && m.starts_with(module)) {
            let name = format!("{}::", child.last().unwrap());
            let is_named = |(at, _): (usize, &str)| {
                !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
            };
            if code.match_indices(&name).any(is_named) {
                used.insert(child.clone());
            }
        }
        used.remove(module);
        used.retain(|module| self.0.contains_key(module));
        used
    }

    /// The module in which the end of `path` is written down.
    fn defined_in(&self, path: &[String]) -> Module {
        let length = (1..=path.len()).rev().find(|length| self.0.contains_key(&path[..*length]));
        let Some(length) = length else { return Vec::new() };
        let (module, rest) = path.split_at(length);
        let reexported = rest.first().and_then(|name| {
            let of = |code: &str| reexports(code, module);
            of(&self.0[module]).into_iter().find(|path| path.last() == Some(name))
        });
        match reexported {
            Some(path) if path != [module, rest].concat() => self.defined_in(&path),
            _ => module.to_vec(),
        }
    }

    /// Each set of files that use each other, be it by way of others.
    fn circles(&self) -> Vec<BTreeSet<String>> {
        let uses: BTreeMap<&Module, BTreeSet<Module>> =
            self.0.keys().map(|module| (module, self.used_by(module))).collect();
        let reached = |from: &Module| {
            let (mut reached, mut open) = (BTreeSet::new(), vec![from.clone()]);
            while let Some(next) = open.pop() {
                open.extend(uses[&next].iter().filter(|m| reached.insert((*m).clone())).cloned());
            }
            reached
        };
        let reached: BTreeMap<&Module, BTreeSet<Module>> =
            self.0.keys().map(|module| (module, reached(module))).collect();
        let with = |module: &Module| {
            let back = reached[module].iter().filter(|other| reached[*other].contains(module));
            back.map(|other| other.join("::")).collect::<BTreeSet<String>>()
        };
        let circles: BTreeSet<_> = self.0.keys().map(with).filter(|circle| !circle.is_empty()).collect();
        circles.into_iter().collect()
    }
}

/// Statements that only pass on what other files have.
fn statements<'a>(code: &'a str, start: &'a str) -> impl Iterator<Item = &'a str> {
    code.match_indices(start).map(|(at, _)| &code[at..at + code[at..].find(';').unwrap_or(0)])
}

fn without_reexports(code: &str) -> String {
    statements(code, "pub use ").fold(code.to_owned(), |code, statement| code.replace(statement, ""))
}

/// The whole paths of what `module` passes on.
fn reexports(code: &str, module: &[String]) -> Vec<Module> {
    let mut found = Vec::new();
    for statement in statements(code, "pub use ") {
        let tree = statement.trim_start_matches("pub use ");
        let paths = paths_in(tree, module);
        if paths.is_empty() {
            expand(tree, &mut Vec::new(), &mut |path| found.push([module, &path].concat()));
        }
        found.extend(paths.into_iter().map(|(base, path)| [base, path].concat()));
    }
    found
}

/// What `code` of `module` names by `crate::` and `super::`: the module from which, and the path from there.
fn paths_in(code: &str, module: &[String]) -> Vec<(Module, Module)> {
    let mut found = Vec::new();
    for root in ["crate::", "super::"] {
        for (at, _) in code.match_indices(root) {
            if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let (mut base, mut rest) = (module.to_vec(), &code[at..]);
            while let Some(after) = rest.strip_prefix("super::") {
                base.pop();
                rest = after;
            }
            if let Some(after) = rest.strip_prefix("crate::") {
                base.clear();
                rest = after;
            }
            expand(rest, &mut Vec::new(), &mut |path| found.push((base.clone(), path)));
        }
    }
    found
}

/// Gives each path of `a::{b, c::d}` to `each`; returns what follows.
fn expand<'a>(text: &'a str, before: &mut Module, each: &mut dyn FnMut(Module)) -> &'a str {
    let text = text.trim_start();
    if let Some(mut list) = text.strip_prefix('{') {
        loop {
            list = expand(list, before, each).trim_start();
            match list.strip_prefix(',').map(str::trim_start) {
                Some(more) if !more.starts_with('}') => list = more,
                Some(end) => return &end[1..],
                None => return list.strip_prefix('}').unwrap_or(list),
            }
        }
    }
    let Some(name) = super::first_name(text) else {
        each(before.clone());
        return text.strip_prefix('*').unwrap_or(text);
    };
    before.push(name.to_owned());
    let rest = match text[name.len()..].strip_prefix("::") {
        Some(more) => expand(more, before, each),
        None => {
            let path = if name == "self" { &before[..before.len() - 1] } else { &before[..] };
            each(path.to_vec());
            &text[name.len()..]
        }
    };
    before.pop();
    match rest.strip_prefix(" as ") {
        Some(alias) => &alias[super::first_name(alias).map_or(0, str::len)..],
        None => rest,
    }
}

fn circles_of(sources: &[super::Source]) -> Vec<BTreeSet<String>> {
    let mut files = Files::default();
    for source in sources.iter().filter(|source| source.module != "lib" && source.module != "main") {
        files.add(&source.path, &source.code);
    }
    let uses: usize = files.0.keys().map(|module| files.used_by(module).len()).sum();
    assert!(uses > 50, "uses are found");
    files.circles()
}

#[test]
fn no_circle_among_files() {
    let circles = circles_of(&super::sources());
    assert!(circles.is_empty(), "{circles:#?}");
}

#[test]
fn no_circle_among_files_of_the_reader_of_repositories() {
    let circles = circles_of(&super::sources_in("crates/borg-repository/src"));
    assert!(circles.is_empty(), "{circles:#?}");
}

#[test]
fn a_circle_is_found_by_every_way_of_using_a_file() {
    let circles = |files: &[(&str, &str)]| {
        let mut all = Files::default();
        files.iter().for_each(|(path, code)| all.add(&PathBuf::from(path), code));
        all.circles()
            .into_iter()
            .map(|circle| circle.into_iter().collect::<Vec<_>>().join(" "))
            .collect::<Vec<_>>()
    };
    let two =
        [("a/b.rs", "use super::c::{self, X};"), ("a/c.rs", "use crate::a::{d, b::Y as Z};"), ("a/d.rs", "")];
    assert_eq!(circles(&two), ["a::b a::c"]);
    let by_reexport =
        [("a/mod.rs", "mod b;\npub use b::X;"), ("a/b.rs", "crate::c::f()"), ("c.rs", "use crate::a::X;")];
    assert_eq!(circles(&by_reexport), ["a::b c"]);
    let with_parent = [("a/mod.rs", "mod b;\nuse b::X;\nstruct Y;"), ("a/b.rs", "use super::Y;")];
    assert_eq!(circles(&with_parent), ["a a::b"]);
    let declared = [("a/mod.rs", "mod b;\npub use b::X;\npub struct Y;"), ("a/b.rs", "use super::Y;")];
    assert!(circles(&declared).is_empty());
    let of_tests = [("a.rs", "use crate::b;"), ("b.rs", "#[cfg(test)]\nmod tests { use crate::a; }")];
    assert!(circles(&of_tests).is_empty());
}
