//! Ports of a gateway that carry more than plain HTTP: which connections there are, and what becomes of each (istio
//! `buildGatewayListeners`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use umbra_ir::{
    Bind, Chain, ChainContent, ConnectionRule, Credential, GatewayListener, GatewayPort, GatewayRef,
    Hostname, Network, ObjectId, Opening, Placed, PortNumber, ProxyClass, ProxyKind, RouteClient, RuleHead,
    Server, ServerKind, ServerTls, TlsEnd,
};

use crate::chains::{Chains, any};
use crate::connections::{bind_shared, place};
use crate::gateway_heads::intersection;
use crate::gateway_servers::{Opened, secure_table};
use crate::view::View;

/// Who follows rules at a gateway.
pub(crate) struct GatewayClient<'a> {
    pub(crate) view: &'a dyn View,
    pub(crate) class: &'a ProxyClass,
    pub(crate) selecting: &'a Arc<BTreeMap<String, String>>,
}

impl GatewayClient<'_> {
    /// Whether a server can be opened: what it ends TLS with is there.
    pub(crate) fn opens(&self, server: &Server) -> bool {
        match &server.tls {
            Some(ServerTls::End(end)) => available(self.view, self.class, end).is_some(),
            Some(ServerTls::Passthrough) | None => true,
        }
    }

    /// The listener of a port on which not all is plain HTTP; `None`: nothing on it goes anywhere. `plain` is the
    /// table of its plain HTTP.
    pub(crate) fn port(
        &self,
        port: PortNumber,
        address: &Bind,
        opened: &[Opened<'_>],
        plain: &Arc<str>,
    ) -> Option<GatewayPort> {
        let mixed = opened.iter().any(|it| !it.server.kind().is_tls())
            && opened.iter().any(|it| it.server.kind().is_tls());
        let mut builder = Builder { mixed, ..Builder::default() };
        for Opened { gateway, server } in opened {
            let end = match &server.tls {
                Some(ServerTls::End(end)) => match available(self.view, self.class, end) {
                    Some(end) => Some(end),
                    None => continue,
                },
                Some(ServerTls::Passthrough) | None => None,
            };
            let names = || server.server_names().cloned().collect::<Vec<_>>();
            builder.gateways.insert(gateway.id.clone());
            let reference = GatewayRef::Named(gateway.id.clone());
            match server.kind() {
                ServerKind::Http => {
                    let content = (ChainContent::Http(plain.clone()), None);
                    builder.add(vec![any()], &BTreeSet::new(), None, Opening::Plain, content);
                }
                ServerKind::SecureHttp => {
                    let table = secure_table(&gateway.id, server);
                    let content = (ChainContent::Http(table), None);
                    builder.add(names(), &BTreeSet::new(), end, Opening::Tls, content);
                }
                kind => {
                    for rule in self.view.bound_rules(&self.class.namespace, &reference).iter() {
                        let hosts = intersection(server, rule);
                        if !hosts.is_empty() {
                            let names = names();
                            self.bytes(
                                rule,
                                server.port,
                                &reference,
                                kind,
                                (hosts, names, end.clone()),
                                &mut builder,
                            );
                        }
                    }
                }
            }
        }
        builder.finish(self.class, port, address)
    }

    /// The chains of a rule for connections that carry no HTTP that we see.
    fn bytes(
        &self,
        rule: &RuleHead,
        number: PortNumber,
        gateway: &GatewayRef,
        kind: ServerKind,
        (hosts, names, end): (BTreeSet<Hostname>, Vec<Hostname>, Option<Arc<TlsEnd>>),
        builder: &mut Builder,
    ) {
        let Some(rules) = self.view.connection_rules(&rule.id) else { return };
        let client = RouteClient {
            kind: ProxyKind::Router,
            namespace: self.class.namespace.clone(),
            gateway: gateway.clone(),
            port: number,
            secure: kind.is_tls(),
            labels: Arc::default(),
            selecting: self.selecting.clone(),
            chosen: Arc::default(),
            rtds: false,
            edits_copies: true,
            judges: Default::default(),
        };
        // At gateways Istio asks for port and gateway only.
        let passes = |filter: &umbra_ir::StaticFilter| {
            filter.port.is_none_or(|port| port == number)
                && (filter.gateways.is_empty() || filter.gateways.contains(gateway))
        };
        builder.rules.insert(rule.id.clone());
        let shared = |written: &ConnectionRule| {
            let shared = bind_shared(self.view, &rule.id, written, &client);
            (ChainContent::Bytes(shared), Some(place(rule, written)))
        };
        if kind == ServerKind::Passthrough {
            for written in &rules.tls {
                for asked in written.matches.iter().filter(|it| passes(&it.filter)) {
                    let admitted = |name: &&Hostname| hosts.iter().any(|host| name.subset_of(host));
                    let names: Vec<_> = asked.server_names.iter().filter(admitted).cloned().collect();
                    builder.add(names, &asked.networks, None, Opening::Tls, shared(written));
                }
            }
            return;
        }
        let opening = if kind == ServerKind::Bytes { Opening::Plain } else { Opening::Tls };
        let names = if kind == ServerKind::Bytes { vec![any()] } else { names };
        for written in &rules.tcp {
            let everything = umbra_ir::ConnectionMatch::default();
            let matches =
                if written.matches.is_empty() { std::slice::from_ref(&everything) } else { &written.matches };
            for asked in matches.iter().filter(|it| passes(&it.filter)) {
                builder.add(names.clone(), &asked.networks, end.clone(), opening, shared(written));
            }
        }
    }
}

/// What of a server's certificates this class can be given; `None`: too little to be opened, since Envoy would wait with
/// the whole listener for what does not come. A certificate that is missing beside others is left out.
fn available(view: &dyn View, class: &ProxyClass, end: &Arc<TlsEnd>) -> Option<Arc<TlsEnd>> {
    let own = |id: &ObjectId| class.may_have_keys && id.namespace == class.namespace;
    let there = |credential: &Credential| match credential {
        Credential::Files { .. } | Credential::AuthorityFile { .. } => true,
        Credential::Secret(id) => own(id) && view.secret_parts(id).pair,
        Credential::AuthoritySecrets(ids) => {
            ids.iter().any(|id| own(id) && view.secret_parts(id).authorities)
        }
    };
    if !end.authorities.iter().all(there) {
        return None;
    }
    let certificates: Vec<Credential> = end.certificates.iter().filter(|it| there(it)).cloned().collect();
    match certificates.len() {
        0 => None,
        all if all == end.certificates.len() => Some(end.clone()),
        _ => Some(Arc::new(TlsEnd { certificates, ..(**end).clone() })),
    }
}

/// The connections of a port while they are shared out.
#[derive(Default)]
struct Builder {
    /// Some connections begin with TLS and some do not.
    mixed: bool,
    chains: Chains,
    gateways: BTreeSet<ObjectId>,
    rules: BTreeSet<ObjectId>,
}

impl Builder {
    /// Gives the connections that nobody has yet to a new chain; without a rule what it carries is HTTP.
    fn add(
        &mut self,
        names: Vec<Hostname>,
        networks: &BTreeSet<Network>,
        tls: Option<Arc<TlsEnd>>,
        opening: Opening,
        (content, rule): (ChainContent, Option<Placed<ObjectId>>),
    ) {
        self.chains.add(Chain {
            server_names: names.into_iter().collect(),
            networks: networks.clone(),
            opening: if self.mixed { opening } else { Opening::Any },
            tls,
            content,
            rule,
        });
    }

    fn finish(self, class: &ProxyClass, port: PortNumber, address: &Bind) -> Option<GatewayPort> {
        if self.chains.is_empty() {
            return None;
        }
        let listener = GatewayListener {
            kind: ProxyKind::Router,
            http10: false,
            address: address.clone(),
            port,
            trusted_proxies: class.trusted_proxies,
            chains: self.chains.finish(),
            judges: Default::default(),
        };
        Some(GatewayPort { listener: Arc::new(listener), gateways: self.gateways, rules: self.rules })
    }
}
