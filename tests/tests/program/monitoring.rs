//! `deploy/monitoring`: the rules and the dashboard speak of metrics that exist, in words that Prometheus understands, and alarm for what they say.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use umbra_testkit::{gate, paths};

fn file(name: &str) -> PathBuf {
    paths::workspace().join("deploy/monitoring").join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(file(name)).expect("a file of deploy/monitoring")
}

/// What the dashboard asks for.
fn expressions() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&read("dashboard.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().expect("targets"));
    targets
        .map(|target| target["expr"].as_str().expect("an expression").replace("$namespace", ".*"))
        .collect()
}

/// The words of a text that begin so.
fn words<'t>(text: &'t str, start: &'t str) -> impl Iterator<Item = &'t str> {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    text.split(move |c| !part(c)).filter(move |word| word.starts_with(start))
}

#[test]
fn what_they_speak_of_exists() {
    let documented = std::fs::read_to_string(paths::workspace().join("docs/metrics.md")).expect("the page");
    let mut known: BTreeSet<_> = words(&documented, "umbra_").map(str::to_owned).collect();
    let rules = read("umbra.rules.yaml");
    known.extend(rules.lines().filter_map(|line| Some(line.trim().strip_prefix("- record: ")?.to_owned())));
    let used = [rules, expressions().join("\n")].join("\n");
    let used: BTreeSet<_> = words(&used, "umbra_").map(|name| name.trim_end_matches("_bucket")).collect();
    let unknown: Vec<_> = used.iter().filter(|name| !known.contains(**name)).collect();
    assert!(used.len() > 20 && unknown.is_empty(), "{unknown:?}");
}

#[test]
fn prometheus_understands_them_and_they_alarm() {
    let Ok(found) = Command::new("promtool").arg("--version").output() else {
        return gate::skip("Prometheus' rules: there is no promtool", "REQUIRE_PROMETHEUS");
    };
    assert!(found.status.success(), "{found:?}");
    let dashboard = tempfile::NamedTempFile::new().expect("a file");
    let rules: Vec<_> = expressions()
        .iter()
        .enumerate()
        .map(|(i, expr)| serde_json::json!({"record": format!("panel_{i}"), "expr": expr}))
        .collect();
    let groups = serde_json::json!({"groups": [{"name": "dashboard", "rules": rules}]});
    std::fs::write(dashboard.path(), groups.to_string()).expect("written");
    let check = |what: &str, file: &std::path::Path| {
        let out = Command::new("promtool").args([what, "rules"]).arg(file).output().expect("promtool");
        assert!(out.status.success(), "{}{}", super::text(&out.stdout), super::text(&out.stderr));
    };
    check("check", &file("umbra.rules.yaml"));
    check("check", &file("envoy.rules.yaml"));
    check("check", dashboard.path());
    check("test", &file("umbra.rules.test.yaml"));
}
