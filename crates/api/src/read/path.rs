//! Field paths, such as `spec.http[0].headers["x.y"]`.

use std::borrow::Cow;

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment<'a> {
    /// A field or a map key.
    Key(Cow<'a, str>),
    /// An item of a list.
    Index(usize),
}

/// `path` and then the field or map key `key`; a key that is not plain is put in brackets and quotes.
pub fn join(path: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    match (plain, path.is_empty()) {
        (true, true) => key.to_owned(),
        (true, false) => format!("{path}.{key}"),
        (false, _) => format!("{path}[{key:?}]"),
    }
}

/// `path` and then item `index`.
pub fn item(path: &str, index: usize) -> String {
    format!("{path}[{index}]")
}

/// Splits a path into its steps. Text that is no path gives steps that lead nowhere.
pub fn parse(path: &str) -> Vec<Segment<'_>> {
    let mut segments = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(tail) = rest.strip_prefix('.') {
            rest = tail;
        } else if let Some(tail) = rest.strip_prefix("[\"") {
            let end = closing_quote(tail);
            segments.push(Segment::Key(unescape(&tail[..end])));
            rest = tail[end..].trim_start_matches('"').trim_start_matches(']');
        } else if let Some(tail) = rest.strip_prefix('[') {
            let end = tail.find(']').unwrap_or(tail.len());
            segments.push(match tail[..end].parse() {
                Ok(index) => Segment::Index(index),
                Err(_) => Segment::Key(Cow::Borrowed(&tail[..end])),
            });
            rest = tail[end..].trim_start_matches(']');
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            segments.push(Segment::Key(Cow::Borrowed(&rest[..end])));
            rest = &rest[end..];
        }
    }
    segments
}

/// The index of the first quote that no backslash escapes, or the length.
fn closing_quote(text: &str) -> usize {
    let mut escaped = false;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'"' if !escaped => return index,
            b'\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

/// Undoes the escapes that matter for finding a key.
fn unescape(text: &str) -> Cow<'_, str> {
    if text.contains('\\') {
        Cow::Owned(text.replace("\\\"", "\"").replace("\\\\", "\\"))
    } else {
        Cow::Borrowed(text)
    }
}

/// The lowerCamelCase spelling of a proto field name, by proto JSON's rule: `mirror_percent` becomes
/// `mirrorPercent`. `None` when `name` is not written in snake_case.
pub(crate) fn camel_case(name: &str) -> Option<String> {
    let snake =
        name.contains('_') && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if !snake {
        return None;
    }
    let mut camel = String::with_capacity(name.len());
    let mut upper = false;
    for c in name.chars() {
        match c {
            '_' => upper = true,
            c if upper => {
                camel.push(c.to_ascii_uppercase());
                upper = false;
            }
            c => camel.push(c),
        }
    }
    Some(camel)
}

/// Whether a key, as written, is the field `name`.
pub(crate) fn same_field(key: &str, name: &str) -> bool {
    key == name || camel_case(key).is_some_and(|camel| camel == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_survive_the_round_trip() {
        for keys in [vec!["spec", "a.b/c", "x-y"], vec!["we\"ird]", "z"], vec!["", "q"]] {
            let path = keys.iter().fold(String::new(), |path, key| join(&path, key));
            let want: Vec<_> = keys.iter().map(|k| Segment::Key(Cow::Borrowed(*k))).collect();
            assert_eq!(parse(&path), want, "{path}");
        }
        assert_eq!(parse("a[3].b"), [Segment::Key("a".into()), Segment::Index(3), Segment::Key("b".into())]);
    }

    #[test]
    fn camel_case_is_proto_jsons() {
        for (name, want) in [
            ("mirror_percent", Some("mirrorPercent")),
            ("consecutive_5xx_errors", Some("consecutive5xxErrors")),
            ("mirrorPercent", None),
            ("host", None),
        ] {
            assert_eq!(camel_case(name).as_deref(), want, "{name}");
        }
    }
}
