//! Where a Pod is.

use std::collections::BTreeMap;
use std::sync::Arc;

use umbra_api::{Object, Objects};
use umbra_ir::{Kind, Locality, ObjectId, REGION, SUBZONE, ZONE};

/// What the first two were called on Nodes of old.
const OLD_REGION: &str = "failure-domain.beta.kubernetes.io/region";
const OLD_ZONE: &str = "failure-domain.beta.kubernetes.io/zone";

/// The place of a Pod with these labels: by them, else by its Node's, the zone also as its slice says.
pub(crate) fn place(
    objects: &impl Objects,
    labels: &BTreeMap<String, String>,
    node: Option<&str>,
    zone: Option<&str>,
) -> Locality {
    if let Some(own) = Locality::from_labels(labels) {
        return own;
    }
    let node = node.filter(|name| !name.is_empty());
    let node = node.and_then(|name| objects.object(&ObjectId::new(Kind::Node, "", name)));
    let label = |key: &str, old: &str| match node.as_deref() {
        Some(Object::Node(node)) => {
            let labels = &node.meta.labels;
            labels.get(key).or_else(|| labels.get(old)).cloned().unwrap_or_default()
        }
        _ => String::new(),
    };
    let of_node = label(ZONE, OLD_ZONE);
    let zone = if of_node.is_empty() { zone.unwrap_or_default().to_owned() } else { of_node };
    // Nothing takes no memory.
    let shared = |text: String| if text.is_empty() { Arc::default() } else { Arc::from(text) };
    Locality {
        region: shared(label(REGION, OLD_REGION)),
        zone: shared(zone),
        subzone: shared(label(SUBZONE, SUBZONE)),
    }
}
