//! The configurations that the pages and contrib/samples show are good ones.

use std::path::Path;

use borg_offsite_backup::config::Config;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[track_caller]
fn assert_good(path: &Path, shown_in: &str) {
    if let Err(e) = Config::load(path) {
        panic!("{shown_in}: {}", e.chain());
    }
}

#[test]
fn the_samples_load() {
    for name in ["plain.conf", "qubes-dom0.conf"] {
        assert_good(&root().join("contrib/samples").join(name), name);
    }
}

#[test]
fn the_configurations_in_the_pages_load() {
    for page in ["README.md", "docs/server.md", "docs/qubes.md"] {
        let text = std::fs::read_to_string(root().join(page)).unwrap();
        let samples: Vec<&str> =
            text.split("```json\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
        assert!(!samples.is_empty(), "{page}");
        let dir = tempfile::tempdir().unwrap();
        for (n, sample) in samples.iter().enumerate() {
            let path = dir.path().join(format!("sample {n}"));
            std::fs::write(&path, sample).unwrap();
            assert_good(&path, sample);
        }
    }
}
