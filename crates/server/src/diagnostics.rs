//! Diagnostics on their way to people: with file and line, counted, logged once.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use tracing::{error, info, warn};
use umbra_ir::{Diagnostic, ObjectId, Severity};
use umbra_source::Place;

use crate::metrics::ByDiagnostic;

/// New diagnostics that are logged one by one; of more, only the number.
const LOGGED: usize = 20;

/// The engine's diagnostics, each with its place, and those of the files: sorted by file and line, without
/// repetition.
pub fn assemble(
    engine: Vec<Diagnostic>,
    files: &[Diagnostic],
    places: &BTreeMap<ObjectId, Place>,
) -> Vec<Diagnostic> {
    let placed = engine.into_iter().map(|diagnostic| {
        let place = diagnostic.object.as_ref().and_then(|id| places.get(id));
        match place {
            Some(place) => place.place(diagnostic),
            None => diagnostic,
        }
    });
    let mut all: Vec<Diagnostic> = placed.chain(files.iter().cloned()).collect();
    all.sort_by(by_place);
    all.dedup();
    all
}

/// The order in which people read: by file, then by line.
pub fn by_place(a: &Diagnostic, b: &Diagnostic) -> Ordering {
    (&a.file, a.line, a.column, a).cmp(&(&b.file, b.line, b.column, b))
}

/// A diagnostic as tools get it: with what its code says of every one of its sort.
#[derive(Debug, Serialize)]
pub struct Shown<'a> {
    #[serde(flatten)]
    diagnostic: &'a Diagnostic,
    /// What helps.
    remedy: &'static str,
    /// Istio's code for the same finding.
    #[serde(skip_serializing_if = "Option::is_none")]
    istio: Option<&'static str>,
}

impl<'a> From<&'a Diagnostic> for Shown<'a> {
    fn from(diagnostic: &'a Diagnostic) -> Self {
        Shown { diagnostic, remedy: diagnostic.code.remedy(), istio: diagnostic.code.facts().istio }
    }
}

/// How many there are of each sort.
pub fn count(all: &[Diagnostic]) -> BTreeMap<ByDiagnostic, i64> {
    let mut counts = BTreeMap::new();
    for Diagnostic { severity, code, .. } in all {
        *counts
            .entry(ByDiagnostic { severity: severity_name(*severity), code: code.as_str() })
            .or_default() += 1;
    }
    counts
}

/// The word for a severity in JSON and metrics.
pub fn severity_name(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "info",
    }
}

/// Logs what is new since `said`, and how much is gone; answers what is said now. An edit that only moves lines
/// is no news.
pub fn log_new(all: &[Diagnostic], said: &BTreeSet<Diagnostic>) -> BTreeSet<Diagnostic> {
    let plain = |d: &Diagnostic| Diagnostic { line: None, column: None, ..d.clone() };
    let now: BTreeSet<Diagnostic> = all.iter().map(plain).collect();
    let mut new = 0;
    for diagnostic in all.iter().filter(|d| !said.contains(&plain(d))) {
        new += 1;
        if new <= LOGGED {
            log(diagnostic);
        }
    }
    if new > LOGGED {
        warn!("and {} more diagnostics: see /debug/diagnostics", new - LOGGED);
    }
    let gone = said.difference(&now).count();
    if gone > 0 {
        info!(gone, left = now.len(), "diagnostics gone");
    }
    now
}

fn log(diagnostic: &Diagnostic) {
    let line = one_line(diagnostic);
    match diagnostic.severity {
        Severity::Error => error!("{line}"),
        Severity::Warning => warn!("{line}"),
        Severity::Info => info!("{line}"),
    }
}

/// A diagnostic as one line of text: line breaks and terminal codes in names and values are escaped, so that an
/// object cannot forge other lines.
pub fn one_line(diagnostic: &Diagnostic) -> String {
    let text = diagnostic.to_string();
    if !text.contains(char::is_control) {
        return text;
    }
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use umbra_ir::{Code, Kind};

    use super::*;

    fn about(field: &str) -> Diagnostic {
        let id = ObjectId::new(Kind::Service, "default", "a");
        Diagnostic::new(Code::UnknownField, &id, field, "is odd")
    }

    fn places(text: &str) -> BTreeMap<ObjectId, Place> {
        let parsed = umbra_api::parse_documents(text, "f.yaml");
        parsed.objects.into_iter().map(|object| (object.value.id(), Place::new(object.shared()))).collect()
    }

    #[test]
    fn diagnostics_get_their_place_and_are_sorted_by_it() {
        let places = places("apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  ports: []\n");
        let file = Diagnostic { file: Some("e.yaml".into()), object: None, ..about("") };
        let all = assemble(vec![about("spec.ports"), about("kind")], &[file.clone(), file], &places);
        let shown: Vec<_> = all.iter().map(|d| (d.file.as_deref().unwrap(), d.line)).collect();
        assert_eq!(shown, [("e.yaml", None), ("f.yaml", Some(2)), ("f.yaml", Some(5))]);
        let labels = ByDiagnostic { severity: "warning", code: "UnknownField" };
        assert_eq!(count(&all), [(labels, 3)].into());
    }

    #[test]
    fn an_object_cannot_forge_lines() {
        let forged = Diagnostic { message: "a\nerror: b \u{1b}[31m é".to_owned(), ..about("x") };
        assert!(one_line(&forged).contains("a\\nerror: b \\u{1b}[31m é"), "{}", one_line(&forged));
        assert_eq!(one_line(&about("x")), about("x").to_string());
    }

    #[test]
    fn moved_lines_are_no_news() {
        let at = |line| Diagnostic { file: Some("f.yaml".into()), line: Some(line), ..about("kind") };
        let said = log_new(&[at(1)], &BTreeSet::new());
        assert_eq!(said, log_new(&[at(2)], &said));
        assert!(log_new(&[], &said).is_empty());
    }
}
