//! Changes YAML where something is inserted, and nowhere else: comments, quotes, anchors and blanks stay as they are.
//!
//! The parser tells where each node stands; [`change`] compares what a document means with what it should mean, and edits
//! its text at the places where the two differ. The result is read again: when it does not mean what it should, the
//! document is written anew as a whole, which is always right and keeps no comment.

mod documents;
mod edit;
mod emit;
mod node;
mod plain;

use serde_json::Value;

pub use documents::documents;
pub use node::SyntaxError;

/// What a document (a text without further `---`) means. `Null` when it is empty.
///
/// # Errors
/// It is no YAML.
pub fn read(text: &str) -> Result<Value, SyntaxError> {
    Ok(node::parse(text)?.map_or(Value::Null, |document| document.value()))
}

/// The text that means `new`, and is `text` wherever it may be. Things may be added in `new`: keys, and items before and
/// behind those of a list; and keys may be missing in it.
///
/// # Errors
/// `text` is no YAML.
pub fn change(text: &str, new: &Value) -> Result<String, SyntaxError> {
    let Some(document) = node::parse(text)? else { return Ok(text.to_owned()) };
    if document.value() == *new {
        return Ok(text.to_owned());
    }
    let edited = edit::edit(text, &document, new);
    if read(&edited).is_ok_and(|value| value == *new) {
        return Ok(edited);
    }
    let start = if text.starts_with("---") { "---\n" } else { "" };
    Ok(format!("{start}{}", emit::block(new, 0)))
}

#[cfg(test)]
mod tests;
