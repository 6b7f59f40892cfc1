//! What a node says of itself (istio-semantics "Node identity and metadata"; design "node").

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::Value;
use umbra_ir::{Interception, ProxyKind, ProxyNode};

/// A node that cannot be understood; the text says what is missing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NodeError {
    /// Neither the id nor the metadata name a namespace.
    #[error(
        "node {0:?} names no namespace: set metadata NAMESPACE (umbra bootstrap writes it), or an id of the form sidecar~IP~POD.NS~NS.svc.cluster.local"
    )]
    NoNamespace(String),
    /// An unknown kind of proxy.
    #[error("node {0:?} is a {1:?}; umbra serves sidecar and router")]
    UnknownKind(String, String),
    /// A way of traffic capture that is not served.
    #[error(
        "node {0:?} has INTERCEPTION_MODE {1:?}; served are REDIRECT (captured connections arrive at port 15001) and NONE (or nothing: the application calls 127.0.0.1:<service port>)"
    )]
    Interception(String, String),
    /// A metadata field of the wrong type.
    #[error("node {0:?}: metadata {1} must be {2}")]
    Metadata(String, &'static str, &'static str),
    /// More than a proxy can sensibly say.
    #[error("node {0:?}: metadata LABELS has more than {1} entries")]
    TooManyLabels(String, usize),
}

/// More labels than any Pod has.
const MAX_LABELS: usize = 1024;

/// Understands a node: Istio's `sidecar~IP~POD.NS~DOMAIN` ids as they are, otherwise metadata.
pub fn parse_node(id: &str, metadata: &Value) -> Result<ProxyNode, NodeError> {
    let shown = || id.chars().take(200).collect::<String>();
    let text = |key: &'static str| match metadata.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|t| !t.is_empty())),
        Some(_) => Err(NodeError::Metadata(shown(), key, "a string")),
    };
    let parts: Vec<&str> = id.split('~').collect();
    let istio = match parts.as_slice() {
        [kind, ip, pod, domain] if ip.is_empty() || ip.parse::<IpAddr>().is_ok() => {
            Some((*kind, *pod, *domain))
        }
        _ => None,
    };
    let own_ip = istio.and_then(|_| parts.get(1).copied());
    let kind_word = match text("PROXY_TYPE")? {
        Some(word) => word,
        None => istio.map_or("sidecar", |(kind, ..)| kind),
    };
    let kind = match kind_word {
        "sidecar" => ProxyKind::Sidecar,
        "router" => ProxyKind::Router,
        other => return Err(NodeError::UnknownKind(shown(), other.to_owned())),
    };
    let namespace = text("NAMESPACE")?
        .or_else(|| istio.and_then(|(_, _, domain)| domain.split('.').next()).filter(|n| !n.is_empty()))
        .or_else(|| {
            istio.and_then(|(_, pod, _)| pod.rsplit_once('.')).map(|(_, ns)| ns).filter(|n| !n.is_empty())
        })
        .ok_or_else(|| NodeError::NoNamespace(shown()))?;
    let interception = match (kind, text("INTERCEPTION_MODE")?.unwrap_or("NONE")) {
        (ProxyKind::Router, _) | (_, "NONE") => Interception::None,
        (_, "REDIRECT") => {
            let addresses = text("INSTANCE_IPS")?.unwrap_or_default().split(',').map(str::trim);
            let mut addresses = addresses.chain(own_ip).filter_map(|ip| ip.parse::<IpAddr>().ok());
            Interception::Redirect { ipv6: addresses.any(|ip| ip.is_ipv6()) }
        }
        (_, mode) => return Err(NodeError::Interception(shown(), mode.to_owned())),
    };
    let pod = istio.map(|(_, pod, _)| pod.strip_suffix(&format!(".{namespace}")).unwrap_or(pod));
    let pod = pod.or(text("NAME")?);
    let unprivileged = matches!(metadata.get("UNPRIVILEGED_POD"), Some(Value::Bool(true)))
        || metadata.get("UNPRIVILEGED_POD").and_then(Value::as_str) == Some("true");
    Ok(ProxyNode {
        kind,
        namespace: namespace.into(),
        pod: pod.filter(|p| !p.is_empty()).map(Arc::from),
        labels: parse_labels(metadata.get("LABELS"), shown)?,
        unprivileged,
        interception,
        locality: None,
        takes_hosts: false,
        edits_copies: false,
        may_have_keys: false,
        http10: text("HTTP10")? == Some("1"),
        judges: Default::default(),
        trusted_proxies: metadata
            .pointer("/PROXY_CONFIG/gatewayTopology/numTrustedProxies")
            .and_then(Value::as_u64)
            .and_then(|hops| u32::try_from(hops).ok()),
    })
}

fn parse_labels(
    written: Option<&Value>,
    shown: impl Fn() -> String,
) -> Result<Option<BTreeMap<String, String>>, NodeError> {
    let wrong = || NodeError::Metadata(shown(), "LABELS", "an object of strings");
    match written {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(map)) if map.len() > MAX_LABELS => {
            Err(NodeError::TooManyLabels(shown(), MAX_LABELS))
        }
        Some(Value::Object(map)) => {
            let label = |(k, v): (&String, &Value)| Some((k.clone(), v.as_str()?.to_owned()));
            map.iter().map(|entry| label(entry).ok_or_else(wrong)).collect::<Result<_, _>>().map(Some)
        }
        Some(_) => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn trusted_proxies_in_istio_metadata() {
        let hops = |config: Value| {
            let metadata = json!({"NAMESPACE": "a", "PROXY_TYPE": "router", "PROXY_CONFIG": config});
            parse_node("edge", &metadata).map(|node| node.trusted_proxies)
        };
        for (config, want) in [
            (json!({"gatewayTopology": {"numTrustedProxies": 2}}), Some(2)),
            (json!({"gatewayTopology": {"numTrustedProxies": -1}}), None),
            (json!({"gatewayTopology": "odd"}), None),
            (json!(null), None),
        ] {
            assert_eq!(hops(config.clone()), Ok(want), "{config}");
        }
    }

    #[test]
    fn how_connections_are_captured() {
        let redirect = |ipv6| Ok(Interception::Redirect { ipv6 });
        for (id, mode, addresses, want) in [
            ("a", None, None, Ok(Interception::None)),
            ("a", Some("NONE"), None, Ok(Interception::None)),
            ("a", Some("REDIRECT"), None, redirect(false)),
            ("a", Some("REDIRECT"), Some("10.0.0.1,fd00::1"), redirect(true)),
            ("a", Some("REDIRECT"), Some("10.0.0.1, x"), redirect(false)),
            ("sidecar~fd00::1~p.a~a.svc", Some("REDIRECT"), None, redirect(true)),
            ("sidecar~10.0.0.1~p.a~a.svc", Some("REDIRECT"), None, redirect(false)),
            ("router~10.0.0.1~p.a~a.svc", Some("REDIRECT"), None, Ok(Interception::None)),
            ("a", Some("TPROXY"), None, Err(NodeError::Interception("a".to_owned(), "TPROXY".to_owned()))),
        ] {
            let metadata = json!({"NAMESPACE": "a", "INTERCEPTION_MODE": mode, "INSTANCE_IPS": addresses});
            let got = parse_node(id, &metadata).map(|node| node.interception);
            assert_eq!(got, want, "{id} {mode:?} {addresses:?}");
        }
    }
}
