//! Custom resource definitions of the Istio kinds and of our own, from the Rust types.
//!
//! Group, names, versions and the status subresource are Istio's, so that objects written for Istio apply
//! unchanged. Nothing is defaulted: Flagger compares what it reads with what it wrote, and would loop.
//! Start reading at: [`crds`].

mod rules;
mod schema;
#[cfg(test)]
mod tests;

use serde_json::{Value, json};
use umbra_ir::{Kind, KindFacts};

use crate::{
    DestinationRuleSpec, GatewaySpec, MirrorPolicySpec, ServiceEntrySpec, SidecarSpec, VirtualServiceSpec,
    WorkloadEntry,
};

/// What a definition has of its own.
struct Definition {
    kind: Kind,
    /// Name, JSON path and type of what `kubectl get` shows.
    columns: &'static [(&'static str, &'static str, &'static str)],
}

const ACCEPTED: (&str, &str, &str) =
    ("Accepted", r#".status.conditions[?(@.type=="Accepted")].status"#, "string");
const AGE: (&str, &str, &str) = ("Age", ".metadata.creationTimestamp", "date");

const DEFINITIONS: [Definition; 7] = [
    Definition {
        kind: Kind::VirtualService,
        columns: &[
            ("Hosts", ".spec.hosts", "string"),
            ("Gateways", ".spec.gateways", "string"),
            ACCEPTED,
            // A column shows one value only, so the status carries the summary ready-made.
            ("Mirrors", ".status.mirrors", "string"),
            AGE,
        ],
    },
    Definition { kind: Kind::DestinationRule, columns: &[("Host", ".spec.host", "string"), ACCEPTED, AGE] },
    Definition {
        kind: Kind::ServiceEntry,
        columns: &[
            ("Hosts", ".spec.hosts", "string"),
            ("Location", ".spec.location", "string"),
            ("Resolution", ".spec.resolution", "string"),
            ACCEPTED,
            AGE,
        ],
    },
    Definition { kind: Kind::Gateway, columns: &[("Selector", ".spec.selector", "string"), ACCEPTED, AGE] },
    Definition { kind: Kind::WorkloadEntry, columns: &[("Address", ".spec.address", "string"), AGE] },
    Definition { kind: Kind::Sidecar, columns: &[AGE] },
    Definition {
        kind: Kind::MirrorPolicy,
        columns: &[("Target", ".spec.targetRef.name", "string"), ACCEPTED, AGE],
    },
];

/// The definitions (`apiextensions.k8s.io/v1` CustomResourceDefinition), as they are installed.
pub fn crds() -> Vec<Value> {
    DEFINITIONS.iter().map(definition).collect()
}

fn definition(definition: &Definition) -> Value {
    let kind = definition.kind;
    // The first version is the one that is stored.
    let KindFacts { group, versions, plural, short, .. } = *kind.facts();
    let versions: Vec<Value> = versions.iter().map(|version| served(definition, version)).collect();
    let categories: &[&str] =
        if kind.is_istio() { &["istio-io", "networking-istio-io"] } else { &["umbra-io"] };
    let mut names = json!({
        "categories": categories,
        "kind": kind.as_str(),
        "listKind": format!("{kind}List"),
        "plural": plural,
        "singular": kind.as_str().to_ascii_lowercase(),
    });
    if !short.is_empty() {
        // An empty list is not stored: every `kubectl apply` would add it again.
        names["shortNames"] = json!([short]);
    }
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{plural}.{group}"),
            // Uninstalling umbra must not delete the rules with their definition.
            "annotations": {"helm.sh/resource-policy": "keep"},
            "labels": {"app.kubernetes.io/part-of": "umbra"},
        },
        "spec": {
            "group": group,
            "names": names,
            "scope": "Namespaced",
            "versions": versions,
        },
    })
}

fn served(definition: &Definition, version: &str) -> Value {
    let spec = match definition.kind {
        Kind::VirtualService => {
            let mut spec = schema::of::<VirtualServiceSpec>();
            rules::virtual_service(&mut spec);
            spec
        }
        Kind::DestinationRule => schema::of::<DestinationRuleSpec>(),
        Kind::ServiceEntry => schema::of::<ServiceEntrySpec>(),
        Kind::WorkloadEntry => schema::of::<WorkloadEntry>(),
        Kind::Sidecar => schema::of::<SidecarSpec>(),
        Kind::MirrorPolicy => {
            let mut spec = schema::of::<MirrorPolicySpec>();
            rules::mirror_policy(&mut spec);
            spec
        }
        _ => schema::of::<GatewaySpec>(),
    };
    let columns = definition.columns.iter();
    let columns: Vec<Value> =
        columns.map(|(name, path, kind)| json!({"name": name, "jsonPath": path, "type": kind})).collect();
    json!({
        "name": version,
        "served": true,
        "storage": version == definition.kind.facts().versions[0],
        "subresources": {"status": {}},
        "additionalPrinterColumns": columns,
        "schema": {"openAPIV3Schema": {
            "type": "object",
            "properties": {"spec": spec, "status": status()},
        }},
    })
}

/// `status`: Istio's `IstioStatus` (`meta/v1alpha1/status.proto`), and what umbra adds to it.
fn status() -> Value {
    json!({
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": true,
        "properties": {
            "observedGeneration": generation(),
            "mirrors": {"type": "string", "description": "The mirrors in one line, such as v2 10% live 3/3."},
            "conditions": {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
                "items": {
                    "type": "object",
                    "required": ["type"],
                    "properties": {
                        "type": {"type": "string"},
                        "status": {"type": "string"},
                        "reason": {"type": "string"},
                        "message": {"type": "string"},
                        "observedGeneration": generation(),
                        "lastTransitionTime": {"type": "string", "format": "date-time"},
                        "lastProbeTime": {"type": "string", "format": "date-time"},
                    },
                },
            },
            "validationMessages": {
                "type": "array",
                "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            },
        },
    })
}

/// Istio's writers send it as text.
fn generation() -> Value {
    json!({"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": true})
}
