//! What the status of a cluster's objects says, and the task that has it written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;
use umbra_api::{Destination, Object, VirtualService};
use umbra_ir::{Diagnostic, ObjectId, RuntimeFraction, Severity};
use umbra_source::kubernetes::{
    AllObserved, ApiServer, Condition, MIRRORS_READY, Status, Statuses, identity, take_part, write,
};

use crate::engine_task::{Published, Rules};

/// How long to wait for further changes before statuses are computed: nobody reads them faster.
const PAUSE: Duration = Duration::from_millis(200);
/// Longer messages are cut: a status is no report, `/debug/diagnostics` has it all.
const MAX_MESSAGE: usize = 1024;

/// Has the statuses written until the engine ends; of all replicas only the leader writes.
pub(crate) async fn follow(
    server: ApiServer,
    observed: watch::Receiver<AllObserved>,
    mut published: watch::Receiver<Published>,
) {
    let leadership = take_part(&server, identity());
    let (send, wanted) = watch::channel(Arc::new(Statuses::new()));
    let compute = async {
        loop {
            let state = published.borrow_and_update().clone();
            if state.ready {
                let now = statuses(&state.rules, &state.diagnostics);
                send.send_if_modified(|before| {
                    let changed = **before != now;
                    if changed {
                        *before = Arc::new(now);
                    }
                    changed
                });
            }
            if published.changed().await.is_err() {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::join!(compute, write(server, leadership, observed, wanted));
}

/// The status of every object.
fn statuses(rules: &Rules, diagnostics: &[Diagnostic]) -> Statuses {
    let mut about: BTreeMap<&ObjectId, Vec<&Diagnostic>> = BTreeMap::new();
    for diagnostic in diagnostics {
        if let Some(id) = &diagnostic.object {
            about.entry(id).or_default().push(diagnostic);
        }
    }
    rules
        .iter()
        .filter(|(_, rule)| !rule.in_file)
        .map(|(id, rule)| {
            let about = about.remove(id).unwrap_or_default();
            (id.clone(), status(rule.generation, rule.object.as_deref(), &about))
        })
        .collect()
}

/// `object` is missing when no version of it has been understood.
fn status(generation: i64, object: Option<&Object>, diagnostics: &[&Diagnostic]) -> Status {
    let mut worth: Vec<&Diagnostic> =
        diagnostics.iter().copied().filter(|d| d.severity != Severity::Info).collect();
    worth.sort_by_key(|d| (d.severity != Severity::Error, &d.field, d.code));
    let mut conditions = vec![accepted(&worth)];
    let mirrors = match object {
        Some(Object::VirtualService(rule)) => list_mirrors(rule),
        _ => Vec::new(),
    };
    let mut words = Vec::new();
    for mirror in &mirrors {
        let problem = worth.iter().find(|d| mirror.has(d));
        let problem = problem.map_or(String::new(), |d| format!(" ({})", d.code));
        words.push(format!("{} {}{problem}", mirror.name, mirror.share));
    }
    let summary = words.join(", ");
    if !mirrors.is_empty() {
        let broken: Vec<&Diagnostic> =
            worth.iter().copied().filter(|d| mirrors.iter().any(|mirror| mirror.has(d))).collect();
        conditions.push(mirrors_ready(&broken, &summary));
    }
    let mut messages: Vec<_> = worth
        .iter()
        .map(|d| {
            let level = if d.severity == Severity::Error { "ERROR" } else { "WARNING" };
            json!({ "level": level, "type": { "name": d.code } })
        })
        .collect();
    messages.dedup();
    Status { generation, conditions, mirrors: summary, messages }
}

fn accepted(worth: &[&Diagnostic]) -> Condition {
    let first = worth.first();
    let error = first.filter(|d| d.severity == Severity::Error);
    let reason = match (error, first) {
        (Some(error), _) => error.code,
        (None, Some(_)) => "AcceptedWithWarnings",
        (None, None) => "Accepted",
    };
    let message = if worth.is_empty() { "in force as written".to_owned() } else { told(worth) };
    Condition { kind: "Accepted", holds: error.is_none(), reason: reason.to_owned(), message }
}

fn mirrors_ready(broken: &[&Diagnostic], summary: &str) -> Condition {
    let (reason, message) = match broken.first() {
        Some(first) => (first.code.to_owned(), told(broken)),
        None => ("Ready".to_owned(), cut(format!("every mirror has a target with endpoints: {summary}"))),
    };
    Condition { kind: MIRRORS_READY, holds: broken.is_empty(), reason, message }
}

/// All of them in one text, each with its place.
fn told(diagnostics: &[&Diagnostic]) -> String {
    let one = |d: &&Diagnostic| {
        if d.field.is_empty() { d.message.clone() } else { format!("{}: {}", d.field, d.message) }
    };
    cut(diagnostics.iter().map(one).collect::<Vec<_>>().join("; "))
}

fn cut(mut text: String) -> String {
    if text.len() > MAX_MESSAGE {
        let end = (0..=MAX_MESSAGE).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
        text.truncate(end);
        text.push('…');
    }
    text
}

/// A mirror as its author wrote it.
struct Written {
    /// Fields that are about it begin so.
    fields: Vec<String>,
    name: String,
    share: String,
}

impl Written {
    /// Whether a diagnostic is about this mirror.
    fn has(&self, diagnostic: &Diagnostic) -> bool {
        self.fields.iter().any(|field| {
            let rest = diagnostic.field.strip_prefix(field.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    }
}

fn list_mirrors(rule: &VirtualService) -> Vec<Written> {
    let mut all = Vec::new();
    for (index, http) in rule.spec.http.iter().enumerate() {
        let at = |field: &str| format!("spec.http[{index}].{field}");
        if let Some(target) = &http.mirror {
            let percent = http.mirror_percentage.map(|p| p.value);
            let percent = percent.or(http.mirror_percent.map(f64::from)).unwrap_or(100.0);
            let fields = ["mirror", "mirrorPercentage", "mirrorPercent"].map(at).to_vec();
            all.push(Written { fields, name: name(target), share: share(percent) });
        }
        for (number, mirror) in http.mirrors.iter().enumerate() {
            let percent = mirror.percentage.map_or(100.0, |p| p.value);
            let target = mirror.destination.as_ref().map_or(String::new(), name);
            let fields = vec![at(&format!("mirrors[{number}]"))];
            all.push(Written { fields, name: target, share: share(percent) });
        }
    }
    all
}

/// The subset alone says most; without one the host does.
fn name(destination: &Destination) -> String {
    if destination.subset.is_empty() { destination.host.clone() } else { destination.subset.clone() }
}

fn share(percent: f64) -> String {
    match RuntimeFraction::from_percent(percent) {
        Some(RuntimeFraction::NONE) => "off".to_owned(),
        Some(fraction) => fraction.to_string(),
        None => format!("{percent}%"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(http: &str) -> Object {
        let text = format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: a}}\nspec: {{hosts: [a], http: [{http}]}}\n"
        );
        umbra_api::parse_documents(&text, "a.yaml").objects.remove(0).value
    }

    /// `e`, `w` or `i`, then field and code.
    fn diagnostic(words: &str, id: &ObjectId) -> Diagnostic {
        let parts: Vec<&str> = words.split(' ').collect();
        let (field, code) =
            (parts[1].to_owned(), if parts[2] == "NoEndpoints" { "NoEndpoints" } else { "HostNotFound" });
        match parts[0] {
            "e" => Diagnostic::error(code, id, field, "why"),
            "w" => Diagnostic::warning(code, id, field, "why"),
            _ => Diagnostic::info(code, id, field, "why"),
        }
    }

    /// Conditions as `Accepted=True/Accepted`, then the summary.
    fn check(http: &str, diagnostics: &[&str], want: &str) {
        let object = rule(http);
        let diagnostics: Vec<_> = diagnostics.iter().map(|words| diagnostic(words, &object.id())).collect();
        let status = status(7, Some(&object), &diagnostics.iter().collect::<Vec<_>>());
        let mut words: Vec<String> =
            status.conditions.iter().map(|c| format!("{}={}/{}", c.kind, c.holds, c.reason)).collect();
        words.push(format!("[{}] {}", status.mirrors, status.messages.len()));
        assert_eq!(words.join(" "), want, "{http}");
        assert_eq!(status.generation, 7);
    }

    #[test]
    fn what_statuses_say() {
        const V2: &str = "{route: [{destination: {host: a}}], mirror: {host: a, subset: v2}, mirrorPercentage: {value: 10}}";
        const TWO: &str = "{route: [{destination: {host: a}}], mirrors: [{destination: {host: b}}, \
                           {destination: {host: c}, percentage: {value: 0}}]}";
        check("{route: [{destination: {host: a}}]}", &[], "Accepted=true/Accepted [] 0");
        check(V2, &[], "Accepted=true/Accepted MirrorsReady=true/Ready [v2 10%] 0");
        check(
            V2,
            &["i spec.http[0].mirror Deprecated"],
            "Accepted=true/Accepted MirrorsReady=true/Ready [v2 10%] 0",
        );
        check(
            V2,
            &["w spec.http[0].mirror NoEndpoints"],
            "Accepted=true/AcceptedWithWarnings MirrorsReady=false/NoEndpoints [v2 10% (NoEndpoints)] 1",
        );
        check(
            V2,
            &["w spec.http[0].route[0] HostNotFound", "e spec.http[0].mirrorPercentage.value HostNotFound"],
            "Accepted=false/HostNotFound MirrorsReady=false/HostNotFound [v2 10% (HostNotFound)] 2",
        );
        check(
            TWO,
            &["w spec.http[0].mirrors[1].destination HostNotFound"],
            "Accepted=true/AcceptedWithWarnings MirrorsReady=false/HostNotFound [b 100%, c off (HostNotFound)] 1",
        );
        // `mirrors[1]` is not `mirrors[10]`, and `mirror` is not `mirrors`.
        check(
            V2,
            &["w spec.http[0].mirrors[0] HostNotFound"],
            "Accepted=true/AcceptedWithWarnings MirrorsReady=true/Ready [v2 10%] 1",
        );
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        let text = cut("ä".repeat(MAX_MESSAGE));
        assert!(text.ends_with('…') && text.len() <= MAX_MESSAGE + '…'.len_utf8());
    }
}
