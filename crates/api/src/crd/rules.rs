//! What must stop a bad mirror at `kubectl apply`, as CEL rules. They stand on single elements, where the
//! API server's cost budget allows them. What Istio accepts and umbra can do without (a mirror beside a
//! redirect) is a diagnostic instead.

use serde_json::{Value, json};

use crate::check::mirror_policy::{MAX_HEADERS, MAX_METHODS, MAX_STEPS};

/// The longest name of a header that an API server takes.
const MAX_HEADER_NAME: usize = 256;

const SHARE: &str =
    "the share of a mirror is 0 (off), or from 0.0001 to 100 percent; leave it out to mirror everything";

/// A percentage: absent, 0, or from one in a million to all. The rules stand on the message `Percent` itself,
/// and are two: on the route, or as one, they would be beyond the budget.
fn percentage() -> Vec<Value> {
    vec![
        json!({
            "rule": "!has(self.value) || (self.value >= 0.0 && self.value <= 100.0)",
            "message": SHARE,
        }),
        json!({
            "rule": "!has(self.value) || self.value <= 0.0 || self.value >= 0.0001",
            "message": SHARE,
        }),
    ]
}

fn whole_percentage(field: &str) -> Value {
    json!({
        "rule": format!("!has(self.{field}) || self.{field} <= 100"),
        "message": format!("{field} is a percentage from 0 to 100; leave it out to mirror everything"),
    })
}

fn host(field: &str) -> Value {
    json!({
        "rule": format!("!has(self.{field}) || (has(self.{field}.host) && size(self.{field}.host) > 0)"),
        "message": format!("{field} needs a host, for example {{host: httpbin, subset: v2}}"),
    })
}

/// A limit that is a part of something.
fn part() -> Value {
    json!([{
        "rule": "has(self.percent) && self.percent >= 0.0 && self.percent <= 100.0",
        "message": "a limit needs a percent, from 0 to 100",
    }])
}

/// Puts the rules into the schema of a MirrorPolicy's spec: its whole point is that nothing is copied by mistake, so what is
/// none must not be stored. The bounds keep the rules within the API server's cost budget.
pub(super) fn mirror_policy(spec: &mut Value) {
    let token = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$";
    let name = |what: &str| json!([{ "rule": format!("self.matches(\"{token}\")"), "message": format!("that is no {what}") }]);
    for (path, key, value) in [
        (
            "",
            "x-kubernetes-validations",
            json!([{
                "rule": "has(self.targetRef) && has(self.targetRef.name) && size(self.targetRef.name) > 0",
                "message": "targetRef needs the name of a VirtualService, for example {name: reviews}",
            }, {
                "rule": "!has(self.observe) || self.observe || !(has(self.abort) || has(self.maxRequestsPerSecond) || has(self.ramp) || has(self.verdicts))",
                "message": "abort, maxRequestsPerSecond, ramp and verdicts go by what is counted: observe must not be false",
            }]),
        ),
        (
            "/properties/targetRef",
            "x-kubernetes-validations",
            json!([
                {
                    "rule": "!has(self.group) || self.group in ['', 'networking.istio.io']",
                    "message": "a policy is for a VirtualService of networking.istio.io",
                },
                {
                    "rule": "!has(self.kind) || self.kind in ['', 'VirtualService']",
                    "message": "a policy is for a VirtualService",
                },
            ]),
        ),
        ("/properties/methods", "maxItems", json!(MAX_METHODS)),
        ("/properties/methods/items", "maxLength", json!(MAX_METHODS)),
        ("/properties/methods/items", "x-kubernetes-validations", name("method")),
        ("/properties/headers/properties/remove", "maxItems", json!(MAX_HEADERS)),
        ("/properties/headers/properties/remove/items", "maxLength", json!(MAX_HEADER_NAME)),
        ("/properties/headers/properties/remove/items", "x-kubernetes-validations", name("name of a header")),
        ("/properties/headers/properties/set", "maxProperties", json!(MAX_HEADERS)),
        ("/properties/verdicts/properties/rate", "maximum", json!(umbra_ir::Verdicts::MAX_RATE)),
        (
            "/properties/verdicts",
            "x-kubernetes-validations",
            json!([{
                "rule": "!has(self.values) || !self.values || (has(self.contents) && self.contents)",
                "message": "values are those of contents: contents must be true",
            }]),
        ),
        ("/properties/maxRequestsPerSecond", "minimum", json!(1)),
        (
            "/properties/sample",
            "x-kubernetes-validations",
            json!([{
                "rule": "self != 'independent'",
                "message": "Envoy draws one number for a request, by which it chooses for every mirror: samples are nested",
            }]),
        ),
        (
            "/properties/ramp",
            "x-kubernetes-validations",
            json!([{ "rule": "has(self.steps)", "message": "a ramp needs steps" }]),
        ),
        ("/properties/ramp/properties/steps", "minItems", json!(1)),
        ("/properties/ramp/properties/steps", "maxItems", json!(MAX_STEPS)),
        (
            "/properties/ramp/properties/steps/items",
            "x-kubernetes-validations",
            json!([
                {
                    "rule": "has(self.percent) && self.percent >= 0.0001 && self.percent <= 100.0",
                    "message": "a step needs a percent, from 0.0001 to 100",
                },
                { "rule": "has(self.time)", "message": "a step needs a time, for example 10m" },
            ]),
        ),
        ("/properties/abort/properties/shadowErrors", "x-kubernetes-validations", part()),
        ("/properties/abort/properties/copiesLost", "x-kubernetes-validations", part()),
        ("/properties/abort/properties/primaryErrors", "x-kubernetes-validations", part()),
    ] {
        if let Some(Value::Object(schema)) = spec.pointer_mut(path) {
            schema.insert(key.to_owned(), value);
        }
    }
}

/// Puts the rules into the schema of a VirtualService's spec.
pub(super) fn virtual_service(spec: &mut Value) {
    if let Some(fields) = spec.pointer_mut("/properties/http/items/properties").and_then(Value::as_object_mut)
    {
        // serde's derive does not show the proto's spellings, and what a schema does not know has neither type nor rules.
        for (name, proto) in [("mirrorPercent", "mirror_percent"), ("mirrorPercentage", "mirror_percentage")]
        {
            if let Some(field) = fields.get(name).cloned() {
                fields.insert(proto.to_owned(), field);
            }
        }
    }
    for (path, rules) in [
        (
            "/properties/http/items",
            vec![host("mirror"), whole_percentage("mirrorPercent"), whole_percentage("mirror_percent")],
        ),
        (
            "/properties/http/items/properties/mirrors/items",
            vec![json!({
                "rule": "has(self.destination) && has(self.destination.host) && size(self.destination.host) > 0",
                "message": "an entry of mirrors needs a host, for example {destination: {host: httpbin, subset: v2}}",
            })],
        ),
        ("/properties/http/items/properties/mirrorPercentage", percentage()),
        ("/properties/http/items/properties/mirror_percentage", percentage()),
        ("/properties/http/items/properties/mirrors/items/properties/percentage", percentage()),
        (
            "/properties/http/items/properties/route/items",
            vec![json!({
                "rule": "!has(self.weight) || self.weight >= 0",
                "message": "weight must not be negative; 0 sends nothing",
            })],
        ),
    ] {
        if let Some(Value::Object(schema)) = spec.pointer_mut(path) {
            schema.insert("x-kubernetes-validations".to_owned(), rules.into());
        }
    }
}
