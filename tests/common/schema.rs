//! What is printed as JSON, held against docs/json.schema.json.

use std::io::Write;
use std::process::{Command, Stdio};

const CHECK: &str = "
import json, sys, jsonschema
schema = json.load(open(sys.argv[1]))
schema['$ref'] = '#/$defs/' + sys.argv[2]
jsonschema.Draft202012Validator.check_schema(schema)
jsonschema.validate(json.load(sys.stdin), schema, jsonschema.Draft202012Validator)
";

/// `text` must be one JSON value, and as the schema has it for `command`. Debian's python has the module.
#[track_caller]
#[allow(clippy::disallowed_methods)]
pub fn assert_valid(command: &str, text: &str) -> serde_json::Value {
    let value = serde_json::from_str(text).unwrap_or_else(|e| panic!("{command}: {e}: {text}"));
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/json.schema.json");
    let mut python = Command::new("/usr/bin/python3")
        .args(["-c", CHECK, schema, command])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command}: {text}\n{said}\n(`scripts/setup.sh test` installs python3-jsonschema)"
    );
    value
}
