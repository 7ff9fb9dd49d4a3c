//! promtool, which comes with Prometheus; `scripts/setup.sh test` puts it into `.tools`.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// `promtool ARGS… < input`, which must find nothing to complain about; whether there is a promtool.
pub fn is_content<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>, input: &[u8]) -> bool {
    let Some(program) = find() else {
        assert!(std::env::var_os("CI").is_none(), "there is no promtool; `scripts/setup.sh test` gets it");
        eprintln!("left out: there is no promtool");
        return false;
    };
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), input).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
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
