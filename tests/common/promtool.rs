//! promtool, which comes with Prometheus; `scripts/setup.sh test` puts it into `.tools`.

use std::ffi::OsStr;
use std::path::PathBuf;

use super::needs::left_out;
use super::program::Program;

/// `promtool ARGS… < input`, which must find nothing to complain about; whether there is a promtool.
pub fn is_content<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>, input: &[u8]) -> bool {
    let Some(program) = find() else {
        left_out("there is no promtool; `scripts/setup.sh test` gets it");
        return false;
    };
    Program::new(program).args(args).input(input).ok();
    true
}

fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let ours = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.tools"));
    std::iter::once(ours)
        .chain(std::env::split_paths(&path))
        .map(|dir| dir.join("promtool"))
        .find(|p| p.exists())
}
