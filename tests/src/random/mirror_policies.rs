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
        ("mark", t.maybe(3, |t| t.one_in(2).into())),
        ("limits", t.maybe(3, limits)),
        ("observe", t.maybe(3, |t| t.one_in(2).into())),
        ("verdicts", t.maybe(3, verdicts)),
        ("abort", t.maybe(3, abort)),
        ("maxRequestsPerSecond", t.maybe(4, |t| t.pick(&[1, 100, 0, u32::MAX]).into())),
        ("sample", t.maybe(8, |t| t.pick(&["nested", "independent", "other"]).into())),
        ("ramp", t.maybe(3, ramp)),
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

/// The largest of the limits below.
pub(super) const LIMIT: u32 = 2000;

fn limits(t: &mut Tape<'_>) -> Value {
    let mut limit = || t.maybe(2, |t| t.pick(&[1, 7, LIMIT, 0]).into());
    fields([
        ("maxConnections", limit()),
        ("maxPendingRequests", limit()),
        ("maxRequests", limit()),
        ("maxStreamDuration", t.maybe(2, |t| t.pick(&["1s", "0s", "-1s", "10m"]).into())),
    ])
}

fn verdicts(t: &mut Tape<'_>) -> Value {
    fields([
        ("rate", t.maybe(2, |t| t.pick(&[20, 0, 1, 1_000_000]).into())),
        ("contents", t.maybe(2, |t| t.one_in(2).into())),
    ])
}

fn abort(t: &mut Tape<'_>) -> Value {
    let mut limit = || {
        t.maybe(2, |t| {
            fields([
                ("percent", Some(t.pick(&[5.0, 0.0, 100.0, 101.0, 0.01]).into())),
                ("window", t.maybe(2, |t| t.pick(&["30s", "1s", "10m", "1h"]).into())),
                ("minimum", t.maybe(2, |t| t.pick(&[100, 0, 1]).into())),
            ])
        })
    };
    fields([
        ("shadowErrors", limit()),
        ("copiesLost", limit()),
        ("primaryErrors", limit()),
        ("primaryLatency", limit()),
        ("verdict", t.maybe(3, |t| t.pick(&["different", "same"]).into())),
    ])
}

fn ramp(t: &mut Tape<'_>) -> Value {
    let step = |t: &mut Tape<'_>| {
        fields([
            ("percent", Some(t.pick(&[1.0, 10.0, 50.0, 0.0, 100.0, -1.0]).into())),
            ("time", t.maybe(2, |t| t.pick(&["1s", "1m", "-1s"]).into())),
            ("requests", t.maybe(2, |t| t.pick(&[100, 0]).into())),
        ])
    };
    fields([
        ("steps", Some(t.list(3, step).into())),
        ("verdict", t.maybe(3, |t| t.pick(&["same", "different"]).into())),
    ])
}
