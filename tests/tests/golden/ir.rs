//! What the front ends made of a case's objects, in few words.

use anyhow::Result;
use serde_json::{Map, Value};
use umbra_engine::Said;

/// The text of `ir.yaml`, or `None` when nothing that is read says anything.
///
/// What is empty or off is left out, an object is `KIND NAMESPACE/NAME`, a time `1.5s`: a reader looks for what is there.
pub(crate) fn readable(said: &Said) -> Result<Option<String>> {
    let short = shorten(serde_json::to_value(said)?);
    Ok(if is_nothing(&short) { None } else { Some(serde_saphyr::to_string(&short)?) })
}

fn shorten(value: Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(shorten).collect()),
        Value::Object(map) => match words(&map) {
            Some(words) => Value::String(words),
            None => {
                let kept = map.into_iter().map(|(key, value)| (key, shorten(value)));
                Value::Object(kept.filter(|(key, value)| !is_left_out(key, value)).collect())
            }
        },
        other => other,
    }
}

/// An object's identity and a time in the form in which people write them.
fn words(map: &Map<String, Value>) -> Option<String> {
    let text = |key| map.get(key).and_then(Value::as_str);
    let number = |key| map.get(key).and_then(Value::as_u64);
    if let (3, Some(kind), Some(namespace), Some(name)) =
        (map.len(), text("kind"), text("namespace"), text("name"))
    {
        return Some(format!("{kind} {namespace}/{name}"));
    }
    let (2, Some(secs), Some(nanos)) = (map.len(), number("secs"), number("nanos")) else { return None };
    Some(format!("{}s", secs as f64 + nanos as f64 / 1e9))
}

fn is_left_out(key: &str, value: &Value) -> bool {
    // The order of arrival among equals: most cases do not say when an object was created.
    is_nothing(value) || (key == "created" && value.as_i64() == Some(0))
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}
