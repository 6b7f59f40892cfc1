//! Which Pods get a sidecar.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Context;
use super::wish::Wish;
use crate::capture::{Interception, SIDECAR_ID};
use crate::words;

/// `metadata.labels` or `metadata.annotations`. What is no text in YAML (`true`) counts as it is written.
pub(super) fn strings(pod: &Value, field: &str) -> BTreeMap<String, String> {
    let map = pod.get("metadata").and_then(|it| it.get(field)).and_then(Value::as_object);
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    map.into_iter().flatten().map(|(key, value)| (key.clone(), text(value))).collect()
}

/// What a Pod's author says of a sidecar: the label beats the annotation, and what is neither true nor false is nothing.
pub(super) fn author_says(pod: &Value) -> Option<bool> {
    let said = |field| match strings(pod, field).get(words::INJECT).map(String::as_str) {
        Some("true") => Some(true),
        Some("false") => Some(false),
        _ => None,
    };
    said("labels").or_else(|| said("annotations"))
}

/// What a namespace's labels say of the sidecars of its Pods; `None`: nothing, so that each Pod speaks for itself. As the
/// selectors of the webhook choose, with the revision `umbra`.
pub fn namespace_asks(labels: &BTreeMap<String, String>) -> Option<bool> {
    match labels.get("istio-injection").map(String::as_str) {
        Some(injection) => Some(injection == "enabled"),
        None => labels.get("istio.io/rev").map(|revision| revision == words::REVISION),
    }
}

/// Whether a Pod should have a sidecar: what its namespace asks for, its label [`words::INJECT`], and the annotation of the
/// same name (empty: none).
pub fn wants_sidecar(namespace_asks: Option<bool>, label: Option<&str>, annotation: &str) -> bool {
    let said = |text: &str| match text {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    };
    match namespace_asks {
        Some(true) => label.and_then(said).or_else(|| said(annotation)).unwrap_or(true),
        // No selector chooses a Pod there.
        Some(false) => false,
        // No selector sees annotations, but whoever is asked does.
        None => label.and_then(said) == Some(true),
    }
}

/// Whether a Pod has a sidecar of umbra's or Istio's template already.
pub fn has_sidecar(pod: &Value) -> bool {
    let status = strings(pod, "annotations").contains_key(words::STATUS);
    status && containers(pod).any(|it| it["name"] == words::PROXY_CONTAINER)
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    ["initContainers", "containers"].into_iter().flat_map(move |field| {
        pod.get("spec").and_then(|spec| spec.get(field)).and_then(Value::as_array).into_iter().flatten()
    })
}

/// What no Pod with a sidecar can be.
pub(super) fn check_possible(pod: &Value, context: &Context) -> Result<(), String> {
    let spec = pod.get("spec").and_then(Value::as_object).ok_or("it has no spec")?;
    if words::SYSTEM_NAMESPACES.contains(&context.namespace.as_str()) {
        return Err(format!("the namespace {} is the system's own", context.namespace));
    }
    if spec.get("hostNetwork") == Some(&Value::Bool(true)) {
        return Err("it uses the host's network (hostNetwork), whose calls are not its own".to_owned());
    }
    if pod.pointer("/spec/os/name") == Some(&Value::String("windows".to_owned())) {
        return Err("it runs on Windows".to_owned());
    }
    if spec.get("containers").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        return Err("it has no containers".to_owned());
    }
    let taken =
        |it: &&Value| [words::PROXY_CONTAINER, words::INIT_CONTAINER].iter().any(|name| it["name"] == *name);
    match containers(pod).find(taken) {
        Some(container) => Err(format!("it has a container {} of its own", container["name"])),
        None => Ok(()),
    }
}

/// Nobody else may be the user whose calls are never captured.
pub(super) fn check_users(pod: &Value, wish: &Wish) -> Result<(), String> {
    if wish.mode == Interception::None {
        return Ok(());
    }
    let is_sidecar = |owner: &Value| {
        let context = owner.get("securityContext");
        ["runAsUser", "runAsGroup"].iter().any(|field| {
            context.and_then(|it| it.get(field)).and_then(Value::as_u64) == Some(u64::from(SIDECAR_ID))
        })
    };
    let whose = pod.get("spec").filter(|spec| is_sidecar(spec)).map(|_| "the Pod".to_owned());
    let whose = whose
        .or_else(|| containers(pod).find(|it| is_sidecar(it)).map(|it| format!("container {}", it["name"])));
    match whose {
        Some(whose) => Err(format!(
            "{whose} runs as user or group {SIDECAR_ID}, the sidecar's: its calls would not be captured"
        )),
        None => Ok(()),
    }
}
