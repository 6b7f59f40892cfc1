//! Conditions that the control plane decides for a client (istio `sourceMatchHTTP`).

use std::collections::BTreeMap;
use std::sync::Arc;

use umbra_ir::{GatewayRef, PortNumber, RuleHead, StaticFilter};

/// Whether a static filter lets a client pass.
///
/// With gateways named, source labels and namespace are not looked at (istio `sourceMatchHTTP`).
pub(crate) fn filter_passes(
    filter: &StaticFilter,
    gateway: &GatewayRef,
    port: PortNumber,
    namespace: &str,
    labels: &BTreeMap<String, String>,
) -> bool {
    if !filter_may_pass(filter, gateway, port) {
        return false;
    }
    if !filter.gateways.is_empty() {
        return true;
    }
    filter.source_labels.iter().all(|(k, v)| labels.get(k) == Some(v))
        && filter.source_namespace.as_deref().is_none_or(|n| n == namespace)
}

/// Whether a static filter lets some client of this gateway and port pass, wherever it comes from.
pub(crate) fn filter_may_pass(filter: &StaticFilter, gateway: &GatewayRef, port: PortNumber) -> bool {
    filter.port.is_none_or(|p| p == port) && (filter.gateways.is_empty() || filter.gateways.contains(gateway))
}

/// A rule's view of the client's labels: only those it mentions, so that clients that differ elsewhere share.
pub(crate) fn mentioned(
    head: &RuleHead,
    labels: &Arc<BTreeMap<String, String>>,
) -> Arc<BTreeMap<String, String>> {
    if labels.keys().all(|k| head.mentioned_labels.contains(k)) {
        return labels.clone();
    }
    Arc::new(
        labels
            .iter()
            .filter(|(k, _)| head.mentioned_labels.contains(*k))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect(),
    )
}
