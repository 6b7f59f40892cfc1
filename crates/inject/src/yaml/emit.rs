//! Values as YAML in block style.

use serde_json::Value;

use super::plain;

/// A value as lines, each behind `indent` blanks.
pub(super) fn block(value: &Value, indent: usize) -> String {
    let mut text = String::new();
    write(&mut text, value, indent);
    text
}

fn write(text: &mut String, value: &Value, indent: usize) {
    let blanks = " ".repeat(indent);
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                text.push_str(&blanks);
                entry(text, key, value, indent);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                text.push_str(&blanks);
                text.push_str("- ");
                // The first line stands behind the dash.
                text.push_str(block(item, indent + 2).trim_start_matches(' '));
            }
        }
        other => {
            text.push_str(&blanks);
            text.push_str(&scalar(other));
            text.push('\n');
        }
    }
}

/// `key: value`, without blanks before it. `name` first in a map, as people write it, is not worth another order.
fn entry(text: &mut String, key: &str, value: &Value, indent: usize) {
    text.push_str(&word(key));
    text.push(':');
    match value {
        Value::Object(map) if !map.is_empty() => {
            text.push('\n');
            write(text, value, indent + 2);
        }
        Value::Array(items) if !items.is_empty() => {
            text.push('\n');
            write(text, value, indent);
        }
        other => {
            text.push(' ');
            text.push_str(&scalar(other));
            text.push('\n');
        }
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => word(text),
        // `{}`, `[]`, numbers, true, false, null: as in JSON.
        other => other.to_string(),
    }
}

/// A text with quotes where it needs them, or might to some reader: YAML 1.1 has dates, and numbers of base 60.
fn word(text: &str) -> String {
    let bare = text.trim_start_matches("--");
    let first = bare.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let safe = first
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_./-~$()=:@".contains(c))
        && !text.ends_with(':');
    let safe = safe || (!text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric()));
    if safe && plain::resolve(text).is_string() { text.to_owned() } else { quoted(text) }
}

/// A text in double quotes; JSON's are YAML's.
fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}
