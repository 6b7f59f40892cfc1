//! What was added to an object, as a JSON patch (RFC 6902).

use serde_json::{Value, json};

/// The operations that make `old` to `new`, which has more of keys, and of items at both ends of lists.
pub fn json_patch(old: &Value, new: &Value) -> Vec<Value> {
    let mut operations = Vec::new();
    add(&mut operations, "", old, new);
    operations
}

fn add(operations: &mut Vec<Value>, path: &str, old: &Value, new: &Value) {
    if old == new {
        return;
    }
    match (old, new) {
        (Value::Object(old), Value::Object(new)) if old.keys().all(|key| new.contains_key(key)) => {
            for (key, value) in new {
                // RFC 6901, 4.
                let path = format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"));
                match old.get(key) {
                    Some(old) => add(operations, &path, old, value),
                    None => operations.push(json!({"op": "add", "path": path, "value": value})),
                }
            }
        }
        (Value::Array(old), Value::Array(all)) if old.len() < all.len() => {
            let Some(start) =
                all.windows(old.len().max(1)).position(|part| part == old).or(old.is_empty().then_some(0))
            else {
                return replace(operations, path, new);
            };
            for (index, value) in all.iter().enumerate() {
                if index < start || index >= start + old.len() {
                    // In ascending order each stands where it stands in the end.
                    operations.push(json!({"op": "add", "path": format!("{path}/{index}"), "value": value}));
                }
            }
        }
        _ => replace(operations, path, new),
    }
}

fn replace(operations: &mut Vec<Value>, path: &str, new: &Value) {
    operations.push(json!({"op": "replace", "path": path, "value": new}));
}
