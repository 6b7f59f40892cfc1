//! Manifests with sidecars, and otherwise byte for byte as they were.

use serde_json::Value;

use crate::pod::{Context, Outcome, inject};
use crate::settings::Settings;
use crate::yaml::{SyntaxError, change, documents, read};

/// Lists in lists beyond this are nonsense.
const MAX_LISTS: usize = 4;

/// The kinds whose Pods are given a sidecar, whatever their API group and version: `extensions/v1beta1` is gone from API
/// servers, and not from people's files.
const WORKLOADS: [&str; 9] = [
    "Deployment",
    "ReplicaSet",
    "ReplicationController",
    "StatefulSet",
    "DaemonSet",
    "Job",
    "CronJob",
    "DeploymentConfig",
    "Rollout",
];

/// What is to be said of an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    /// Its kind and its name, such as `Deployment default/sleep`.
    pub object: String,
    /// What.
    pub message: String,
}

/// What became of a text.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Injected {
    /// The text.
    pub text: String,
    /// What could not be done, and what else there is to say.
    pub notes: Vec<Note>,
}

/// Gives the Pods of all workloads in a text of YAML or JSON documents their sidecars. An object without a namespace is in
/// `namespace`.
///
/// # Errors
/// A document is no YAML, with the line of the text.
pub fn inject_manifests(text: &str, namespace: &str, settings: &Settings) -> Result<Injected, SyntaxError> {
    let mut result = Injected::default();
    let mut lines = 0;
    for document in documents(text) {
        let at = |error: SyntaxError| SyntaxError { line: error.line + lines, ..error };
        let mut new = read(document).map_err(at)?;
        let before = new.clone();
        object(&mut new, namespace, settings, &mut result.notes, 0);
        if new == before {
            result.text.push_str(document);
        } else {
            result.text.push_str(&change(document, &new).map_err(at)?);
        }
        lines += document.matches('\n').count();
    }
    Ok(result)
}

/// One object, or a list of them.
fn object(value: &mut Value, namespace: &str, settings: &Settings, notes: &mut Vec<Note>, depth: usize) {
    let kind = value["kind"].as_str().unwrap_or_default().to_owned();
    if kind.ends_with("List") && depth < MAX_LISTS {
        for item in value.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
            object(item, namespace, settings, notes, depth + 1);
        }
        return;
    }
    let path = match kind.as_str() {
        "Pod" => "",
        "CronJob" => "/spec/jobTemplate/spec/template",
        kind if WORKLOADS.contains(&kind) => "/spec/template",
        _ => return,
    };
    let metadata = value.get("metadata");
    let text = |key: &str| metadata.and_then(|it| it.get(key)).and_then(Value::as_str).unwrap_or_default();
    let name = if text("name").is_empty() { text("generateName") } else { text("name") }.to_owned();
    let namespace = if text("namespace").is_empty() { namespace } else { text("namespace") }.to_owned();
    let Some(pod) = value.pointer_mut(path) else { return };
    let context = Context { namespace, workload: name, ends: kind == "Job" || kind == "CronJob" };
    let note = |message: String| Note {
        object: format!("{kind} {}/{}", context.namespace, context.workload),
        message,
    };
    match inject(pod, &context, settings) {
        Outcome::Injected { pod: new, warnings } => {
            *pod = new;
            notes.extend(warnings.into_iter().map(note));
        }
        Outcome::Refused(why) => notes.push(note(format!("no sidecar: {why}"))),
        Outcome::Unchanged => {}
    }
}
