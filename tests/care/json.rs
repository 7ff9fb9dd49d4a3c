//! What each command tells as JSON is as docs/json.md and its schema say.

use std::fs;

use serde_json::{Value, json};

use crate::common::schema::assert_valid;
use crate::common::{Machine, STAGING, bind, today};

fn machine() -> Machine {
    let mut machine = Machine::with_repository();
    machine.write("data/x", "content");
    machine.write("data/cache/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55");
    machine.list(&["data"]);
    machine
}

#[track_caller]
fn told(machine: &Machine, name: &str, args: &[&str]) -> Value {
    assert_valid(name, &machine.run(args).stdout())
}

#[test]
fn create_tells_what_it_made_skipped_or_failed_at() {
    let mut machine = machine();
    let file = machine.path("told");
    machine.set("on_success", json!(["sh", "-c", format!("cat > {}", file.display())]));
    let made = told(&machine, "create", &["create", "--json", "--", "--list"]);
    assert_eq!((&made["outcome"], &made["archive"]), (&json!("made"), &json!(today())));
    assert_eq!((&made["files"], &made["caches"], &made["exit_code"]), (&json!(2), &json!(1), &json!(0)));
    assert_eq!(made["repository"], json!(machine.repository()));
    let event = assert_valid("event", &fs::read_to_string(&file).unwrap());
    for (name, value) in made.as_object().unwrap().iter().filter(|(name, _)| *name != "pruned") {
        assert_eq!(&event[name], value, "a command around the backup is told the same {name}");
    }
    let skipped = told(&machine, "create", &["create", "--json", "--if-exists", "skip"]);
    assert_eq!(skipped["outcome"], "skipped");
    let failed = told(&machine, "create", &["create", "--json"]);
    assert_eq!((&failed["outcome"], &failed["exit_code"]), (&json!("failed"), &json!(1)));
    assert!(failed["error"].as_str().unwrap().contains("there is an archive"), "{failed}");
    assert!(!failed["hints"].as_array().unwrap().is_empty());
}

#[test]
fn telemetry_tells_what_the_metrics_do() {
    let machine = machine();
    let nothing = told(&machine, "telemetry", &["telemetry", "--json"]);
    assert_eq!((&nothing["archives"], &nothing["last_run"]), (&json!([]), &Value::Null));
    let made = told(&machine, "create", &["create", "--json"]);
    let known = told(&machine, "telemetry", &["telemetry", "--json"]);
    let archive = &known["archives"][0];
    for name in ["archive", "original_size", "compressed_size", "deduplicated_size", "files"] {
        assert_eq!(archive[name], made[name], "{name}");
    }
    assert_eq!(known["repository"], made["repository"]);
    assert_eq!(known["last_run"]["exit_code"], 0);
    assert_eq!(known["last_run"]["seconds"], made["seconds"]);
}

#[test]
fn cleanup_tells_what_it_removed() {
    let machine = machine();
    assert_eq!(told(&machine, "cleanup", &["cleanup", "--json"])["removed"], json!([]));
    let staged = format!("{STAGING}{}", machine.path("data").display());
    bind(&machine.path("data"), staged.as_ref());
    let removed = json!([{"kind": "stage", "name": staged, "error": null}]);
    let rehearsed = told(&machine, "cleanup", &["cleanup", "--json", "--dry-run"]);
    assert_eq!((&rehearsed["dry_run"], &rehearsed["removed"]), (&json!(true), &removed));
    assert_eq!(told(&machine, "cleanup", &["cleanup", "--json"])["removed"], removed);
}

#[test]
fn the_others_are_as_the_schema_says_too() {
    let machine = machine();
    machine.run(["create"]).succeeds();
    told(&machine, "check-config", &["check-config", "--json"]);
    assert_eq!(told(&machine, "attached", &["attached", "--json"]), json!([]));
    let to = machine.path("restored");
    let to = to.to_str().unwrap();
    let data = machine.path("data");
    let path = data.to_str().unwrap();
    let files =
        told(&machine, "restore", &["restore", "::latest", path, "--to", &format!("{to}/"), "--json"]);
    assert_eq!((&files["archive"], &files["restored"]["missing"]), (&json!(today()), &json!(0)));
    let file = format!("{path}/x");
    let image = machine.path("image");
    let image = image.to_str().unwrap();
    let bill = ["restore", "::latest", &file, "--to", image, "--dry-run", "--json"];
    assert!(told(&machine, "restore", &bill)["estimate"].is_object());
    let restored = told(&machine, "restore", &["restore", "::latest", &file, "--to", image, "--json"]);
    assert_eq!((&restored["path"], &restored["target"]), (&json!(file[1..]), &json!(image)));
    assert_eq!(told(&machine, "verify", &["verify", "::latest", "--json"])["right"], true);
    let against = ["verify", "::latest", &file, "--against", image, "--json"];
    assert_eq!(told(&machine, "verify", &against)["equal"], true);
    fs::write(image, "CONTENT").unwrap();
    assert_eq!(told(&machine, "verify", &against)["ranges"], json!([[0, 7]]));
}

#[test]
fn the_page_names_every_command_and_the_schema_describes_it() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/");
    let page = fs::read_to_string(format!("{root}json.md")).unwrap();
    let schema: Value =
        serde_json::from_slice(&fs::read(format!("{root}json.schema.json")).unwrap()).unwrap();
    let help = |args: &[&str]| Machine::isolated().run(args).stdout();
    let commands = help(&["--help"]);
    let commands =
        commands.split("Commands:").nth(1).unwrap().lines().skip(1).take_while(|line| line.starts_with("  "));
    let names: Vec<&str> = commands.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.contains(&"create"), "{names:?}");
    for name in names {
        let can = help(&[name, "--help"]).contains("--json");
        assert_eq!(page.contains(&format!("| `{name} --json` |")), can, "{name} in docs/json.md");
        assert_eq!(schema["$defs"].get(name).is_some(), can, "{name} in the schema");
    }
}
