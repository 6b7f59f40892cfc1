//! Virtual hosts and the tables made of them.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use umbra_ir::{UNIX_SOCKET, VirtualHostSpec};
use umbra_proto::envoy::config::route::v3::{
    self as api, RouteConfiguration, virtual_host::TlsRequirementType,
};

use crate::convert::{ads, boolean, uint32};
use crate::names::host_name;
use crate::routes::{EncodedRoutes, clusters_of, only_in_order, put_routes};
use crate::{Built, Requirement};

/// The largest `directResponse` body, in bytes (Istio's limit too).
const MAX_DIRECT_RESPONSE_BODY: u32 = 1024 * 1024;

/// The short name of the last virtual host of a table that a session sends.
const HOSTS_MARKER: &str = "~";

/// The field `virtual_hosts` of `RouteConfiguration`.
const VIRTUAL_HOSTS_FIELD: u32 = 2;

/// A virtual host that any number of tables can hold without encoding it again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EncodedVirtualHost {
    /// The fields before the routes, encoded.
    head: Box<[u8]>,
    routes: HostRoutes,
    /// The fields after them.
    tail: Box<[u8]>,
    /// The clusters that it names, copies' too; sorted. Also such as don't exist: the body is the same whether they
    /// do, and equal bodies must say the same of themselves.
    pub clusters: Arc<[Arc<str>]>,
}

/// The routes of a virtual host, encoded: the routes of one rule stand on many hosts, and are kept once.
#[derive(Clone, PartialEq, Eq, Debug)]
enum HostRoutes {
    /// All of a source.
    Shared(Arc<EncodedRoutes>),
    /// Put together.
    Own(Box<[u8]>),
}

impl HostRoutes {
    fn bytes(&self) -> &[u8] {
        match self {
            HostRoutes::Shared(routes) => routes.bytes(),
            HostRoutes::Own(bytes) => bytes,
        }
    }
}

impl EncodedVirtualHost {
    /// The encoded `envoy.config.route.v3.VirtualHost`, in pieces: a message is the concatenation of its fields.
    fn pieces(&self) -> [&[u8]; 3] {
        [&self.head, self.routes.bytes(), &self.tail]
    }

    fn len(&self) -> usize {
        self.pieces().iter().map(|piece| piece.len()).sum()
    }
}

/// One virtual host (`envoy.config.route.v3.VirtualHost`) with the routes of its sources, for tables that hold it.
pub fn build_virtual_host(spec: &VirtualHostSpec, routes: &[Arc<EncodedRoutes>]) -> EncodedVirtualHost {
    let (head, tail) = around_routes(spec, spec.name.clone());
    let own = || {
        let mut bytes = Vec::new();
        put_routes(routes, spec.order, &mut bytes);
        HostRoutes::Own(bytes.into())
    };
    let routes_of = only_in_order(routes).cloned().map_or_else(own, HostRoutes::Shared);
    EncodedVirtualHost {
        head: head.into(),
        routes: routes_of,
        tail: tail.into(),
        clusters: clusters_of(routes),
    }
}

/// One virtual host as a resource of its own, of a table that [`build_hosts_table`] makes.
pub fn build_host(table: &str, spec: &VirtualHostSpec, routes: &[Arc<EncodedRoutes>]) -> Built {
    let name = host_name(table, &spec.name);
    // The name in the message is that of the resource: by it Envoy removes the host.
    let (mut body, tail) = around_routes(spec, name.to_string());
    put_routes(routes, spec.order, &mut body);
    body.extend_from_slice(&tail);
    body.shrink_to_fit();
    let mut hasher = DefaultHasher::new();
    spec.domains.hash(&mut hasher);
    let requires = clusters_of(routes).iter().cloned().map(Requirement::Cluster).collect();
    Built { name, body: body.into(), requires, exclusive: hasher.finish(), ttl: None }
}

/// The fields of a virtual host before its routes, and those after them: together the bytes equal those of encoding it whole.
fn around_routes(spec: &VirtualHostSpec, name: String) -> (Vec<u8>, Vec<u8>) {
    let head = api::VirtualHost { name, domains: spec.domains.clone(), ..Default::default() };
    let tail = api::VirtualHost {
        require_tls: if spec.require_tls { TlsRequirementType::All } else { TlsRequirementType::None }.into(),
        include_request_attempt_count: true,
        ..Default::default()
    };
    (head.encode_to_vec(), tail.encode_to_vec())
}

/// A table whose virtual hosts are resources of their own (`envoy.config.route.v3.RouteConfiguration` with `vhds`): they
/// come over the same stream, all of them, without being asked for. It requires the marker that ends them.
pub fn build_hosts_table(name: &str) -> Built {
    let vhds = api::Vhds { config_source: Some(ads(Duration::ZERO)) };
    let message = RouteConfiguration { name: name.to_owned(), vhds: Some(vhds), ..settings(name) };
    Built::new(name.into(), &message, vec![Requirement::VirtualHost(host_name(name, HOSTS_MARKER))])
}

/// What tables have in common. The port in a Host says nothing that the listener's does not say, unless a sidecar listens at a
/// socket, whose table is called as it.
fn settings(name: &str) -> RouteConfiguration {
    RouteConfiguration {
        // A cluster that is missing costs its own requests, not the table.
        validate_clusters: Some(boolean(false)),
        max_direct_response_body_size_bytes: Some(uint32(MAX_DIRECT_RESPONSE_BODY)),
        ignore_port_in_host_matching: !name.strip_prefix("hosts/").unwrap_or(name).starts_with(UNIX_SOCKET),
        ..Default::default()
    }
}

/// A table of virtual hosts (`envoy.config.route.v3.RouteConfiguration`), in the given order. It requires every
/// cluster that its virtual hosts name.
pub fn build_route_configuration(name: &str, hosts: &[Arc<EncodedVirtualHost>]) -> Built {
    // A message is the concatenation of its fields: the bytes equal those of encoding it whole.
    let head = RouteConfiguration { name: name.to_owned(), ..Default::default() };
    let tail = settings(name);
    let field = |host: &EncodedVirtualHost| {
        key_len(VIRTUAL_HOSTS_FIELD) + encoded_len_varint(host.len() as u64) + host.len()
    };
    let hosts_len: usize = hosts.iter().map(|host| field(host)).sum();
    let mut body = BytesMut::with_capacity(head.encoded_len() + hosts_len + tail.encoded_len());
    body.extend_from_slice(&head.encode_to_vec());
    for host in hosts {
        encode_key(VIRTUAL_HOSTS_FIELD, WireType::LengthDelimited, &mut body);
        encode_varint(host.len() as u64, &mut body);
        host.pieces().iter().for_each(|piece| body.extend_from_slice(piece));
    }
    body.extend_from_slice(&tail.encode_to_vec());
    let requires: BTreeSet<Arc<str>> = hosts.iter().flat_map(|host| host.clusters.iter().cloned()).collect();
    let requires = requires.into_iter().map(Requirement::Cluster).collect();
    Built { name: name.into(), body: body.freeze(), requires, exclusive: 0, ttl: None }
}
