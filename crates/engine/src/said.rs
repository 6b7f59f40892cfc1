//! What the front ends made of the objects: the border between those who read objects and the mesh.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use umbra_ir::{
    ConnectionRules, DestinationRuleSet, EndpointSet, GatewayHead, RuleHead, Rules, ServiceHead, Shares,
    SidecarHead,
};

use crate::domain::{Key, Value};
use crate::memo::Memo;
use crate::view::Mesh;

/// Everything that front ends say and somebody reads, by the object that says it (`KIND NAMESPACE/NAME`).
///
/// For people and golden cases: if this is right and a proxy's configuration is not, the fault lies behind the border.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Said {
    /// What can be called.
    pub services: BTreeMap<String, Arc<Vec<Arc<ServiceHead>>>>,
    /// The ready endpoints of a service's port: `HOST:PORT`, with the object that defines it.
    pub endpoints: BTreeMap<String, Arc<EndpointSet>>,
    /// Where a rule applies.
    pub heads: BTreeMap<String, Arc<RuleHead>>,
    /// What a rule does.
    pub rules: BTreeMap<String, Arc<Rules>>,
    /// What a rule does with connections that carry no HTTP that we see.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub connections: BTreeMap<String, Arc<ConnectionRules>>,
    /// How much its mirrors copy, in millionths.
    pub shares: BTreeMap<String, Arc<Shares>>,
    /// What gateways serve.
    pub gateways: BTreeMap<String, Arc<GatewayHead>>,
    /// What Sidecars say of their proxies.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sidecars: BTreeMap<String, Arc<SidecarHead>>,
    /// DestinationRules, merged: those of one host, by their names.
    pub policies: BTreeMap<String, Arc<DestinationRuleSet>>,
}

impl Said {
    /// What is kept as of the last settle.
    pub(crate) fn of(memo: &Memo<Mesh>) -> Self {
        let mut said = Said::default();
        for (key, value) in memo.values() {
            match (key, &**value) {
                (Key::ServiceHeads(id), Value::ServiceHeads(heads)) if !heads.is_empty() => {
                    said.services.insert(id.to_string(), heads.clone());
                }
                (Key::Endpoints(service, port), Value::Endpoints(set)) => {
                    said.endpoints
                        .insert(format!("{}:{port} of {}", service.host, service.object), set.clone());
                }
                (Key::RuleHead(id), Value::RuleHead(Some(head))) => {
                    said.heads.insert(id.to_string(), head.clone());
                }
                (Key::Rules(id), Value::Rules(Some(rules))) => {
                    said.rules.insert(id.to_string(), rules.clone());
                }
                (Key::ConnectionRules(id), Value::ConnectionRules(Some(rules))) => {
                    said.connections.insert(id.to_string(), rules.clone());
                }
                (Key::Shares(id), Value::Shares(Some(shares))) if !shares.written.is_empty() => {
                    said.shares.insert(id.to_string(), shares.clone());
                }
                (Key::GatewayHead(id), Value::GatewayHead(Some(head))) => {
                    said.gateways.insert(id.to_string(), head.clone());
                }
                (Key::SidecarHead(id), Value::SidecarHead(Some(head))) => {
                    said.sidecars.insert(id.to_string(), head.clone());
                }
                (Key::DestinationRuleSet(ids), Value::DestinationRuleSet(set)) => {
                    let ids: Vec<_> = ids.0.iter().map(ToString::to_string).collect();
                    said.policies.insert(ids.join(" + "), set.clone());
                }
                _ => {}
            }
        }
        said
    }
}
