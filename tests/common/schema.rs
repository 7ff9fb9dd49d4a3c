//! What is printed as JSON, held against docs/json.schema.json.

use super::program::Program;

const CHECK: &str = "
import json, sys, jsonschema
schema = json.load(open(sys.argv[1]))
schema['$ref'] = '#/$defs/' + sys.argv[2]
jsonschema.Draft202012Validator.check_schema(schema)
jsonschema.validate(json.load(sys.stdin), schema, jsonschema.Draft202012Validator)
";

/// `text` must be one JSON value, and as the schema has it for `command`. Debian's python has the module.
#[track_caller]
pub fn assert_valid(command: &str, text: &str) -> serde_json::Value {
    let value = serde_json::from_str(text).unwrap_or_else(|e| panic!("{command}: {e}: {text}"));
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/json.schema.json");
    let run = Program::new("/usr/bin/python3").args(["-c", CHECK, schema, command]).input(text).run();
    assert_eq!(
        run.code(),
        Some(0),
        "{command}: {text}\n{run}\n(`scripts/setup.sh test` installs python3-jsonschema)"
    );
    value
}
