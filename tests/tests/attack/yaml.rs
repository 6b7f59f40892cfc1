//! YAML of many shapes, each two MiB of it: what `umbra validate` takes for it. For figures, so that `make attack` alone plays it.

use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use umbra_testkit::gate::measured;
use umbra_testkit::paths;

use crate::long::wanted;

/// More than the API server stores of one object (1.5 MB).
const SIZE: usize = 2 << 20;
/// What none may take, on a busy machine: five times what docs/security.md promises.
const MOST: Duration = Duration::from_secs(5);

/// This text as often as it takes.
fn fill(one: &str) -> String {
    one.repeat(SIZE / one.len())
}

fn numbered(one: impl Fn(usize) -> String) -> String {
    let mut text = String::new();
    for n in 0.. {
        if text.len() >= SIZE {
            break;
        }
        text += &one(n);
    }
    text
}

fn rule(spec: &str) -> String {
    format!("apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: a}}\nspec:\n{spec}")
}

fn shapes() -> Vec<(&'static str, String)> {
    let keys = |name: &str, most: usize| {
        let mut text = String::new();
        for n in 0.. {
            if text.len() >= most {
                break;
            }
            let _ = write!(text, "{name}{n}: 1, ");
        }
        text
    };
    let half = SIZE / 2;
    let mut doubled = String::from("a0: &a0 [x, x]\n");
    for n in 1..40_000 {
        let _ = writeln!(doubled, "a{n}: &a{n} [*a{0}, *a{0}]", n - 1);
    }
    vec![
        ("a merged alias", format!("a: &a {{{}}}\nb: {{<<: *a, {}}}\n", keys("k", half), keys("j", half))),
        ("a merged map", format!("{{<<: {{{}}}, {}}}\n", keys("k", half), keys("j", half))),
        ("a merged list", format!("<<: [{}]\n", numbered(|n| format!("{{k{n}: 1}}, ")))),
        ("many merges", format!("{{{}}}\n", fill("<<: {a: 1}, "))),
        (
            "merges of merges",
            numbered(|n| format!("a{n}: &a{n}\n  <<: *a{}\n  k{n}: 1\n", n.max(1) - 1)).replacen(
                "  <<: *a0\n",
                "",
                1,
            ),
        ),
        ("aliases of aliases", doubled),
        ("aliases", format!("a: &a [1, 2, 3]\nb: [{}]\n", fill("*a, "))),
        ("anchors", format!("[{}]", numbered(|n| format!("&a{n} x, ")))),
        ("keys", format!("{{{}}}", keys("k", SIZE))),
        ("the same key", format!("{{{}}}", fill("k: 1, "))),
        ("a list in one line", format!("[{}]", fill("x, "))),
        ("a list of lines", fill("- x\n")),
        ("a list of nothing", format!("[{}]", fill("[], "))),
        ("opened lists", fill("[")),
        ("opened maps", fill("{a: ")),
        ("indented", (0..2000).map(|n| format!("{}a:\n", " ".repeat(n))).collect()),
        ("dashes", fill("- ")),
        ("question marks", fill("? ")),
        ("colons", fill(": ")),
        ("tags", fill("!a ")),
        ("bangs", fill("!")),
        ("quotes", format!("x: {}", fill("\""))),
        ("a text of escapes", format!("x: \"{}\"", fill("\\u00e4"))),
        ("a text of lines", format!("x: |\n{}", fill("  y\n"))),
        ("a folded text", format!("x: >\n{}", fill("  y\n\n"))),
        ("a plain text", format!("x: {}", fill("y "))),
        ("a text over lines", format!("x: {}", fill("y\n  "))),
        ("a comment", format!("#{}", fill("#"))),
        ("comments", fill("#\n")),
        ("blanks", fill(" ")),
        ("tabs", fill("\t")),
        ("lines", fill("\n")),
        ("documents", fill("---\n")),
        ("objects", fill("---\nkind: Service\napiVersion: v1\nmetadata: {name: a}\n")),
        ("ends", fill("...\n")),
        ("directives", fill("%YAML 1.2\n---\n")),
        (
            "lists of lists",
            format!(
                "apiVersion: v1\nkind: List\nitems:\n{}",
                fill("- {kind: List, apiVersion: v1, items: []}\n")
            ),
        ),
        ("numbers", format!("x: [{}]", fill("1e999, "))),
        ("a long number", format!("x: {}", fill("9"))),
        ("wide characters", format!("x: \"{}\"", fill("\u{1f600}"))),
        ("unknown fields", rule(&format!("  http:\n{}", fill("  - unknown: x\n")))),
        ("bad fields", rule(&format!("  http:\n{}", fill("  - timeout: x\n")))),
        ("hosts", rule(&format!("  hosts:\n{}", fill("  - \"*.a\"\n")))),
        (
            "routes",
            rule(&format!(
                "  http:\n{}",
                fill("  - {match: [{uri: {prefix: /a}}], route: [{destination: {host: a}}]}\n")
            )),
        ),
        (
            "matches",
            rule(&format!(
                "  http:\n  - route: [{{destination: {{host: a}}}}]\n    match:\n{}",
                fill("    - {uri: {regex: \"(a{1,30}){1,33}\"}}\n")
            )),
        ),
        (
            "patterns",
            rule(&format!(
                "  http:\n  - route: [{{destination: {{host: a}}}}]\n    match:\n{}",
                numbered(|n| format!("    - {{uri: {{regex: \"{n}(a*)*b\"}}}}\n"))
            )),
        ),
        (
            "headers",
            rule(&format!(
                "  http:\n  - headers:\n      request:\n        set:\n{}",
                numbered(|n| format!("          x{n}: \"%\"\n"))
            )),
        ),
        ("one host", rule(&format!("  hosts: [\"{}\"]", fill("a")))),
        ("one pattern", rule(&format!("  http:\n  - match: [{{uri: {{regex: \"{}\"}}}}]", fill("(a*)*")))),
        (
            "weights",
            rule(&format!("  http:\n  - route:\n{}", fill("    - {destination: {host: a}, weight: 1}\n"))),
        ),
        (
            "mirrors",
            rule(&format!(
                "  http:\n  - route: [{{destination: {{host: a}}}}]\n    mirrors:\n{}",
                fill("    - {destination: {host: b}}\n")
            )),
        ),
    ]
}

#[test]
fn yaml_takes_no_longer_than_it_is() {
    if !wanted() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut slow = Vec::new();
    for (title, text) in shapes() {
        let file = folder.path().join("a.yaml");
        std::fs::write(&file, &text).unwrap();
        let start = Instant::now();
        let out = Command::new(paths::umbra().unwrap())
            .args(["validate", "-o", "json"])
            .arg(&file)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let took = start.elapsed();
        assert!(
            matches!(out.status.code(), Some(0 | 1)),
            "{title}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
        measured(&format!("YAML, {title} ({} KiB): {} ms", text.len() >> 10, took.as_millis()));
        slow.extend((took > MOST).then_some((title, took)));
    }
    assert_eq!(slow, []);
}
