//! Which servers of several Gateways can share a port (istio `mergeGateways`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use umbra_ir::{Bind, GatewayHead, Hostname, Kind, ObjectId, PortNumber, Server, ServerConflict, ServerKind};

use crate::gateway_heads::sort_by_age;
use crate::view::{Index, View};

/// A server that is opened.
pub(crate) struct Opened<'a> {
    pub(crate) gateway: &'a GatewayHead,
    pub(crate) server: &'a Server,
}

/// Servers by the port that they bind and its address.
pub(crate) type Ports<'a> = BTreeMap<(PortNumber, Option<Bind>), Vec<Opened<'a>>>;

/// The route configuration of a server that ends TLS around HTTP (istio `GatewayRDSRouteName`); others share that of their port.
pub(crate) fn secure_table(gateway: &ObjectId, server: &Server) -> Arc<str> {
    let mut name =
        format!("https.{}.{}.{}.{}", server.port, server.port_name, gateway.name, gateway.namespace);
    if let Some(bind) = &server.bind {
        name.push_str(&format!(".{bind}"));
    }
    name.into()
}

/// Opens servers in order, Gateways oldest first; `bound` says which port a server comes to, `None` if it cannot be bound. Of two that cannot be told apart the later one is not opened.
pub(crate) fn merge_servers<'a>(
    gateways: &'a [Arc<GatewayHead>],
    bound: impl Fn(&GatewayHead, &Server) -> Option<PortNumber>,
) -> (Ports<'a>, Vec<(ObjectId, ServerConflict)>) {
    let mut ports = Ports::new();
    let mut conflicts = Vec::new();
    for gateway in gateways {
        for server in &gateway.servers {
            let Some(port) = bound(gateway, server) else { continue };
            let opened = ports.entry((port, server.bind.clone())).or_default();
            match rival(opened, gateway, server) {
                None => opened.push(Opened { gateway, server }),
                Some((winner, reason)) => conflicts.push((
                    gateway.id.clone(),
                    ServerConflict {
                        field: server.field.clone(),
                        winner: winner.gateway.id.clone(),
                        winner_field: winner.server.field.clone(),
                        reason,
                    },
                )),
            }
        }
    }
    (ports, conflicts)
}

/// The server of a port that keeps another one out, and why.
fn rival<'o, 'a>(
    opened: &'o [Opened<'a>],
    gateway: &GatewayHead,
    server: &Server,
) -> Option<(&'o Opened<'a>, String)> {
    let kind = server.kind();
    let plain = opened.iter().find(|it| !it.server.kind().is_tls());
    if let Some(plain) = plain {
        let both_http = kind == ServerKind::Http && plain.server.kind() == ServerKind::Http;
        let reason = format!("speaks {} on the same port", plain.server.protocol.as_str());
        return (!both_http).then_some((plain, reason));
    }
    if !kind.is_tls() {
        // DIVERGES: Istio lets plaintext in beside an older TLS server and then cannot tell the two apart; here it is told by
        // how a connection begins.
        return None;
    }
    let names: BTreeSet<&Hostname> = server.server_names().collect();
    for other in opened {
        if let Some(name) = other.server.server_names().find(|name| names.contains(name)) {
            return Some((other, format!("has the host {name} on the same port")));
        }
        let tables = kind == ServerKind::SecureHttp && other.server.kind() == ServerKind::SecureHttp;
        if tables && secure_table(&gateway.id, server) == secure_table(&other.gateway.id, other.server) {
            let reason = format!("has the name {:?} for the same port", server.port_name);
            return Some((other, reason));
        }
    }
    None
}

/// The servers that others keep from being opened at every gateway that their Gateway selects, by Gateway. A Gateway
/// whose selector asks for less is at all of those too.
pub fn select_server_conflicts(view: &dyn View) -> BTreeMap<ObjectId, Vec<ServerConflict>> {
    let ids = view.ids(&Index::Kind(Kind::Gateway));
    let mut heads: Vec<_> = ids.iter().filter_map(|id| view.gateway_head(id)).collect();
    sort_by_age(&mut heads);
    let selectors: BTreeSet<_> = heads.iter().map(|head| head.selector.clone()).collect();
    let mut all: BTreeMap<ObjectId, Vec<ServerConflict>> = BTreeMap::new();
    for selector in selectors {
        let asks_no_more =
            |head: &&Arc<GatewayHead>| head.selector.iter().all(|(k, v)| selector.get(k) == Some(v));
        let there: Vec<_> = heads.iter().filter(asks_no_more).cloned().collect();
        let own: BTreeSet<_> =
            there.iter().filter(|head| head.selector == selector).map(|head| &head.id).collect();
        for (gateway, conflict) in merge_servers(&there, |_, server| Some(server.port)).1 {
            if own.contains(&gateway) {
                all.entry(gateway).or_default().push(conflict);
            }
        }
    }
    all
}
