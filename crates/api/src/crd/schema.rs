//! From what schemars makes of a type to what an API server takes: a structural schema (Kubernetes,
//! "Specifying a structural schema").

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

/// The structural schema of a type. Every object in it keeps the fields that it does not name.
pub(crate) fn of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::openapi3().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    make_structural(&mut schema);
    schema
}

fn make_structural(value: &mut Value) {
    let Value::Object(schema) = value else { return };
    unwrap_option(schema);
    // Formats such as uint32 mean nothing to an API server; nothing may be defaulted.
    for key in ["$schema", "title", "format", "default"] {
        schema.remove(key);
    }
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = plain(text);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(part) = schema.get_mut(key) {
            make_structural(part);
        }
    }
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.values_mut().for_each(make_structural);
        schema.insert("x-kubernetes-preserve-unknown-fields".to_owned(), true.into());
    }
}

/// `Option<T>` is T that may be null, in whichever of its spellings.
fn unwrap_option(schema: &mut Map<String, Value>) {
    if let Some(Value::Array(kinds)) = schema.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [kind] = &kinds[..] {
            let kind = kind.clone();
            schema.insert("type".to_owned(), kind);
            schema.insert("nullable".to_owned(), true.into());
        }
    }
    let some = schema.get_mut("anyOf").and_then(Value::as_array_mut).map(std::mem::take);
    if let Some(variants) = some {
        schema.remove("anyOf");
        for variant in variants {
            if let Value::Object(variant) = variant
                && variant.get("type").is_some_and(|kind| kind != "null")
            {
                for (key, value) in variant {
                    // The field's own description is the better one.
                    schema.entry(key).or_insert(value);
                }
            }
        }
        schema.insert("nullable".to_owned(), true.into());
    }
    if schema.get("nullable") == Some(&Value::Bool(true))
        && let Some(Value::Array(values)) = schema.get_mut("enum")
    {
        values.retain(|value| !value.is_null());
        values.push(Value::Null);
    }
}

/// Rust's links as plain words.
fn plain(text: &str) -> String {
    text.replace("[`", "`").replace("`]", "`").replace('\n', " ")
}
