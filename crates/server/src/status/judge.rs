//! What the status of an object says. Pure.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use umbra_ir::{Code, Diagnostic, ObjectId, Severity};
use umbra_source::kubernetes::{AllObserved, Condition, ConditionType, Reason, Said, Status, Statuses};

use super::aborted::aborted;
use super::judged::judged;
use super::mirrors::{Line, mirrors_ready, summary};
use super::observed::{Counted, observed};
use super::programmed::{Liveness, programmed};
use super::stopped::stopped;
use crate::engine_task::{ClusterObject, ClusterObjects};
use crate::live::Mirrors;

/// Longer messages are cut: a status is no report, `/debug/diagnostics` has it all.
pub(super) const MAX_MESSAGE: usize = 1024;

/// What is known.
pub(super) struct Facts<'a> {
    pub(super) cluster: &'a ClusterObjects,
    pub(super) diagnostics: &'a [Diagnostic],
    pub(super) mirrors: &'a Mirrors,
    pub(super) liveness: &'a Liveness,
    pub(super) counted: &'a Counted,
}

/// What was said before: what the API server has, and what this replica wanted to say last.
#[derive(Clone, Copy)]
pub(super) struct Before<'a> {
    pub(super) there: &'a AllObserved,
    pub(super) wanted: &'a Statuses,
}

impl<'a> Before<'a> {
    fn said(self, id: &ObjectId, kind: ConditionType) -> impl Iterator<Item = Said<'a>> {
        let there = self.there.get(id).and_then(|is| is.said(kind));
        there.into_iter().chain(self.wanted.get(id).and_then(|is| is.said(kind)))
    }
}

/// The status of every object of the cluster.
pub(super) fn statuses(facts: &Facts<'_>, before: Before<'_>) -> Statuses {
    let Facts { cluster, diagnostics, mirrors, liveness, counted } = facts;
    let mut about: BTreeMap<&ObjectId, Vec<&Diagnostic>> = BTreeMap::new();
    for diagnostic in *diagnostics {
        if let Some(id) = &diagnostic.object {
            about.entry(id).or_default().push(diagnostic);
        }
    }
    let one = |(id, object): (&ObjectId, &ClusterObject)| {
        let about = about.remove(id).unwrap_or_default();
        let status = if object.in_file {
            hidden(object.generation, &about)
        } else {
            let lines: Vec<Line> =
                mirrors.get(id).into_iter().flat_map(|all| all.iter()).map(Line::new).collect();
            let live = liveness.objects.get(id);
            let counts = live.filter(|live| live.total > 0);
            let counts = counts.map(|live| (live.live, live.total, live.total_away));
            let mut conditions = vec![accepted(&worth(&about))];
            conditions.push(programmed(object, live, liveness));
            conditions.extend(mirrors_ready(&lines));
            let messages = messages(&worth(&about));
            let mut mirrors = summary(&lines, counts);
            let said = before.said(id, ConditionType::Observed);
            let words = observed(&lines, id, (object.generation, &mirrors), counted, said);
            conditions.extend(words.condition);
            mirrors += &words.summary;
            let said = before.said(id, ConditionType::Stopped);
            conditions.extend(stopped(&lines, object.generation, (live, liveness), said));
            let said = before.said(id, ConditionType::Aborted);
            conditions.extend(aborted(&lines, id, counted, said));
            let said = before.said(id, ConditionType::Judged);
            let (verdicts, words) = judged(&lines, id, object.generation, counted, said);
            conditions.extend(verdicts);
            mirrors += &words;
            Status { generation: object.generation, conditions, mirrors, messages }
        };
        (id.clone(), status)
    };
    cluster.iter().map(one).collect()
}

/// A file wins over it: what is said about the object is about the file's.
fn hidden(generation: i64, diagnostics: &[&Diagnostic]) -> Status {
    let file = diagnostics.iter().find(|d| d.code == Code::DuplicateObject).and_then(|d| d.file.as_deref());
    let file = file.map_or("a file".to_owned(), |file| format!("the file {file}"));
    let message = cut(format!("{file} has this object too and wins; this one is left out"));
    let condition = |kind, message| Condition { reason: Reason::code(kind, Code::DuplicateObject), message };
    let nowhere = "no proxy gets this one: a file has the object too".to_owned();
    let conditions =
        vec![condition(ConditionType::Accepted, message), condition(ConditionType::Programmed, nowhere)];
    let messages = vec![message_of("WARNING", Code::DuplicateObject)];
    Status { generation, conditions, mirrors: String::new(), messages }
}

/// What the author should know, the worst first.
fn worth<'a>(diagnostics: &[&'a Diagnostic]) -> Vec<&'a Diagnostic> {
    let mut worth: Vec<&Diagnostic> =
        diagnostics.iter().copied().filter(|d| d.severity != Severity::Info).collect();
    worth.sort_by_key(|d| (d.severity != Severity::Error, &d.field, d.code));
    worth
}

fn accepted(worth: &[&Diagnostic]) -> Condition {
    let first = worth.first();
    let error = first.filter(|d| d.severity == Severity::Error);
    let reason = match (error, first) {
        (Some(error), _) => Reason::code(ConditionType::Accepted, error.code),
        (None, Some(_)) => Reason::ACCEPTED_WITH_WARNINGS,
        (None, None) => Reason::ACCEPTED,
    };
    let message = if worth.is_empty() { "in force as written".to_owned() } else { told(worth) };
    Condition { reason, message }
}

/// In Istio's form (`istio.analysis.v1alpha1.AnalysisMessageBase`), which has no place for words. Its tools show the
/// code, as a link.
fn message_of(level: &str, code: Code) -> Value {
    match code.facts().istio {
        Some(istio) => {
            let page = format!(
                "https://istio.io/latest/docs/reference/config/analysis/{}/",
                istio.to_ascii_lowercase()
            );
            json!({ "level": level, "type": { "name": code, "code": istio }, "documentationUrl": page })
        }
        None => json!({ "level": level, "type": { "name": code, "code": code } }),
    }
}

/// Each code once.
fn messages(worth: &[&Diagnostic]) -> Vec<Value> {
    let mut all = Vec::new();
    for diagnostic in worth {
        let level = if diagnostic.severity == Severity::Error { "ERROR" } else { "WARNING" };
        let message = message_of(level, diagnostic.code);
        if !all.contains(&message) {
            all.push(message);
        }
    }
    all
}

/// All of them in one text, each with its place.
fn told(diagnostics: &[&Diagnostic]) -> String {
    let one = |d: &&Diagnostic| {
        if d.field.is_empty() { d.message.clone() } else { format!("{}: {}", d.field, d.message) }
    };
    cut(diagnostics.iter().map(one).collect::<Vec<_>>().join("; "))
}

/// No longer than a message may be.
pub(super) fn cut(mut text: String) -> String {
    if text.len() > MAX_MESSAGE {
        let end = (0..=MAX_MESSAGE).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use umbra_ir::Kind;

    use super::*;

    fn id() -> ObjectId {
        ObjectId::new(Kind::VirtualService, "shop", "web")
    }

    /// `e`, `w` or `i`, then field and code.
    fn diagnostic(words: &str) -> Diagnostic {
        let parts: Vec<&str> = words.split(' ').collect();
        let code = Code::find(parts[2]).unwrap();
        let severity = match parts[0] {
            "e" => Severity::Error,
            "w" => Severity::Warning,
            _ => Severity::Info,
        };
        Diagnostic::new(code, &id(), parts[1], "why").with_severity(severity)
    }

    /// Conditions as `Accepted=True/Accepted MESSAGE`, then the number of Istio's messages.
    fn check(diagnostics: &[&str], in_file: bool, want: &str) {
        let diagnostics: Vec<_> = diagnostics.iter().map(|words| diagnostic(words)).collect();
        let object = ClusterObject { generation: 7, in_force: 7, in_file, ..ClusterObject::default() };
        let facts = Facts {
            cluster: &[(id(), object)].into(),
            diagnostics: &diagnostics,
            mirrors: &BTreeMap::new(),
            liveness: &Liveness::default(),
            counted: &Counted::default(),
        };
        let before = Before { there: &AllObserved::new(), wanted: &Statuses::new() };
        let all = statuses(&facts, before);
        let status = &all[&id()];
        let words = status
            .conditions
            .iter()
            .filter(|c| c.reason.condition == ConditionType::Accepted)
            .map(|c| (c.reason, &c.message))
            .map(|(it, words)| format!("{}={}/{} {words}", it.condition, it.holds.as_str(), it.word));
        let words = words.collect::<String>() + &format!(" {}", status.messages.len());
        assert_eq!(words, want);
        assert_eq!(status.generation, 7);
    }

    #[test]
    fn what_accepted_says() {
        check(&[], false, "Accepted=True/Accepted in force as written 0");
        check(&["i spec.http[0] NoEndpoints"], false, "Accepted=True/Accepted in force as written 0");
        check(
            &["w spec.b NoEndpoints", "w spec.a HostNotFound"],
            false,
            "Accepted=True/AcceptedWithWarnings spec.a: why; spec.b: why 2",
        );
        check(
            &["w spec.a HostNotFound", "e spec.b InvalidPercentage", "w spec.c HostNotFound"],
            false,
            "Accepted=False/InvalidPercentage spec.b: why; spec.a: why; spec.c: why 2",
        );
        check(
            &["w spec.a HostNotFound", "w metadata DuplicateObject"],
            true,
            "Accepted=False/DuplicateObject a file has this object too and wins; this one is left out 1",
        );
    }

    /// What Istio's tools show: its code and page where it has the same analysis, else our code.
    #[test]
    fn messages_for_tools_of_istio() {
        let pair = [diagnostic("w spec.a HostNotFound"), diagnostic("e spec.b InvalidPercentage")];
        let page = "https://istio.io/latest/docs/reference/config/analysis/ist0101/";
        assert_eq!(
            messages(&pair.iter().chain(&pair).collect::<Vec<_>>()),
            [
                json!({"level": "WARNING", "type": {"name": "HostNotFound", "code": "IST0101"}, "documentationUrl": page}),
                json!({"level": "ERROR", "type": {"name": "InvalidPercentage", "code": "InvalidPercentage"}}),
            ]
        );
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        let text = cut("ä".repeat(MAX_MESSAGE));
        assert!(text.ends_with('…') && text.len() <= MAX_MESSAGE + '…'.len_utf8());
    }
}
