//! Snapshots as the static configuration of one Envoy that tells which route took a request: each route answers with its
//! place, and every cluster's endpoints are servers of the test's own.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use prost::{Message, Name};
use serde_json::{Value, json};
use umbra_envoy::{BootstrapOptions, bootstrap_json};
use umbra_proto::envoy::config::core::v3::{
    HeaderValue, HeaderValueOption, header_value_option::HeaderAppendAction,
};
use umbra_proto::envoy::config::listener::v3::{Listener, filter::ConfigType};
use umbra_proto::envoy::config::route::v3::{
    Route, RouteConfiguration, VirtualHost, route::Action, route_action::ClusterSpecifier,
};
use umbra_proto::envoy::extensions::filters::http::fault::v3::HttpFault;
use umbra_proto::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_connection_manager::RouteSpecifier,
};
use umbra_proto::{pack_any, unpack_any};
use umbra_xds::{ResourceType, Snapshot};

/// The response header with the place of the route, `HOST.ROUTE` counted from 0.
pub const ROUTE: &str = "x-probe-route";
/// The response header with the cluster.
pub const CLUSTER: &str = "x-probe-cluster";

/// A listener of a snapshot, and where it is in this Envoy.
pub struct ProbedListener {
    /// Whose it is: what [`Probed::add`] answered.
    pub snapshot: usize,
    /// Its own port.
    pub port: u16,
    /// Its port here.
    pub here: u16,
    /// Its routes as they were.
    pub table: RouteConfiguration,
}

/// The configuration of one Envoy.
pub struct Probed {
    next: u16,
    snapshots: usize,
    listeners: Vec<Value>,
    clusters: Vec<Value>,
    layers: Vec<Value>,
    /// What was added.
    pub probed: Vec<ProbedListener>,
}

impl Probed {
    /// Nothing yet; listeners are put on ports from this one on.
    pub fn new(first: u16) -> Self {
        Probed {
            next: first,
            snapshots: 0,
            listeners: vec![],
            clusters: vec![],
            layers: vec![],
            probed: vec![],
        }
    }

    /// Adds a snapshot. `endpoint` says where calls of a cluster go, if it has endpoints. Its number comes back, which all names of
    /// its clusters begin with here: `3 outbound|…`.
    ///
    /// # Errors
    /// What does not decode.
    pub fn add(
        &mut self,
        snapshot: &Snapshot,
        mut endpoint: impl FnMut(&str) -> Option<SocketAddr>,
    ) -> Result<usize> {
        let nth = self.snapshots;
        self.snapshots += 1;
        for name in snapshot.map(ResourceType::Cluster).keys() {
            let at = endpoint(name).map(|at| {
                json!([{"lbEndpoints": [{"endpoint": {"address": {"socketAddress": {
                    "address": at.ip().to_string(), "portValue": at.port()}}}}]}])
            });
            let name = format!("{nth} {name}");
            let load = json!({"clusterName": name, "endpoints": at.unwrap_or_else(|| json!([]))});
            self.clusters.push(
                json!({"name": name, "type": "STATIC", "connectTimeout": "5s", "loadAssignment": load}),
            );
        }
        for resource in snapshot.map(ResourceType::Runtime).values() {
            let runtime = umbra_proto::json::to_json(ResourceType::Runtime.type_url(), &resource.body)?;
            self.layers.push(json!({"name": format!("{nth} runtime"), "staticLayer": runtime["layer"]}));
        }
        for resource in snapshot.map(ResourceType::Listener).values() {
            let listener = Listener::decode(resource.body.clone())?;
            if listener.bind_to_port.is_none() && listener.use_original_dst.is_none() {
                self.add_listener(nth, snapshot, listener)?;
            }
        }
        Ok(nth)
    }

    fn add_listener(&mut self, nth: usize, snapshot: &Snapshot, mut listener: Listener) -> Result<()> {
        let port = port(&listener).context("a listener's port")?;
        let filter = listener.filter_chains.first_mut().and_then(|chain| chain.filters.first_mut());
        let Some(ConfigType::TypedConfig(any)) = filter.and_then(|filter| filter.config_type.as_mut()) else {
            anyhow::bail!("{}: no filter", listener.name)
        };
        let mut manager: HttpConnectionManager = unpack_any(any)?;
        let Some(RouteSpecifier::Rds(rds)) = &manager.route_specifier else { anyhow::bail!("no RDS") };
        let table = table(snapshot, &rds.route_config_name)?;
        let mut probed = table.clone();
        for (host, of) in probed.virtual_hosts.iter_mut().enumerate() {
            for (route, each) in of.routes.iter_mut().enumerate() {
                probe(each, nth, &format!("{host}.{route}"))?;
            }
        }
        manager.route_specifier = Some(RouteSpecifier::RouteConfig(probed));
        manager.access_log.clear();
        *any = pack_any(&manager);
        let here = self.next;
        self.next += 1;
        let mut listener = umbra_proto::json::to_json(&Listener::type_url(), &listener.encode_to_vec())?;
        listener["name"] = format!("{nth} {port}").into();
        listener["address"] = json!({"socketAddress": {"address": "127.0.0.1", "portValue": here}});
        let header = json!({"header": {"key": ROUTE, "value": "%ROUTE_NAME%"}, "appendAction": "OVERWRITE_IF_EXISTS_OR_ADD"});
        let any_status = json!({"statusCodeFilter": {"comparison": {
            "op": "GE", "value": {"defaultValue": 0, "runtimeKey": "nothing"}}}});
        listener["filterChains"][0]["filters"][0]["typedConfig"]["localReplyConfig"] =
            json!({"mappers": [{"filter": any_status, "headersToAdd": [header]}]});
        self.listeners.push(listener);
        self.probed.push(ProbedListener { snapshot: nth, port, here, table });
        Ok(())
    }

    /// The bootstrap.
    ///
    /// # Errors
    /// None that can be caused here.
    pub fn bootstrap(&self) -> Result<Value> {
        let node_id = Some("probed".to_owned());
        let mut whole = bootstrap_json(&BootstrapOptions { node_id, ..Default::default() })?;
        let mut clusters = vec![whole["staticResources"]["clusters"][0].take()];
        clusters.extend(self.clusters.iter().cloned());
        whole["staticResources"] = json!({"clusters": clusters, "listeners": self.listeners});
        whole["layeredRuntime"]["layers"] = self.layers.clone().into();
        // umbra itself is not there.
        if let Some(fields) = whole.as_object_mut() {
            ["dynamicResources", "statsSinks", "statsConfig"]
                .iter()
                .for_each(|field| drop(fields.remove(*field)));
        }
        Ok(whole)
    }
}

fn port(listener: &Listener) -> Option<u16> {
    use umbra_proto::envoy::config::core::v3::{address, socket_address};
    let Some(address::Address::SocketAddress(socket)) = &listener.address.as_ref()?.address else {
        return None;
    };
    match socket.port_specifier {
        Some(socket_address::PortSpecifier::PortValue(port)) => u16::try_from(port).ok(),
        _ => None,
    }
}

/// The table with its virtual hosts, also where those are resources of their own.
fn table(snapshot: &Snapshot, name: &str) -> Result<RouteConfiguration> {
    let resource = snapshot.get(ResourceType::Route, name).context("no such table")?;
    let mut table = RouteConfiguration::decode(resource.body.clone())?;
    if table.vhds.take().is_some() {
        for (of, resource) in snapshot.map(ResourceType::VirtualHost) {
            if of.rsplit_once('/').is_some_and(|(of, _)| of == name) {
                table.virtual_hosts.push(VirtualHost::decode(resource.body.clone())?);
            }
        }
    }
    Ok(table)
}

/// Makes a route tell its place, and takes away what only takes time.
fn probe(route: &mut Route, nth: usize, place: &str) -> Result<()> {
    place.clone_into(&mut route.name);
    let header = |key: &str, value: &str| HeaderValueOption {
        header: Some(HeaderValue { key: key.to_owned(), value: value.to_owned(), ..Default::default() }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        ..Default::default()
    };
    route.response_headers_to_add.push(header(ROUTE, place));
    route.response_headers_to_add.push(header(CLUSTER, "%UPSTREAM_CLUSTER_RAW%"));
    for config in route.typed_per_filter_config.values_mut() {
        if let Ok(mut fault) = unpack_any::<HttpFault>(config) {
            fault.delay = None;
            *config = pack_any(&fault);
        }
    }
    let Some(Action::Route(action)) = &mut route.action else { return Ok(()) };
    (action.timeout, action.retry_policy) = (Some(Default::default()), None);
    action.hash_policy.clear();
    let rename = |name: &mut String| *name = format!("{nth} {name}");
    match &mut action.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => rename(name),
        Some(ClusterSpecifier::WeightedClusters(all)) => {
            all.clusters.iter_mut().for_each(|it| rename(&mut it.name))
        }
        other => anyhow::bail!("{other:?}"),
    }
    action.request_mirror_policies.iter_mut().for_each(|mirror| rename(&mut mirror.cluster));
    Ok(())
}
