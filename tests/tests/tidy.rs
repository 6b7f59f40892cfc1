//! The house rules that a machine can check: layers, links, sizes, nothing left for later.

#![allow(clippy::expect_used, clippy::panic, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use umbra_ir::Code;
use umbra_testkit::paths::workspace;

/// Which crate of the workspace may use which, tests apart; docs/architecture.md says why. One way, no back and forth.
const LAYERS: &[(&str, &[&str])] = &[
    ("ir", &[]),
    ("proto", &[]),
    ("api", &["ir"]),
    ("mesh", &["ir"]),
    ("core", &["api", "inject", "ir", "mesh"]),
    ("istio", &["api", "ir", "mesh"]),
    ("envoy", &["ir", "proto"]),
    ("inject", &[]),
    ("explain", &["proto"]),
    ("judge", &[]),
    ("xds", &["proto"]),
    ("engine", &["api", "core", "envoy", "ir", "istio", "mesh", "xds"]),
    ("source", &["api", "ir"]),
    ("load", &["proto"]),
    (
        "server",
        &["api", "engine", "envoy", "explain", "inject", "ir", "istio", "judge", "proto", "source", "xds"],
    ),
    ("testkit", &[]),
];

/// Crates that decide but do no input or output: no runtime, no sockets, no threads.
const PURE: &[&str] = &["api", "engine", "envoy", "explain", "inject", "ir", "istio", "judge", "mesh", "xds"];

/// Where tasks and threads are started outside `supervise.rs`, how often, and why nobody need notice when they end.
const STARTS: &[(&str, usize, &str)] = &[
    ("server/src/ads/mod.rs", 1, "a stream: its client's own"),
    ("server/src/ads/responses.rs", 1, "a share of a budget, given back after half a second at the latest"),
    ("server/src/api/grpc.rs", 1, "a watch: its caller's own"),
    ("server/src/apply.rs", 1, "a program, and the verb that starts it waits for its end"),
    ("server/src/listen.rs", 1, "a connection: its client's own"),
    ("server/src/serve.rs", 1, "what looks after all others; `main` waits for it"),
    ("source/src/kubernetes/kept/store.rs", 1, "a thread that opens a file, and who opens waits for it"),
    ("source/src/kubernetes/secrets.rs", 1, "one watch of a Secret, which ends with the collector"),
    ("source/src/work.rs", 2, "for tests"),
];

/// The workspace's packages, as cargo sees them.
fn packages() -> Vec<serde_json::Value> {
    let out = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(workspace())
        .output()
        .expect("cargo runs");
    let metadata: serde_json::Value = serde_json::from_slice(&out.stdout).expect("JSON");
    metadata["packages"].as_array().expect("packages").clone()
}

#[test]
fn crates_use_only_what_lies_below_them() {
    let allowed: BTreeMap<_, BTreeSet<_>> =
        LAYERS.iter().map(|(c, uses)| (*c, uses.iter().copied().collect())).collect();
    let mut seen = BTreeSet::new();
    let packages = packages();
    for package in &packages {
        let name = short(package["name"].as_str().expect("a name"));
        if ["fuzz", "tests"].contains(&name) {
            continue;
        }
        let all = package["dependencies"].as_array().expect("dependencies").iter();
        // What only tests use is theirs to choose.
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

/// The first column of a page's tables to the rest of each row, below a heading; code marks taken off.
fn rows(page: &str, heading: &str) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(workspace().join(page)).unwrap_or_else(|e| panic!("{page}: {e}"));
    let start = text.find(heading).unwrap_or_else(|| panic!("{page} has no {heading:?}"));
    let rows = text[start..].lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split_once("` | "))
        .map(|(first, rest)| (first.to_owned(), rest.trim_end_matches(" |").to_owned()))
        .collect()
}

/// The modules at the top of a crate that each of them names, tests apart.
fn uses(crate_name: &str) -> BTreeMap<String, BTreeSet<String>> {
    let root = workspace().join("crates").join(crate_name).join("src");
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, text) in files(&["rs"]) {
        let Ok(inside) = path.strip_prefix(&root) else { continue };
        let Some(first) = inside.iter().next().and_then(|part| part.to_str()) else { continue };
        let module = first.trim_end_matches(".rs").to_owned();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        let code: String = lines.flat_map(|line| [line, "\n"]).collect();
        let words = |text: &str| -> Vec<String> {
            let word = |part: &str| part.split("::").next().unwrap_or_default().trim().to_owned();
            match text.strip_prefix('{').and_then(|list| list.split_once("};")) {
                Some((list, _)) => list.split(',').map(word).collect(),
                None => vec![text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()],
            }
        };
        let named = code.split("crate::").skip(1).flat_map(words).filter(|name| *name != module);
        uses.entry(module.clone()).or_default().extend(named);
    }
    uses
}

#[test]
fn modules_do_not_need_each_other() {
    for (name, _) in LAYERS {
        let mut left = uses(name);
        loop {
            // Whoever needs nobody who is left is in no circle.
            let names: BTreeSet<String> = left.keys().cloned().collect();
            let free =
                left.iter().filter(|(_, needs)| needs.is_disjoint(&names)).map(|(name, _)| name.clone());
            let free: Vec<String> = free.collect();
            if free.is_empty() {
                break;
            }
            free.iter().for_each(|name| drop(left.remove(name)));
        }
        assert!(left.is_empty(), "{name}: these modules need each other, or some of them do: {left:?}");
    }
}

/// What CI builds with and what the image is built by.
#[test]
fn the_toolchain_is_one() {
    let read = |name: &str| std::fs::read_to_string(workspace().join(name)).expect(name);
    let toolchain = read("rust-toolchain.toml");
    let channel = toolchain.lines().find_map(|line| line.strip_prefix("channel = ")).expect("a channel");
    let minor = channel.trim_matches('"').rsplit_once('.').expect("three numbers").0;
    assert!(
        read("Dockerfile").contains(&format!("/rust:{minor}-")),
        "Dockerfile: another Rust than {channel}"
    );
}

/// docs/runtime.md lists what runs: something that starts elsewhere would be missing there, and might die in silence.
#[test]
fn what_runs_is_looked_after() {
    let crates = workspace().join("crates");
    let mut real: BTreeMap<String, usize> = BTreeMap::new();
    for (path, text) in files(&["rs"]) {
        let Ok(name) = path.strip_prefix(&crates) else { continue };
        let name = name.to_string_lossy().into_owned();
        let of_tests = ["testkit/", "load/"].iter().any(|part| name.starts_with(part))
            || name.contains("tests")
            || name.contains("supervise.rs");
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let count = code.matches("spawn(").count();
        if count > 0 && !of_tests {
            real.insert(name, count);
        }
    }
    let known = STARTS.iter().map(|(name, count, _)| ((*name).to_owned(), *count)).collect();
    assert_eq!(
        real, known,
        "start it in server/src/supervise.rs, or say here why nobody need notice its end"
    );
}

#[test]
fn the_map_shows_the_layers() {
    let shown: Vec<(String, String)> = rows("docs/architecture.md", "| crate | may use |");
    let shown: BTreeMap<_, _> = shown.into_iter().take(LAYERS.len()).collect();
    let list = |uses: &[&str]| match uses {
        [] => "-".to_owned(),
        _ => uses.iter().map(|u| format!("`{u}`")).collect::<Vec<_>>().join(", "),
    };
    let ours: BTreeMap<_, _> = LAYERS.iter().map(|(name, uses)| ((*name).to_owned(), list(uses))).collect();
    assert_eq!(shown, ours);
    let map = std::fs::read_to_string(workspace().join("docs/architecture.md")).expect("the map");
    assert!(map.lines().count() <= 200, "the map is a map");
}

/// What two lists lack of each other.
#[track_caller]
fn check_same(what: &str, documented: &BTreeSet<String>, real: &BTreeSet<String>) {
    let missing: Vec<_> = real.difference(documented).collect();
    let stale: Vec<_> = documented.difference(real).collect();
    assert!(
        missing.is_empty() && stale.is_empty(),
        "{what}: not documented {missing:?}, not there {stale:?}"
    );
}

#[test]
fn every_dependency_has_its_reason() {
    let packages = packages();
    let all = packages.iter().flat_map(|p| p["dependencies"].as_array().into_iter().flatten());
    let names = all.filter_map(|d| d["name"].as_str()).filter(|name| !name.starts_with("umbra-"));
    let real: BTreeSet<String> = names.map(str::to_owned).collect();
    let documented =
        rows("docs/dependencies.md", "| crate | why |").into_iter().map(|(name, _)| name).collect();
    check_same("docs/dependencies.md", &documented, &real);
    let root = std::fs::read_to_string(workspace().join("Cargo.toml")).expect("Cargo.toml");
    let section = root.split("[workspace.dependencies]").nth(1).and_then(|rest| rest.split("\n[").next());
    let listed =
        section.expect("a section").lines().filter_map(|line| Some(line.split_once(" = ")?.0.to_owned()));
    let unused: Vec<_> = listed.filter(|n| !real.contains(n) && !n.starts_with("umbra-")).collect();
    assert!(unused.is_empty(), "Cargo.toml lists {unused:?}, which no crate uses");
}

#[test]
fn every_diagnostic_is_documented() {
    // What each means, then what helps.
    let documented: Vec<_> = rows("docs/diagnostics.md", "| code | meaning |");
    let meanings = Code::ALL.iter().map(|code| (code.to_string(), code.facts().meaning.to_owned()));
    let remedies = Code::ALL.iter().map(|code| (code.to_string(), code.remedy().to_owned()));
    assert_eq!(
        documented,
        meanings.chain(remedies).collect::<Vec<_>>(),
        "docs/diagnostics.md on the left, the program on the right"
    );
    let silent: Vec<_> = Code::ALL.iter().filter(|code| code.remedy().is_empty()).collect();
    assert!(silent.is_empty(), "no remedy: {silent:?}");
}

#[test]
fn every_deliberate_difference_is_documented() {
    let page = std::fs::read_to_string(workspace().join("docs/compatibility.md")).expect("the page");
    let mut documented: BTreeMap<String, usize> = BTreeMap::new();
    for file in page.split('`').filter(|part| part.starts_with("crates/") && part.ends_with(".rs")) {
        *documented.entry(file.to_owned()).or_default() += 1;
    }
    let mut real: BTreeMap<String, usize> = BTreeMap::new();
    let crates = workspace().join("crates");
    for (path, text) in files(&["rs"]).into_iter().filter(|(path, _)| path.starts_with(&crates)) {
        let count = text.matches("DIVERGES:").count();
        if count > 0 {
            let name = path.strip_prefix(workspace()).expect("below the root");
            real.insert(name.to_string_lossy().into_owned(), count);
        }
    }
    assert_eq!(documented, real, "docs/compatibility.md on the left, the code on the right");
}

#[test]
fn no_machine_is_named() {
    // In pieces, so that this file does not find itself.
    let places = [["/wo", "rk/"], ["/ro", "ot/"], ["/ho", "me/"], [".cargo/", "registry"]];
    for (path, text) in files(&["rs", "md", "yaml", "toml", "py", "sh", "txt"]) {
        for place in places.map(|parts| parts.concat()) {
            assert!(!text.contains(&place), "{}: {place}", path.display());
        }
    }
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
    for (path, text) in files(&["rs", "py", "sh", "md"]) {
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
            let (target, heading) = link.split_once('#').unwrap_or((link, ""));
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let page = if target.is_empty() { path.clone() } else { folder.join(target) };
            assert!(page.exists(), "{}: the link {link} leads nowhere", path.display());
            let found = heading.is_empty() || headings(&page).contains(heading);
            assert!(found, "{}: the link {link} leads to no heading", path.display());
        }
    }
}

/// The headings of a page as links name them: lower case, hyphens for blanks, no other punctuation.
fn headings(page: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(page).unwrap_or_default();
    let lines = text.lines().filter(|line| line.starts_with('#'));
    let keep = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    let slug = |line: &str| {
        line.trim_start_matches('#').trim().to_lowercase().chars().filter(|c| keep(*c)).collect()
    };
    lines
        .map(|line| {
            let text: String = slug(line);
            text.replace(' ', "-")
        })
        .collect()
}

/// `mesh/src/view.rs`, `crates/ir/src/rule.rs`, `tests/golden`: a page that names a file of the code names one that is there.
#[test]
fn the_files_that_pages_name_exist() {
    let mut named = 0;
    for page in ["CONTRIBUTING.md", "docs/architecture.md", "docs/performance.md", "tests/README.md"] {
        let text = std::fs::read_to_string(workspace().join(page)).unwrap_or_else(|e| panic!("{page}: {e}"));
        let is_path = |word: &&str| {
            word.contains("/src") && word.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c))
        };
        for path in text.split('`').filter(is_path) {
            let there = [workspace().join(path), workspace().join("crates").join(path)];
            assert!(there.iter().any(|path| path.exists()), "{page}: there is no {path}");
            named += 1;
        }
    }
    assert!(named > 30, "{named} paths");
}

/// A page that says which tests hold a promise names tests, golden cases and files of tests that are there.
#[test]
fn the_tests_that_pages_name_exist() {
    let code: String = files(&["rs"]).into_iter().map(|(_, text)| text).collect();
    let is_test = |name: &str| {
        let marked = |at| {
            code[..at].rfind("#[").is_some_and(|mark| {
                ["#[test", "#[tokio::test"].iter().any(|test| code[mark..at].starts_with(test))
            })
        };
        code.find(&format!("fn {name}(")).is_some_and(marked)
    };
    let tests = workspace().join("tests");
    let mut named = 0;
    for page in ["docs/attacks.md", "docs/security.md", "docs/traps.md"] {
        let text = std::fs::read_to_string(workspace().join(page)).unwrap_or_else(|e| panic!("{page}: {e}"));
        // The column of this heading, of each table that has one.
        let mut column = None;
        for line in text.lines() {
            let cells: Vec<_> = line.split(" | ").collect();
            let heading = cells.iter().position(|cell| ["test", "tests |"].contains(cell));
            column = heading.or(column.filter(|_| line.starts_with('|')));
            let Some(cell) = column.and_then(|column| cells.get(column)) else { continue };
            for name in cell.split('`').skip(1).step_by(2) {
                let golden = || tests.join("golden").join(name).is_dir();
                let file =
                    || ["", "attack"].iter().any(|part| tests.join("tests").join(part).join(name).is_file());
                let tier = || {
                    tests.join("tests").join(name).is_dir() || workspace().join("crates").join(name).is_dir()
                };
                // What a probe on the real Envoy says.
                let statement = || name.contains(' ') && code.contains(&format!("\"{name}\","));
                assert!(
                    is_test(name) || golden() || file() || tier() || statement(),
                    "{page}: there is no test {name}"
                );
                named += 1;
            }
        }
    }
    assert!(named > 80, "{named} tests");
}
