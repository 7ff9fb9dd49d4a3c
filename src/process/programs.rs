//! Programs on PATH.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Whether `name` can be started. Searches PATH like the system does.
pub fn is_program(name: &str) -> bool {
    let executable =
        |path: &Path| std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.mode() & 0o111 != 0);
    if name.contains('/') {
        return executable(Path::new(name));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| executable(&dir.join(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_on_path_and_by_path() {
        assert!(is_program("sh") && is_program("/bin/sh"));
        assert!(!is_program("no-such-program") && !is_program("/etc/passwd") && !is_program("/bin"));
    }
}
