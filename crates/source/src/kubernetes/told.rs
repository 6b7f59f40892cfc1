//! An object as the API server tells it, each read by itself: one that cannot be read is that object's trouble alone.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// One object.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Told {
    /// All of it; of a broken one what says which object it is, and its status.
    pub(crate) value: Value,
    /// Why the rest cannot be read: it is nested too deep, for example.
    pub(crate) broken: Option<String>,
}

impl Told {
    /// Reads the text of one object.
    pub(crate) fn read(text: &RawValue) -> Self {
        match serde_json::from_str(text.get()) {
            Ok(value) => Told { value, broken: None },
            Err(why) => {
                // An object of which not even this can be read has no name to say anything about.
                let head: Head = serde_json::from_str(text.get()).unwrap_or_default();
                Told { value: head.value(), broken: Some(why.to_string()) }
            }
        }
    }

    /// The text at a path (RFC 6901).
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.value.pointer(path).and_then(Value::as_str)
    }

    /// Its resource version.
    pub(crate) fn version(&self) -> Option<&str> {
        self.text("/metadata/resourceVersion")
    }
}

impl From<Value> for Told {
    fn from(value: Value) -> Self {
        Told { value, broken: None }
    }
}

/// What is read of an object that cannot be read: the parts are skipped over without a look into them, so nothing in them
/// can be in the way.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    api_version: Option<Box<RawValue>>,
    kind: Option<Box<RawValue>>,
    metadata: Option<BTreeMap<String, Box<RawValue>>>,
    status: Option<Box<RawValue>>,
}

impl Head {
    fn value(self) -> Value {
        let read = |text: &RawValue| serde_json::from_str::<Value>(text.get()).ok();
        // Of the metadata what can be read: who manages a field that is nested too deep is told as deep.
        let metadata = self.metadata.map(|metadata| -> Value {
            metadata.into_iter().filter_map(|(key, text)| Some((key, read(&text)?))).collect()
        });
        let whole = |text: Option<Box<RawValue>>| text.as_deref().and_then(read);
        let parts = [
            ("apiVersion", whole(self.api_version)),
            ("kind", whole(self.kind)),
            ("metadata", metadata),
            ("status", whole(self.status)),
        ];
        parts.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, name: Option<&str>, broken: bool) {
        let raw: Box<RawValue> = serde_json::from_str(text).expect("JSON");
        let told = Told::read(&raw);
        assert_eq!((told.text("/metadata/name"), told.broken.is_some()), (name, broken), "{text}");
    }

    #[test]
    fn one_that_cannot_be_read_still_has_a_name() {
        let deep = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        let object = |spec: &str| format!(r#"{{"kind":"X","metadata":{{"name":"a"}},"spec":{spec}}}"#);
        check(&object(&deep(100)), Some("a"), false);
        check(&object(&deep(100_000)), Some("a"), true);
        check(&object("1e999"), Some("a"), true);
        check(&object(&format!(r#"1,"status":{}"#, deep(1000))), Some("a"), true);
        let managed = format!(r#"{{"metadata":{{"name":"a","managedFields":[{}]}}}}"#, deep(1000));
        check(&managed, Some("a"), true);
        check(&deep(1000), None, true);
    }
}
