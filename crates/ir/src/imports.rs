//! What the proxies of some workloads can call (`Sidecar`).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::{
    Bind, Hostname, ObjectId, OutboundPolicy, Placed, PortNumber, Protocol, Resolution, RuleHead, ServiceHead,
};

/// A Sidecar and the labels that it asks of proxies; `None`: it is for all of them.
pub type AskedLabels = (ObjectId, Option<BTreeMap<String, String>>);

/// What a Sidecar says of the proxies that it is for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct SidecarHead {
    /// The Sidecar.
    pub id: ObjectId,
    /// Creation time in seconds (0 when unknown).
    pub created: i64,
    /// The labels of those proxies; `None`: all for which no other Sidecar of the namespace is.
    pub selector: Option<BTreeMap<String, String>>,
    /// What they can call, in order: the first that is for a port counts there.
    pub egress: Vec<Egress>,
    /// What becomes of calls to what they cannot; `None`: as the mesh says.
    pub outbound_policy: Option<OutboundPolicy>,
}

/// What can be called on one port, or on all others (`IstioEgressListener`).
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Egress {
    /// Where calls arrive.
    pub port: EgressPort,
    /// Each with its place in the Sidecar.
    pub hosts: Vec<Placed<EgressHost>>,
}

/// Where the calls of an [`Egress`] arrive.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize)]
pub struct EgressPort {
    /// The port and what it speaks; `None`: every port of which no other one is. Of a socket [`PortNumber::NONE`]: calls there are for
    /// all ports of the services.
    pub number: Option<(PortNumber, Protocol)>,
    /// The address that is listened on; `None`: the proxy's choice.
    pub bind: Option<Bind>,
    /// The application calls the proxy, though its connections may be captured (`captureMode: NONE`).
    pub called: bool,
}

/// A host that may be called, or whose rules count.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize)]
pub struct EgressHost {
    /// Whose.
    pub namespace: EgressNamespace,
    /// Exact, or a wildcard.
    pub host: Hostname,
}

/// The namespace before a host's slash.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize)]
pub enum EgressNamespace {
    /// `*`
    Any,
    /// `.`: the proxy's own, wherever the Sidecar is.
    Own,
    /// By name.
    Named(Arc<str>),
}

/// What such proxies of a namespace can call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Imports {
    /// As the Sidecar lists it; one for all ports without a Sidecar.
    pub listeners: Vec<Imported>,
    /// What becomes of calls to anything else.
    pub outbound_policy: OutboundPolicy,
    /// Hosts of several namespaces that the Sidecar takes of another one than clients of the namespace mean otherwise.
    pub chosen: Arc<BTreeMap<Hostname, Arc<str>>>,
}

/// What can be called on one port, or on all others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Imported {
    /// Where calls arrive.
    pub port: EgressPort,
    /// The services, one for each host, in order of age.
    pub services: Arc<Vec<Arc<ServiceHead>>>,
    /// The rules that count, in order of precedence.
    pub rules: Arc<Vec<Arc<RuleHead>>>,
}

impl Imports {
    /// The one that serves a port: the first that names it or is for all.
    fn serving(&self, port: PortNumber) -> Option<&Imported> {
        self.listeners.iter().find(|it| it.port.number.is_none_or(|(number, _)| number == port))
    }

    /// Whether some service has HTTP on a port, so that there is a listener for it, whichever of these serves it (istio
    /// `buildSidecarOutboundListeners`).
    pub fn has_http(&self, port: PortNumber) -> bool {
        let mut services = self.listeners.iter().flat_map(|it| it.services.iter());
        services.any(|service| {
            !matches!(service.resolution, Resolution::Alias(_))
                && service.ports.iter().any(|it| it.number == port && it.protocol.is_http())
        })
    }

    /// Whether it is one of these listeners that serves a port.
    pub fn is_serving(&self, listener: &Imported, port: PortNumber) -> bool {
        self.serving(port).is_some_and(|it| std::ptr::eq(it, listener))
    }
}
