//! A Pod with a sidecar: whether it gets one, and what it has then.

mod choice;
mod patch;
mod template;
mod wish;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::settings::Settings;
use crate::words;

pub use choice::{has_sidecar, namespace_asks, wants_sidecar};
pub use patch::json_patch;

/// What a Pod does not say itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Context {
    /// Its namespace.
    pub namespace: String,
    /// The name of the workload that it belongs to, when it is known; empty otherwise.
    pub workload: String,
    /// It is a Job's, and ends.
    pub ends: bool,
}

/// What became of a Pod.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// It has a sidecar now.
    Injected {
        /// The Pod, or the template of Pods.
        pod: Value,
        /// What its author should know.
        warnings: Vec<String>,
    },
    /// It had one, or its author wants none. Not worth a word.
    Unchanged,
    /// It should have one and cannot; why.
    Refused(String),
}

/// Gives a Pod (or a template of Pods: `metadata` and `spec` count) its sidecar. Whoever calls has found that its namespace
/// or its author asks for one; that its author refuses one is found here.
pub fn inject(pod: &Value, context: &Context, settings: &Settings) -> Outcome {
    if has_sidecar(pod) || choice::author_says(pod) == Some(false) {
        return Outcome::Unchanged;
    }
    let outcome = choice::check_possible(pod, context)
        .and_then(|()| wish::Wish::read(pod, context, settings))
        .and_then(|wish| {
            choice::check_users(pod, &wish)?;
            let parts = template::build_parts(&wish, settings)
                .map_err(|error| format!("its sidecar cannot be written: {error}"))?;
            Ok((place(pod, context, &wish, parts)?, wish.warnings))
        });
    match outcome {
        Ok((pod, warnings)) => Outcome::Injected { pod, warnings },
        Err(why) => Outcome::Refused(why),
    }
}

/// Puts what was built where it belongs.
fn place(pod: &Value, context: &Context, wish: &wish::Wish, parts: template::Parts) -> Result<Value, String> {
    let mut pod = pod.clone();
    let status = parts.status(wish.native);
    let template::Parts { init, proxy, volumes } = parts;
    let spec = object(&mut pod, "spec")?;
    if wish.native {
        // Before the author's own, whose calls are captured as well.
        list(spec, "initContainers")?.splice(0..0, [init, proxy]);
    } else {
        // Behind the author's own, whose calls would find no sidecar yet.
        list(spec, "initContainers")?.push(init);
        list(spec, "containers")?.insert(0, proxy);
    }
    list(spec, "volumes")?.extend(volumes);
    let first = pod.pointer("/spec/containers").and_then(Value::as_array).into_iter().flatten();
    let first = first.filter_map(|it| it["name"].as_str()).find(|name| *name != words::PROXY_CONTAINER);
    let first = first.unwrap_or_default().to_owned();
    let labels = choice::strings(&pod, "labels");
    let metadata = object(&mut pod, "metadata")?;
    add(object(metadata, "labels")?, words::CANONICAL_NAME, canonical_name(&labels, context));
    add(object(metadata, "labels")?, words::CANONICAL_REVISION, canonical_revision(&labels));
    if !wish.native {
        // `kubectl exec` takes the first container otherwise, and that is the sidecar.
        add(object(metadata, "annotations")?, words::DEFAULT_CONTAINER, first);
    }
    add(object(metadata, "annotations")?, words::STATUS, status.to_string());
    Ok(pod)
}

/// A map in a map; it is made when it is missing.
fn object<'a>(
    within: &'a mut (impl Within + ?Sized),
    key: &str,
) -> Result<&'a mut Map<String, Value>, String> {
    let value = within.entry_of(key).ok_or("it is no object")?;
    if value.is_null() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().ok_or_else(|| format!("its {key} is no map"))
}

/// A list in a map; it is made when it is missing.
fn list<'a>(within: &'a mut Map<String, Value>, key: &str) -> Result<&'a mut Vec<Value>, String> {
    let value = within.entry(key).or_insert(Value::Null);
    if value.is_null() {
        *value = Value::Array(Vec::new());
    }
    value.as_array_mut().ok_or_else(|| format!("its {key} is no list"))
}

/// What has keys.
trait Within {
    fn entry_of(&mut self, key: &str) -> Option<&mut Value>;
}

impl Within for Value {
    fn entry_of(&mut self, key: &str) -> Option<&mut Value> {
        self.as_object_mut().map(|map| map.entry(key).or_insert(Value::Null))
    }
}

impl Within for Map<String, Value> {
    fn entry_of(&mut self, key: &str) -> Option<&mut Value> {
        Some(self.entry(key).or_insert(Value::Null))
    }
}

/// What the author wrote stays.
fn add(map: &mut Map<String, Value>, key: &str, value: String) {
    if !value.is_empty() {
        map.entry(key).or_insert(Value::String(value));
    }
}

fn canonical_name(labels: &BTreeMap<String, String>, context: &Context) -> String {
    let own = ["app.kubernetes.io/name", "app"].iter().find_map(|key| labels.get(*key));
    label_value(own.map_or(context.workload.as_str(), String::as_str))
}

fn canonical_revision(labels: &BTreeMap<String, String>) -> String {
    let own = ["app.kubernetes.io/version", "version"].iter().find_map(|key| labels.get(*key));
    label_value(own.map_or("latest", String::as_str))
}

/// A text as a label may have it: 63 characters, with a letter or digit at the end.
fn label_value(text: &str) -> String {
    text.chars().take(63).collect::<String>().trim_end_matches(['-', '_', '.']).to_owned()
}

#[cfg(test)]
mod tests;
