//! What was answered, and in what two answers differ: by fields where both are JSON, else by digests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Number, Value};

/// What is told of one pair at most: beyond that it is another answer altogether.
const MAX_DIFFERENCES: usize = 256;
/// The longest path that is told, in bytes: what lies deeper is compared as one value.
const MAX_PATH: usize = 200;
/// The longest value that is shown, in characters.
const MAX_VALUE: usize = 64;
/// The longest name of a field that is shown.
const MAX_NAME: usize = 64;

/// The body of an answer.
#[derive(Clone, PartialEq, Debug)]
pub enum Content {
    /// JSON that could be read.
    Json(Value),
    /// A digest of anything else.
    Digest([u8; 32]),
}

/// In what way answers differ somewhere.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum How {
    /// Another value of the same type.
    Value,
    /// A value of another type.
    Type,
    /// The copy lacks the field.
    Missing,
    /// The copy has a field that its primary lacks.
    Extra,
    /// The list has another length; its elements are not looked at.
    Length,
    /// Other bytes.
    Digest,
}

impl How {
    /// As it is written in messages and columns.
    pub fn as_str(self) -> &'static str {
        match self {
            How::Value => "value",
            How::Type => "type",
            How::Missing => "missing",
            How::Extra => "extra",
            How::Length => "length",
            How::Digest => "digest",
        }
    }
}

/// One way in which answers differ.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Difference {
    /// Where: `items[].price`, all elements of a list alike; empty: the whole of it. No value is in it, and of the names of fields
    /// those that look like data are `*`.
    pub path: Arc<str>,
    /// In what way.
    pub how: How,
}

/// In what a copy's answer differs from its primary's.
pub fn differences(primary: &Content, copy: &Content) -> BTreeSet<Difference> {
    found(primary, copy).into_keys().collect()
}

/// The values that stand there, of the primary and of the copy, for whoever may see them: as JSON and cut, objects and lists by how many
/// they hold, empty where there is none. Of several elements of a list the first that differ.
pub fn differing_values(primary: &Content, copy: &Content) -> BTreeMap<Difference, [String; 2]> {
    let all = found(primary, copy).into_iter();
    all.map(|(difference, values)| (difference, values.map(|value| value.map_or_else(String::new, shown))))
        .collect()
}

fn shown(value: &Value) -> String {
    let text = match value {
        Value::Object(fields) => return format!("{{{}}}", fields.len()),
        Value::Array(elements) => return format!("[{}]", elements.len()),
        // As much as can be shown: the rest may be long.
        Value::String(text) => Value::from(text.chars().take(MAX_VALUE).collect::<String>()).to_string(),
        other => other.to_string(),
    };
    text.chars().take(MAX_VALUE).collect()
}

fn found<'a>(primary: &'a Content, copy: &'a Content) -> Found<'a> {
    let mut walk = Walk { path: String::new(), found: BTreeMap::new() };
    match (primary, copy) {
        (Content::Json(primary), Content::Json(copy)) => walk.values(primary, copy),
        (Content::Digest(primary), Content::Digest(copy)) if primary == copy => {}
        (Content::Digest(_), Content::Digest(_)) => walk.found(How::Digest, [None; 2]),
        _ => walk.found(How::Type, [None; 2]),
    }
    walk.found
}

/// What differs, and what stands there in the first place of that path.
type Found<'a> = BTreeMap<Difference, [Option<&'a Value>; 2]>;

struct Walk<'a> {
    path: String,
    found: Found<'a>,
}

impl<'a> Walk<'a> {
    fn found(&mut self, how: How, values: [Option<&'a Value>; 2]) {
        if self.found.len() < MAX_DIFFERENCES {
            self.found.entry(Difference { path: self.path.as_str().into(), how }).or_insert(values);
        }
    }

    /// What lies within: under this name, or (none) in a list.
    fn within(&mut self, name: Option<&str>, look: impl FnOnce(&mut Self)) {
        let end = self.path.len();
        match name {
            None => self.path.push_str("[]"),
            Some(name) => {
                if end > 0 {
                    self.path.push('.');
                }
                self.path.push_str(if is_name(name) { name } else { "*" });
            }
        }
        look(self);
        self.path.truncate(end);
    }

    /// As deep as a reader of JSON goes, which is bounded.
    fn values(&mut self, primary: &'a Value, copy: &'a Value) {
        let both = [Some(primary), Some(copy)];
        match (primary, copy) {
            _ if self.path.len() >= MAX_PATH => {
                if primary != copy {
                    self.found(How::Value, both);
                }
            }
            (Value::Object(primary), Value::Object(copy)) => self.objects(primary, copy),
            (Value::Array(primary), Value::Array(copy)) if primary.len() != copy.len() => {
                self.found(How::Length, both);
            }
            (Value::Array(primary), Value::Array(copy)) => {
                for (primary, copy) in primary.iter().zip(copy) {
                    self.within(None, |walk| walk.values(primary, copy));
                }
            }
            (Value::Number(primary), Value::Number(copy)) => {
                if !same_number(primary, copy) {
                    self.found(How::Value, both);
                }
            }
            (Value::String(_), Value::String(_)) | (Value::Bool(_), Value::Bool(_)) => {
                if primary != copy {
                    self.found(How::Value, both);
                }
            }
            (Value::Null, Value::Null) => {}
            _ => self.found(How::Type, both),
        }
    }

    fn objects(&mut self, primary: &'a Map<String, Value>, copy: &'a Map<String, Value>) {
        for (name, value) in primary {
            self.within(Some(name), |walk| match copy.get(name) {
                Some(copied) => walk.values(value, copied),
                None => walk.found(How::Missing, [Some(value), None]),
            });
        }
        for (name, value) in copy.iter().filter(|(name, _)| !primary.contains_key(*name)) {
            self.within(Some(name), |walk| walk.found(How::Extra, [None, Some(value)]));
        }
    }
}

/// `1` and `1.0` are one number to most who read them.
fn same_number(a: &Number, b: &Number) -> bool {
    a == b || ((a.is_f64() || b.is_f64()) && a.as_f64() == b.as_f64())
}

/// Whether a key is the name of a field; else it is data (an id, an address, a date) by which a map is read.
fn is_name(key: &str) -> bool {
    let begins = key.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '$' | '@'));
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '$' | '@' | ':');
    let digits = key.bytes().filter(u8::is_ascii_digit).count();
    // An address has its `@` inside.
    let address = key.get(1..).is_some_and(|rest| rest.contains('@'));
    begins && !address && digits <= 3 && key.len() <= MAX_NAME && key.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(primary: &str, copy: &str, want: &[&str]) {
        let content = |text: &str| match serde_json::from_str(text) {
            Ok(value) => Content::Json(value),
            Err(_) => Content::Digest([text.len() as u8; 32]),
        };
        let found = differences(&content(primary), &content(copy));
        let found: Vec<String> = found.iter().map(|it| format!("{} {}", it.path, it.how.as_str())).collect();
        assert_eq!(found, want, "{primary} {copy}");
    }

    #[test]
    fn fields() {
        check("{}", "{}", &[]);
        check(r#"{"a": 1, "b": "x"}"#, r#"{"b": "x", "a": 1.0}"#, &[]);
        check(r#"{"a": 1, "b": "x"}"#, r#"{"a": 2, "b": "y"}"#, &["a value", "b value"]);
        check(r#"{"a": 1}"#, r#"{"a": "1"}"#, &["a type"]);
        check(r#"{"a": null}"#, r#"{}"#, &["a missing"]);
        check(r#"{"a": null}"#, r#"{"a": false}"#, &["a type"]);
        check(r#"{}"#, r#"{"a": {"b": 1}}"#, &["a extra"]);
        check(r#"{"a": {"b": {"c": true}}}"#, r#"{"a": {"b": {"c": false}}}"#, &["a.b.c value"]);
        check(r#"9007199254740993"#, r#"9007199254740992"#, &[" value"]);
        check(r#"[1, 2]"#, r#"[1, 3]"#, &["[] value"]);
    }

    #[test]
    fn values_that_are_shown_are_short() {
        let long = "x".repeat(100_000);
        let primary = format!(
            r#"{{"a": 1, "b": [1, 2], "c": {{"d": "{long}"}}, "e": [{{"f": 1}}, {{"f": 2}}], "g": {{"h": 1}}}}"#
        );
        let copy = r#"{"a": 2, "b": [1], "c": {"d": "y\n"}, "e": [{"f": 3}, {"f": 4}], "i": null}"#;
        let [primary, copy] = [&*primary, copy].map(|it| Content::Json(serde_json::from_str(it).unwrap()));
        let all = differing_values(&primary, &copy);
        let shown: Vec<_> = all.iter().map(|(it, [a, b])| (&*it.path, a.as_str(), b.as_str())).collect();
        let cut = format!("\"{}", "x".repeat(MAX_VALUE - 1));
        assert_eq!(
            shown,
            [
                ("a", "1", "2"),
                ("b", "[2]", "[1]"),
                ("c.d", &*cut, r#""y\n""#),
                ("e[].f", "1", "3"),
                ("g", "{1}", ""),
                ("i", "", "null"),
            ]
        );
        assert_eq!(all.into_keys().collect::<BTreeSet<_>>(), differences(&primary, &copy));
    }

    #[test]
    fn lists() {
        let (one, other) = (r#"{"items": [{"price": 1}, {"price": 2}]}"#, r#"{"items": [{"price": 1}]}"#);
        check(one, other, &["items length"]);
        check(one, &one.replace('2', "3").replace(": 1", ": 7"), &["items[].price value"]);
        check("[[1], [2]]", "[[1], [3]]", &["[][] value"]);
        check(r#"[{"a": 1}]"#, r#"[{"b": 1}]"#, &["[].a missing", "[].b extra"]);
    }

    #[test]
    fn what_is_no_json_is_compared_as_it_is() {
        check("<a>", "<b>", &[]);
        check("<a>", "<ab>", &[" digest"]);
        check("{}", "<a>", &[" type"]);
    }

    #[test]
    fn keys_that_are_data_are_not_told() {
        for key in ["4711", "ada@example.com", "2026-01-01", "0b5c2f1e-77aa", "user 7", "a8f1c09e7b11", ""] {
            check(&format!(r#"{{"{key}": 1}}"#), "{}", &["* missing"]);
        }
        for key in ["price", "unitPrice_2", "$ref", "@type", "content-type", "rfc822"] {
            check(&format!(r#"{{"{key}": 1}}"#), "{}", &[&format!("{key} missing")]);
        }
    }

    #[test]
    fn what_is_told_is_bounded() {
        let all = |n| (0..1000).map(|i| format!("\"{}\": {n}", letters(i))).collect::<Vec<_>>().join(",");
        let content = |n| Content::Json(serde_json::from_str(&format!("{{{}}}", all(n))).unwrap());
        assert_eq!(differences(&content(1), &content(2)).len(), MAX_DIFFERENCES);
        let deep = |end| format!("{}{end}{}", r#"{"abcdefgh":"#.repeat(100), "}".repeat(100));
        let content = |end| Content::Json(serde_json::from_str(&deep(end)).unwrap());
        let found = differences(&content(1), &content(2));
        assert!(found.len() == 1 && found.iter().all(|it| it.path.len() < MAX_PATH + MAX_NAME));
    }

    fn letters(mut n: usize) -> String {
        let mut text = String::from("f");
        while n > 0 {
            text.push(char::from(b'a' + (n % 26) as u8));
            n /= 26;
        }
        text
    }
}
