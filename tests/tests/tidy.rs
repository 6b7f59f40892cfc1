//! The house rules that a machine can check: layers, links, sizes, nothing left for later.

#![allow(clippy::expect_used, clippy::panic, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use umbra_testkit::paths::workspace;

/// Which crate of the workspace may use which, tests apart; docs/architecture.md says why. One way, no back and forth.
const LAYERS: &[(&str, &[&str])] = &[
    ("ir", &[]),
    ("proto", &[]),
    ("api", &["ir"]),
    ("istio", &["api", "ir"]),
    ("envoy", &["ir", "proto"]),
    ("xds", &["proto"]),
    ("engine", &["api", "envoy", "ir", "istio", "xds"]),
    ("source", &["api", "ir"]),
    ("server", &["api", "engine", "envoy", "ir", "istio", "proto", "source", "xds"]),
    ("testkit", &[]),
];

/// Crates that decide but do no input or output: no runtime, no sockets, no threads.
const PURE: &[&str] = &["api", "engine", "envoy", "ir", "istio", "xds"];

#[test]
fn crates_use_only_what_lies_below_them() {
    let out = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(workspace())
        .output()
        .expect("cargo runs");
    let metadata: serde_json::Value = serde_json::from_slice(&out.stdout).expect("JSON");
    let allowed: BTreeMap<_, BTreeSet<_>> =
        LAYERS.iter().map(|(c, uses)| (*c, uses.iter().copied().collect())).collect();
    let mut seen = BTreeSet::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let name = short(package["name"].as_str().expect("a name"));
        if name == "tests" {
            continue;
        }
        let all = package["dependencies"].as_array().expect("dependencies").iter();
        let normal = all.filter(|d| d["kind"].is_null()).filter_map(|d| d["name"].as_str());
        let (ours, others): (BTreeSet<_>, BTreeSet<_>) = normal.partition(|name| name.starts_with("umbra-"));
        let ours: BTreeSet<_> = ours.into_iter().map(short).collect();
        let may = allowed.get(name).unwrap_or_else(|| panic!("{name} is not in the table of layers"));
        assert!(ours.is_subset(may), "{name} may use {may:?}, and uses {ours:?}");
        if PURE.contains(&name) {
            let impure: Vec<_> =
                others.iter().filter(|d| ["tokio", "tonic", "axum", "hyper"].contains(d)).collect();
            assert!(impure.is_empty(), "{name} does no input or output, and uses {impure:?}");
        }
        seen.insert(name);
    }
    assert_eq!(
        seen,
        allowed.keys().copied().collect(),
        "the table of layers has exactly the crates that exist"
    );
}

fn short(package: &str) -> &str {
    package.strip_prefix("umbra-").unwrap_or(package)
}

/// Every file of the repository with one of these extensions.
fn files(extensions: &[&str]) -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, extensions: &[&str], found: &mut Vec<(PathBuf, String)>) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            if path.is_dir() {
                if !name.starts_with('.') && name != "target" && name != "node_modules" {
                    walk(&path, extensions, found);
                }
            } else if path.extension().and_then(|e| e.to_str()).is_some_and(|e| extensions.contains(&e)) {
                let text =
                    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
                found.push((path, text));
            }
        }
    }
    let mut found = Vec::new();
    walk(workspace(), extensions, &mut found);
    found
}

#[test]
fn no_source_file_is_a_book() {
    for (path, text) in files(&["rs"]) {
        let lines = text.lines().count();
        assert!(lines <= 600, "{}: {lines} lines; is it one room, or several?", path.display());
    }
}

#[test]
fn nothing_is_left_for_later() {
    // In pieces, so that this file does not find itself.
    let marks =
        [["TO", "DO"], ["FIX", "ME"], ["XX", "X"], ["#[ig", "nore"], ["todo", "!("], ["unimpl", "emented!("]];
    for (path, text) in files(&["rs", "py", "sh"]) {
        for mark in marks.map(|parts| parts.concat()) {
            assert!(!text.contains(&mark), "{}: {mark}", path.display());
        }
    }
}

#[test]
fn every_crate_says_what_it_owns() {
    for (name, _) in LAYERS {
        let path = workspace().join("crates").join(name).join("src/lib.rs");
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        for part in ["Owns", "Does not own", "Invariants", "Start reading at"] {
            assert!(text.contains(part), "{}: no {part:?}", path.display());
        }
    }
}

#[test]
fn links_between_pages_lead_somewhere() {
    for (path, text) in files(&["md"]) {
        let folder = path.parent().expect("a folder");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next()) {
            let target = link.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            assert!(folder.join(target).exists(), "{}: the link {link} leads nowhere", path.display());
        }
    }
}
