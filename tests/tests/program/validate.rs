//! `umbra validate`.

use serde_json::Value;
use umbra_testkit::paths;
use umbra_tests::manifests::{all, istio, rules, to_v1, web};

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

/// A rule of `web` with a share that is none, in a file `rules.yaml` of a folder with a `web` of its own.
fn folder_with_a_mistake(root: &std::path::Path, name: &str) -> std::path::PathBuf {
    let folder = root.join(name);
    std::fs::create_dir(&folder).expect("a folder");
    let rule = to_v1("mirror: {host: web, subset: v2}\nmirrorPercentage: {value: 150}");
    for (file, content) in [("rules.yaml", rules("web", "web", &rule)), ("web.yaml", web())] {
        std::fs::write(folder.join(file), content).expect("a file");
    }
    folder
}

#[test]
fn people_see_the_line_and_what_helps() {
    let root = tempfile::tempdir().expect("a folder");
    let folder = folder_with_a_mistake(root.path(), "mesh");
    let out = umbra(&["validate", folder.to_str().expect("a path")], "");
    let shown = text(&out.stdout);
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[0].contains("rules.yaml:") && lines[0].ends_with("[InvalidPercentage]"), "{shown}");
    let marked = lines.iter().position(|line| line.ends_with("mirrorPercentage: {value: 150}"));
    let marked = marked.unwrap_or_else(|| panic!("no excerpt: {shown}"));
    let (line, mark) = (lines[marked], lines[marked + 1]);
    let column = mark.find("^^^").unwrap_or_else(|| panic!("no mark: {shown}"));
    assert_eq!(&line[column..], "value: 150}", "{shown}");
    assert!(lines[marked + 2].starts_with("  help: "), "{shown}");
    // The same from standard input.
    let piped = std::fs::read_to_string(folder.join("rules.yaml")).expect("the file");
    let shown = text(&umbra(&["validate", "-"], &piped).stdout);
    assert!(shown.contains("<stdin>:") && shown.contains("^^^"), "{shown}");
}

/// Each folder has a `web` of its own, and a file belongs to both.
#[test]
fn folders_are_worlds() {
    let root = tempfile::tempdir().expect("a folder");
    let [a, b] = ["a", "b"].map(|name| folder_with_a_mistake(root.path(), name));
    let shared = root.path().join("shared.yaml");
    std::fs::write(&shared, rules("shared", "elsewhere", &to_v1(""))).expect("a file");
    let paths = [&a, &b, &shared].map(|path| path.to_str().expect("a path"));
    let judge = |further: &[&str]| {
        let args: Vec<&str> = [&["validate", "-o", "json"], &paths[..], further].concat();
        let out = umbra(&args, "");
        serde_json::from_slice::<Value>(&out.stdout).expect("JSON")
    };
    let codes = |report: &Value| {
        let all = report["diagnostics"].as_array().expect("a list").iter();
        let all = all.filter(|d| d["severity"] != "info");
        let mut codes: Vec<_> = all.map(|d| d["code"].as_str().expect("a code").to_owned()).collect();
        codes.sort();
        codes
    };
    let apart = judge(&[]);
    // Said once: the file is the same in both.
    assert_eq!(codes(&apart), ["HostNotFound", "InvalidPercentage", "InvalidPercentage"], "{apart:#}");
    assert_eq!(apart["worlds"].as_array().map(Vec::len), Some(2));
    assert!(apart["worlds"][0]["errors"] == 1 && apart["worlds"][0]["files"] == 3, "{apart:#}");
    let together = judge(&["--together"]);
    assert!(codes(&together).contains(&"DuplicateObject".to_owned()), "{together:#}");
    assert_eq!(together["worlds"].as_array().map(Vec::len), Some(1));
}

#[test]
fn what_counts_as_failure_is_said() {
    let warning = all(&[web(), rules("web", "web", &to_v1("mirror: {host: nobody}"))]);
    let info =
        all(&[web(), rules("web", "web", &to_v1("mirror: {host: web, subset: v2}\nmirrorPercent: 5"))]);
    let error =
        all(&[web(), rules("web", "web", &to_v1("mirror: {host: web, subset: v2}\nmirrorPercent: 500"))]);
    for (input, expected) in [(&info, [0, 0, 1, 0]), (&warning, [0, 1, 1, 0]), (&error, [1, 1, 1, 0])] {
        for (on, code) in ["error", "warning", "info", "never"].into_iter().zip(expected) {
            let out = umbra(&["validate", "-", "--fail-on", on], input);
            assert_eq!(out.status.code(), Some(code), "{on}: {}", text(&out.stdout));
        }
    }
}

#[test]
fn tools_get_the_forms_that_they_read() {
    let root = tempfile::tempdir().expect("a folder");
    let folder = folder_with_a_mistake(root.path(), "my mesh");
    let form = |form: &str| {
        let out = umbra(&["validate", folder.to_str().expect("a path"), "-o", form], "");
        assert_eq!(out.status.code(), Some(1), "{form}");
        text(&out.stdout).to_owned()
    };
    let json: Value = serde_json::from_str(&form("json")).expect("JSON");
    let found = &json["diagnostics"][0];
    assert!(found["remedy"].as_str().is_some_and(|remedy| remedy.contains("0 to 100")), "{json:#}");
    let log: Value = serde_json::from_str(&form("sarif")).expect("JSON");
    assert_eq!(
        (&log["version"], &log["runs"][0]["tool"]["driver"]["name"]),
        (&"2.1.0".into(), &"umbra".into())
    );
    let result = &log["runs"][0]["results"][0];
    assert_eq!((&result["ruleId"], &result["level"]), (&"InvalidPercentage".into(), &"error".into()));
    let place = &result["locations"][0]["physicalLocation"];
    assert!(
        place["artifactLocation"]["uri"].as_str().is_some_and(|uri| uri.ends_with("my%20mesh/rules.yaml")),
        "{log:#}"
    );
    assert_eq!(
        (&place["region"]["startLine"], &place["region"]["startColumn"]),
        (&found["line"], &found["column"])
    );
    let github = form("github");
    assert!(github.starts_with("::error file=") && github.contains(",title=InvalidPercentage::"), "{github}");
}

/// Whatever is wrong with one object, the others are served and it alone is named; here with seven that are bad each in its
/// own way, patterns that want to be expensive among them.
#[test]
fn bad_objects_among_a_thousand() {
    const GOOD: usize = 1000;
    let host = |name: &str, http: &str| rules(name, &format!("{name}.example"), http);
    let matching = |uri: &str| to_v1(&format!("match: [{{uri: {{{uri}}}}}]"));
    let long = matching(&format!("regex: '{}'", "a".repeat(5000)));
    let bad = [
        ("header", "InvalidHeader", to_v1("headers: {request: {set: {'a b': c}}}")),
        ("long-pattern", "InvalidRegex", long),
        ("no-pattern", "InvalidRegex", matching("regex: '('")),
        ("no-status", "InvalidStatus", "- directResponse: {status: 7}\n".to_owned()),
        (
            "no-weight",
            "NoWeight",
            "- route: [{destination: {host: a}}, {destination: {host: b}}]\n".to_owned(),
        ),
        ("other-type", "WrongType", "- route: 7\n".to_owned()),
        ("vast-pattern", "InvalidRegex", matching("regex: '((a{100}){100}){100}'")),
    ];
    let mut objects = vec![web()];
    objects.extend((0..GOOD).map(|n| host(&format!("r{n}"), &to_v1(""))));
    objects.extend(bad.iter().map(|(name, _, http)| host(name, http)));
    let names: String = (0..GOOD).map(|n| format!("- r{n}.example\n")).collect();
    let spec = format!(
        "hosts:\n{names}resolution: STATIC\nports: [{{number: 80, name: http, protocol: HTTP}}]\nendpoints: [{{address: 127.0.0.1}}]\n"
    );
    objects.push(istio("ServiceEntry", "default", "all", &spec));
    let input = all(&objects);
    let (found, _) = diagnostics(&input);
    let errors = found.iter().filter(|d| d["severity"] == "error");
    let said: std::collections::BTreeSet<(&str, &str)> =
        errors.filter_map(|d| Some((d["object"]["name"].as_str()?, d["code"].as_str()?))).collect();
    for (name, code, _) in &bad {
        assert!(said.contains(&(*name, *code)), "{name}: {said:?}");
    }
    let blamed = |name: &str| bad.iter().any(|(bad, _, _)| *bad == name);
    assert!(said.iter().all(|(name, _)| blamed(name)), "{said:?}");
    let args = ["dump", "--dir", "-", "--proxy", "sidecar/default", "--type", "rds", "-o", "json"];
    let routes: Value = serde_json::from_slice(&umbra(&args, &input).stdout).expect("JSON");
    let tables = routes["routes"].as_array().into_iter().flatten();
    let hosts = tables.filter_map(|table| table["virtualHosts"].as_array()).flatten();
    let served = hosts.filter_map(|host| host["name"].as_str()).filter(|name| name.starts_with('r'));
    assert_eq!(served.count(), GOOD);
}
