//! SARIF 2.1.0, the form in which code scanners take findings
//! (<https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html>).

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use umbra_ir::{Code, Diagnostic, Severity};

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// A log of one run: the codes that occur as its rules, the diagnostics as its results.
pub(super) fn log(all: &[Diagnostic]) -> Value {
    let mut used: Vec<Code> = all.iter().map(|diagnostic| diagnostic.code).collect();
    used.sort();
    used.dedup();
    let rules: Vec<Value> = used.iter().copied().map(rule).collect();
    let indexes: BTreeMap<Code, usize> =
        used.iter().copied().enumerate().map(|(i, code)| (code, i)).collect();
    let results: Vec<Value> = all.iter().map(|diagnostic| result(diagnostic, &indexes)).collect();
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {"name": "umbra", "version": env!("CARGO_PKG_VERSION"), "rules": rules}},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

/// `reportingDescriptor`.
fn rule(code: Code) -> Value {
    json!({
        "id": code.as_str(),
        "name": code.as_str(),
        "shortDescription": {"text": code.facts().meaning},
        "help": {"text": code.remedy()},
        "defaultConfiguration": {"level": level(code.facts().severity)},
    })
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "note",
    }
}

fn result(diagnostic: &Diagnostic, indexes: &BTreeMap<Code, usize>) -> Value {
    let Diagnostic { severity, code, object, field, message, file, line, column, .. } = diagnostic;
    let mut location = serde_json::Map::new();
    if let Some(file) = file {
        let mut physical = json!({"artifactLocation": {"uri": uri(file)}});
        if let Some(line) = line {
            physical["region"] = json!({"startLine": line, "startColumn": column.unwrap_or(1)});
        }
        location.insert("physicalLocation".to_owned(), physical);
    }
    if let Some(object) = object {
        let name = if field.is_empty() { object.to_string() } else { format!("{object} {field}") };
        location
            .insert("logicalLocations".to_owned(), json!([{"fullyQualifiedName": name, "kind": "object"}]));
    }
    let locations: Vec<Value> = if location.is_empty() { Vec::new() } else { vec![Value::Object(location)] };
    json!({
        "ruleId": code.as_str(),
        "ruleIndex": indexes.get(code),
        "level": level(*severity),
        "message": {"text": format!("{message}. {}", code.remedy())},
        "locations": locations,
    })
}

/// A path as a reference: a relative one stays relative, as scanners want it.
fn uri(path: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
    let escape = |b: u8| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") };
    let escaped: String = path.trim_start_matches("./").bytes().map(escape).collect();
    if Path::new(path).is_absolute() { format!("file://{escaped}") } else { escaped }
}

#[cfg(test)]
mod tests {
    use umbra_ir::{Kind, ObjectId};

    use super::*;

    #[test]
    fn the_log_has_what_the_schema_requires() {
        let id = ObjectId::new(Kind::VirtualService, "default", "a");
        let placed = Diagnostic {
            file: Some("./my mesh/ä.yaml".into()),
            line: Some(3),
            ..Diagnostic::new(Code::UnknownField, &id, "spec.x", "is odd")
        };
        let bare = Diagnostic { file: None, line: None, object: None, ..placed.clone() };
        let log = log(&[placed, bare, Diagnostic::new(Code::InvalidPort, &id, "", "is none")]);
        assert_eq!(log["version"], "2.1.0");
        let run = &log["runs"][0];
        assert_eq!(run["tool"]["driver"]["name"], "umbra");
        let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
        let ids: Vec<_> = rules.iter().map(|rule| rule["id"].as_str().unwrap()).collect();
        assert_eq!(ids, ["InvalidPort", "UnknownField"]);
        let results = run["results"].as_array().unwrap();
        assert_eq!(results.len(), 3);
        for result in results {
            let rule = &rules[result["ruleIndex"].as_u64().unwrap() as usize];
            assert_eq!(result["ruleId"], rule["id"]);
            assert!(["error", "warning", "note"].contains(&result["level"].as_str().unwrap()));
            assert!(result["message"]["text"].as_str().is_some_and(|text| !text.is_empty()));
            assert!(result["locations"].is_array());
        }
        let place = &results[0]["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "my%20mesh/%C3%A4.yaml");
        assert_eq!(place["region"], json!({"startLine": 3, "startColumn": 1}));
        assert_eq!(results[1]["locations"], json!([]));
        assert_eq!(uri("/a/b.yaml"), "file:///a/b.yaml");
    }
}
