//! Proxies: who asks, and the few things about it that change the answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::{
    Bind, ClientPlace, Hostname, Interception, Judges, Locality, ObjectId, PortNumber, Protocol, RouteTables,
    RuntimeForms, ServerTls,
};

/// What a proxy is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum ProxyKind {
    /// Beside an application, for its outbound calls.
    Sidecar,
    /// A gateway.
    Router,
}

impl ProxyKind {
    /// The word in node ids and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            ProxyKind::Sidecar => "sidecar",
            ProxyKind::Router => "router",
        }
    }
}

/// Pods of a namespace that should have a sidecar and have none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BarePods {
    /// The name of one of them: the first, as names are sorted.
    pub first: Arc<str>,
    /// How many they are.
    pub count: usize,
}

/// What a node says of itself, understood.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ProxyNode {
    /// Sidecar or gateway.
    pub kind: ProxyKind,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its Pod's name, when the id tells.
    pub pod: Option<Arc<str>>,
    /// Its labels, when the metadata carry them; else its Pod's count.
    pub labels: Option<BTreeMap<String, String>>,
    /// `UNPRIVILEGED_POD`: it cannot bind ports below 1024.
    pub unprivileged: bool,
    /// `PROXY_CONFIG.gatewayTopology.numTrustedProxies`, when the metadata carry it.
    pub trusted_proxies: Option<u32>,
    /// How it comes by the application's connections; [`Interception::None`] at a gateway.
    pub interception: Interception,
    /// Where it is, when it says so.
    pub locality: Option<Locality>,
    /// Its Envoy takes virtual hosts as resources of their own, and nobody has said that it should not.
    pub takes_hosts: bool,
    /// Its Envoy can make a copy another request than the one that it copies.
    pub edits_copies: bool,
    /// It has proven who it is, or sits on the same machine: private keys may be sent to it.
    pub may_have_keys: bool,
    /// `HTTP10: "1"`: clients that speak HTTP/1.0 are served.
    pub http10: bool,
    /// What its bootstrap lets it tell of judged requests, if its Envoy knows the parts of that.
    pub judges: Judges,
}

/// What of a Pod changes what the proxy in it gets.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PodHead {
    /// Its labels.
    pub labels: Arc<BTreeMap<String, String>>,
    /// Where it is: by its own labels, else by its Node's.
    pub locality: Locality,
    /// `gatewayTopology.numTrustedProxies` of its annotation `proxy.istio.io/config`.
    pub trusted_proxies: Option<u32>,
}

/// The few things about a proxy that change its configuration. Proxies of a class share everything.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ProxyClass {
    /// Sidecar or gateway.
    pub kind: ProxyKind,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Those labels that some selector mentions.
    pub labels: Arc<BTreeMap<String, String>>,
    /// The layers of the runtime that it asked for; none: percentages stand in its routes.
    pub rtds: RuntimeForms,
    /// It cannot bind ports below 1024.
    pub unprivileged: bool,
    /// Private keys may be sent to it; false at a sidecar.
    pub may_have_keys: bool,
    /// How many proxies before a gateway are believed about where requests come from and how; 0 at a sidecar.
    pub trusted_proxies: u32,
    /// How it comes by the application's connections; [`Interception::None`] at a gateway.
    pub interception: Interception,
    /// Clients that speak HTTP/1.0 are served, whatever the settings say.
    pub http10: bool,
    /// How virtual hosts reach it.
    pub route_tables: RouteTables,
    /// Its Envoy can make a copy another request than the one that it copies, or nobody asks for that.
    pub edits_copies: bool,
    /// Where it is, where some policy asks for that.
    pub place: Option<Arc<ClientPlace>>,
    /// What it tells of judged requests.
    pub judges: Judges,
    /// The Sidecar that says what it can call; `None`: every visible service.
    pub sidecar: Option<ObjectId>,
}

/// What of a Gateway decides where it applies.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct GatewayHead {
    /// The Gateway.
    pub id: ObjectId,
    /// Creation time in seconds (0 when unknown).
    pub created: i64,
    /// The labels a gateway proxy must carry.
    pub selector: BTreeMap<String, String>,
    /// Servers that can be served, in order.
    pub servers: Vec<Server>,
}

/// One `servers[]` entry.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Server {
    /// Its path in the object, such as `spec.servers[0]`.
    pub field: String,
    /// `port.number`, as written; of a socket [`PortNumber::NONE`].
    pub port: PortNumber,
    /// What it speaks, inside of TLS where that is ended here.
    pub protocol: Protocol,
    /// `port.name`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub port_name: Arc<str>,
    /// `bind`; `None`: all addresses.
    pub bind: Option<Bind>,
    /// The hosts it admits, `-shadow` ones included.
    pub hosts: Vec<ServerHost>,
    /// `tls.httpsRedirect`.
    pub https_redirect: bool,
    /// What it does with TLS; `None`: there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ServerTls>,
}

/// A host that a server admits, maybe only for VirtualServices of one namespace.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize)]
pub struct ServerHost {
    /// `None`: any namespace.
    pub namespace: Option<Arc<str>>,
    /// The host.
    pub host: Hostname,
}

/// One listener with an HTTP connection manager.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Listener {
    /// Gateways trust no forwarding headers (`use_remote_address`) but those of trusted proxies, sidecars do.
    pub kind: ProxyKind,
    /// The address it binds.
    pub address: Bind,
    /// The port it binds.
    pub port: PortNumber,
    /// The route configuration it asks for.
    pub route_config: Arc<str>,
    /// How many proxies before it are believed about where requests come from and how.
    pub trusted_proxies: u32,
    /// Clients that speak HTTP/1.0 are served, whatever the settings say.
    pub http10: bool,
    /// What it tells of judged requests.
    pub judges: Judges,
}
