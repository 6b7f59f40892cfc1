//! MirrorPolicies.

use serde_json::{Value, json};

use super::core::meta;
use super::rules::{HEADER_NAMES, HEADER_VALUES, destination};
use super::tape::{Tape, fields};

/// What becomes of copies of one of the VirtualServices of the namespace, or of none.
pub fn mirror_policy(t: &mut Tape<'_>, namespace: &str, name: &str) -> Value {
    let metadata = meta(t, namespace, name);
    let spec = fields([
        ("targetRef", if t.one_in(10) { None } else { Some(target(t)) }),
        (
            "methods",
            t.maybe(2, |t| t.list(3, |t| t.pick(&["GET", "POST", "PUT", "*", "g t", "HEAD"])).into()),
        ),
        ("headers", t.maybe(2, headers)),
        ("host", t.maybe(3, host)),
    ]);
    json!({"apiVersion": "umbra.io/v1alpha1", "kind": "MirrorPolicy", "metadata": metadata, "spec": spec})
}

fn target(t: &mut Tape<'_>) -> Value {
    fields([
        ("name", Some(t.pick(&["web", "one", "two", "web", "nobody"]).into())),
        ("rule", t.maybe(4, |t| t.pick(&["a", "b", "ü"]).into())),
        ("mirror", t.maybe(3, destination)),
    ])
}

fn headers(t: &mut Tape<'_>) -> Value {
    fields([
        ("remove", t.maybe(2, |t| t.list(2, |t| t.pick(HEADER_NAMES)).into())),
        ("set", t.maybe(2, |t| t.map(2, HEADER_NAMES, HEADER_VALUES))),
    ])
}

fn host(t: &mut Tape<'_>) -> Value {
    fields([
        ("value", t.maybe(2, |t| t.pick(&["caller", "target"]).into())),
        ("suffix", t.maybe(2, |t| t.one_in(2).into())),
    ])
}
