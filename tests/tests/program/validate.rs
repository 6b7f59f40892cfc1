//! `umbra validate`.

use serde_json::Value;
use umbra_testkit::paths;
use umbra_tests::manifests::{all, rules, to_v1, web};

use super::{text, umbra};

/// The diagnostics for this text, and the exit code.
fn diagnostics(input: &str) -> (Vec<Value>, Option<i32>) {
    let out = umbra(&["validate", "-", "-o", "json"], input);
    let report: Value =
        serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {}", text(&out.stdout)));
    (report["diagnostics"].as_array().expect("a list").clone(), out.status.code())
}

#[test]
fn the_examples_have_no_errors() {
    for example in
        ["httpbin-mirror", "istio-task", "two-rules-on-one-gateway", "canary", "cross-cluster-mirror"]
    {
        let out = umbra(&["validate", paths::example(example).to_str().expect("a path")], "");
        assert!(out.status.success(), "{example}: {}{}", text(&out.stdout), text(&out.stderr));
    }
}

#[test]
fn good_rules_say_nothing() {
    let input = all(&[web(), rules("web", "web", &to_v1("mirror: {host: web, subset: v2}"))]);
    assert_eq!(diagnostics(&input), (Vec::new(), Some(0)));
}

/// What is wrong with a rule of `web`: severity, the field, and a word of the message.
#[test]
fn each_mistake_names_its_object_and_field() {
    for (rule, severity, field, word) in [
        (
            "mirror: {host: web, subset: v2}\nmirrorPercentage: {value: 150}",
            "error",
            "mirrorPercentage",
            "150",
        ),
        ("mirror: {host: web, subset: v2}\nmirrorPercentage: {value: -1}", "error", "mirrorPercentage", "-1"),
        (
            "mirror: {host: web, subset: v2}\nmirrorPercentage: {value: 0.00001}",
            "error",
            "mirrorPercentage",
            "",
        ),
        ("mirror: {host: web, subset: v2}\nmirrorPercent: 101", "error", "mirrorPercent", "101"),
        ("mirror: {host: web, subset: v9}", "warning", "mirror", "v9"),
        ("mirror: {host: nobody}", "warning", "mirror", "nobody"),
        ("mirorr: {host: web}", "warning", "mirorr", "mirror"),
        ("fault: {abort: {httpStatus: 999, percentage: {value: 1}}}", "error", "fault", "answers 503"),
    ] {
        let (found, code) = diagnostics(&all(&[web(), rules("web", "web", &to_v1(rule))]));
        let hit = found.iter().find(|d| d["field"].as_str().is_some_and(|f| f.contains(field)));
        let hit = hit.unwrap_or_else(|| panic!("{rule}: nothing about {field} in {found:#?}"));
        assert!(severity.is_empty() || hit["severity"] == severity, "{rule}: {hit:#}");
        assert!(hit["message"].as_str().is_some_and(|m| m.contains(word)), "{rule}: {hit:#}");
        assert_eq!(hit["object"]["kind"], "VirtualService", "{rule}: {hit:#}");
        assert_eq!((&hit["object"]["namespace"], &hit["object"]["name"]), (&"default".into(), &"web".into()));
        assert!(hit["code"].is_string(), "{rule}: {hit:#}");
        let is_error = found.iter().any(|d| d["severity"] == "error");
        assert_eq!(code, Some(i32::from(is_error)), "{rule}: {found:#?}");
    }
}

#[test]
fn all_mistakes_are_named_with_file_and_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let rule = |percent: u32| to_v1(&format!("mirror: {{host: web, subset: v2}}\nmirrorPercent: {percent}"));
    let both = all(&[rules("a", "a", &rule(200)), rules("b", "b", &rule(300))]);
    for (name, content) in [("one.yaml", both.as_str()), ("two.yaml", "kind: [\n"), ("web.yaml", &web())] {
        std::fs::write(folder.path().join(name), content).expect("a file");
    }
    let out = umbra(&["validate", folder.path().to_str().expect("a path"), "-o", "json"], "");
    assert_eq!(out.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&out.stdout).expect("JSON");
    let errors: Vec<_> = report["diagnostics"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|d| d["severity"] == "error")
        .collect();
    for (file, word) in [("one.yaml", "200"), ("one.yaml", "300"), ("two.yaml", "")] {
        let hit = errors.iter().find(|d| {
            d["file"].as_str().is_some_and(|f| f.ends_with(file))
                && d["message"].as_str().is_some_and(|m| m.contains(word))
        });
        let hit = hit.unwrap_or_else(|| panic!("{file} {word}: {report:#}"));
        assert!(hit["line"].as_u64().is_some_and(|line| line > 0), "{hit:#}");
    }
    let plain = umbra(&["validate", folder.path().to_str().expect("a path")], "");
    assert_eq!(plain.status.code(), Some(1));
    assert!(text(&plain.stdout).contains("one.yaml"), "{}", text(&plain.stdout));
}
