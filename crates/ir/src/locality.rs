//! Where an endpoint is.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

/// The labels of a place, on Nodes and on endpoints, so that subsets may select by it.
pub const REGION: &str = "topology.kubernetes.io/region";
/// See [`REGION`].
pub const ZONE: &str = "topology.kubernetes.io/zone";
/// See [`REGION`].
pub const SUBZONE: &str = "topology.istio.io/subzone";

/// Where an endpoint is (`envoy.config.core.v3.Locality`).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default, Serialize)]
pub struct Locality {
    /// `topology.kubernetes.io/region`.
    pub region: Arc<str>,
    /// `topology.kubernetes.io/zone`.
    pub zone: Arc<str>,
    /// `topology.istio.io/subzone`.
    pub subzone: Arc<str>,
}

impl Locality {
    /// `region/zone/subzone`, any tail absent.
    pub fn parse(text: &str) -> Self {
        let mut parts = text.split('/');
        let mut next = || Arc::from(parts.next().unwrap_or_default());
        Locality { region: next(), zone: next(), subzone: next() }
    }

    /// The place that labels name by themselves (`topology.istio.io/locality`, or the older `istio-locality`), where
    /// dots stand for slashes.
    pub fn from_labels(labels: &BTreeMap<String, String>) -> Option<Self> {
        let text = labels.get("topology.istio.io/locality").or_else(|| labels.get("istio-locality"))?;
        Some(Self::parse(&text.replace('.', "/")))
    }

    /// Whether nothing is known of it.
    pub fn is_unknown(&self) -> bool {
        self.region.is_empty() && self.zone.is_empty() && self.subzone.is_empty()
    }

    /// Whether it is in the place that a rule names: `region/zone/subzone`, where `*` and what is absent stand for any (istio
    /// `LocalityMatch`).
    pub fn is_in(&self, rule: &str) -> bool {
        let mut parts = rule.split('/');
        let mut same = |own: &str, any: bool| {
            let part = parts.next().unwrap_or_default();
            part == "*" || (any && part.is_empty()) || part == own
        };
        same(&self.region, false) && same(&self.zone, true) && same(&self.subzone, true)
    }

    /// Adds the labels of the place to an endpoint's.
    pub fn add_labels(&self, labels: &mut BTreeMap<String, String>) {
        for (key, value) in [(REGION, &self.region), (ZONE, &self.zone), (SUBZONE, &self.subzone)] {
            if !value.is_empty() {
                labels.insert(key.into(), value.to_string());
            }
        }
    }
}
