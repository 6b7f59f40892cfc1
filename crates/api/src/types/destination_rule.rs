//! DestinationRule: subsets of, and policy towards, a host.
//! Source: Istio's `networking/v1alpha3/destination_rule.proto`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::http_action::MatchLabels;
use super::traffic_policy::TrafficPolicy;

/// `spec` of a DestinationRule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct DestinationRuleSpec {
    /// Host name: short, full or wildcard.
    pub host: String,
    /// Policy for the whole host.
    pub traffic_policy: Option<TrafficPolicy>,
    /// Named groups of endpoints.
    pub subsets: Vec<Subset>,
    /// Namespaces that may see it; empty means `*`.
    pub export_to: Vec<String>,
    /// Clients to which it applies; absent: all.
    pub workload_selector: Option<MatchLabels>,
}

/// A named group of endpoints (`Subset`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Subset {
    /// Its name.
    pub name: String,
    /// Labels that an endpoint must have; none: every endpoint.
    pub labels: BTreeMap<String, String>,
    /// What differs from the host's policy.
    pub traffic_policy: Option<TrafficPolicy>,
}
