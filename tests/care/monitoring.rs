//! contrib/monitoring: what it asks for is what is written.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::common::{Machine, promtool};
use crate::contrib;

/// The names of all metrics that a backup writes.
fn metrics() -> BTreeSet<String> {
    let mut machine = Machine::with_repository();
    machine.write("data/x", "content");
    machine.list(&["data"]);
    machine.run(["create"]).succeeds();
    let text = machine.run(["telemetry", "--telemetry-file", "-"]).succeeds().stdout();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" gauge"));
    types.map(str::to_owned).collect()
}

/// The words in `expression` that begin as our metrics do.
fn named(expression: &str) -> impl Iterator<Item = &str> {
    let words = expression.split(|c: char| !c.is_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("borg_"))
}

fn dashboard() -> Value {
    serde_json::from_slice(&std::fs::read(contrib("monitoring/dashboard.json")).unwrap()).unwrap()
}

/// Every string under a key of this name.
fn strings<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get(key).and_then(Value::as_str));
            members.values().for_each(|member| strings(member, key, found));
        }
        Value::Array(items) => items.iter().for_each(|item| strings(item, key, found)),
        _ => {}
    }
}

#[test]
fn the_alerts_fire_when_they_should_and_not_before() {
    promtool::is_content(["check", "rules", contrib("monitoring/alerts.yml").to_str().unwrap()], b"");
    let tests = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/care/alerts.test.yml");
    promtool::is_content(["test", "rules", tests], b"");
}

#[test]
fn alerts_and_dashboard_name_only_metrics_that_there_are() {
    let metrics = metrics();
    let alerts = std::fs::read_to_string(contrib("monitoring/alerts.yml")).unwrap();
    let (dashboard, mut asked) = (dashboard(), Vec::new());
    strings(&dashboard, "expr", &mut asked);
    strings(&dashboard, "query", &mut asked);
    assert!(asked.len() > 8, "{asked:?}");
    for name in asked.into_iter().flat_map(named).chain(named(&alerts)) {
        assert!(metrics.contains(name), "there is no metric {name}");
    }
}

#[test]
fn the_dashboard_asks_in_good_promql() {
    let (dashboard, mut asked) = (dashboard(), Vec::new());
    strings(&dashboard, "expr", &mut asked);
    let rules = asked.iter().enumerate().map(|(i, expr)| format!("\n  - record: r{i}\n    expr: {expr:?}"));
    let rules = format!("groups:\n- name: dashboard\n  rules:{}\n", rules.collect::<String>());
    let file = tempfile::Builder::new().suffix(".yml").tempfile().unwrap();
    std::fs::write(file.path(), rules).unwrap();
    promtool::is_content(["check", "rules", file.path().to_str().unwrap()], b"");
    let ids: BTreeSet<_> = dashboard["panels"].as_array().unwrap().iter().map(|p| p["id"].as_u64()).collect();
    assert_eq!(
        ids.len(),
        dashboard["panels"].as_array().unwrap().len(),
        "each panel has a number of its own"
    );
}
