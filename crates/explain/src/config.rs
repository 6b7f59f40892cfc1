//! A proxy's resources, read.

use std::collections::BTreeMap;

use prost::Message;
use umbra_proto::envoy::config::cluster::v3::{Cluster, cluster};
use umbra_proto::envoy::config::core::v3::{
    Address, HealthStatus, RuntimeFractionalPercent, address, socket_address,
};
use umbra_proto::envoy::config::endpoint::v3::{ClusterLoadAssignment, lb_endpoint::HostIdentifier};
use umbra_proto::envoy::config::listener::v3::Listener;
use umbra_proto::envoy::config::route::v3::{RouteConfiguration, VirtualHost};
use umbra_proto::envoy::service::runtime::v3::Runtime;
use umbra_proto::envoy::r#type::v3::{FractionalPercent, fractional_percent::DenominatorType};
use umbra_proto::google::protobuf::{Struct, Value, value::Kind};
use umbra_proto::type_url;

use crate::explanation::Endpoints;

/// Bytes that are no message of their type.
#[derive(Debug, thiserror::Error)]
#[error("a resource of {type_url} cannot be read: {source}")]
pub struct Unreadable {
    /// The type of the resource.
    pub type_url: String,
    /// Why.
    pub source: prost::DecodeError,
}

/// All that one proxy was given.
#[derive(Clone, Debug, Default)]
pub struct Config {
    pub(crate) listeners: Vec<Listener>,
    pub(crate) tables: BTreeMap<String, RouteConfiguration>,
    clusters: BTreeMap<String, Cluster>,
    assignments: BTreeMap<String, ClusterLoadAssignment>,
    runtime: BTreeMap<String, Value>,
}

impl Config {
    /// Reads resources, each with its type's URL; other types are passed over. Virtual hosts that are resources of their
    /// own (`TABLE/NAME`) are put into their tables.
    ///
    /// # Errors
    /// Bytes that are no message of their type.
    pub fn read<'a>(resources: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Result<Self, Unreadable> {
        let mut config = Config::default();
        let mut hosts: Vec<VirtualHost> = Vec::new();
        for (type_url, body) in resources {
            let failed = |source| Unreadable { type_url: type_url.to_owned(), source };
            match type_url {
                type_url::LISTENER => config.listeners.push(Listener::decode(body).map_err(failed)?),
                type_url::ROUTE => {
                    let table = RouteConfiguration::decode(body).map_err(failed)?;
                    config.tables.insert(table.name.clone(), table);
                }
                type_url::VIRTUAL_HOST => hosts.push(VirtualHost::decode(body).map_err(failed)?),
                type_url::CLUSTER => {
                    let cluster = Cluster::decode(body).map_err(failed)?;
                    config.clusters.insert(cluster.name.clone(), cluster);
                }
                type_url::ENDPOINT => {
                    let assignment = ClusterLoadAssignment::decode(body).map_err(failed)?;
                    config.assignments.insert(assignment.cluster_name.clone(), assignment);
                }
                type_url::RUNTIME => {
                    let layer = Runtime::decode(body).map_err(failed)?;
                    config.runtime.extend(layer.layer.unwrap_or_default().fields);
                }
                _ => {}
            }
        }
        for host in hosts {
            let table = host.name.rsplit_once('/').map(|(table, _)| table.to_owned());
            if let Some(table) = table.and_then(|table| config.tables.get_mut(&table)) {
                table.virtual_hosts.push(host);
            }
        }
        Ok(config)
    }

    /// The odds that a fraction gives, from 0 to 1.
    pub(crate) fn odds(&self, fraction: Option<&RuntimeFractionalPercent>) -> f64 {
        let Some(fraction) = fraction else { return 1.0 };
        let told =
            (!fraction.runtime_key.is_empty()).then(|| self.runtime.get(&fraction.runtime_key)).flatten();
        let told = told.and_then(|value| match &value.kind {
            Some(Kind::StructValue(fields)) => told_fraction(fields),
            _ => None,
        });
        told.unwrap_or_else(|| odds(fraction.default_value.as_ref()))
    }

    pub(crate) fn cluster_names(&self) -> impl Iterator<Item = &str> {
        self.clusters.keys().map(String::as_str)
    }

    /// Whether there is such a cluster, and who can be called behind it.
    pub fn endpoints(&self, cluster: &str) -> Endpoints {
        let Some(found) = self.clusters.get(cluster) else { return Endpoints::NoCluster };
        let discovery = match found.cluster_discovery_type {
            Some(cluster::ClusterDiscoveryType::Type(number)) => {
                cluster::DiscoveryType::try_from(number).ok()
            }
            Some(cluster::ClusterDiscoveryType::ClusterType(_)) => return Endpoints::AsAsked,
            None => None,
        };
        match discovery {
            Some(cluster::DiscoveryType::Eds) => {
                let service = found.eds_cluster_config.as_ref().map(|eds| eds.service_name.as_str());
                let name = service.filter(|name| !name.is_empty()).unwrap_or(cluster);
                Endpoints::Ready(self.assignments.get(name).map(ready).unwrap_or_default())
            }
            Some(cluster::DiscoveryType::OriginalDst) => Endpoints::AsCalled,
            Some(cluster::DiscoveryType::StrictDns | cluster::DiscoveryType::LogicalDns) => {
                Endpoints::Resolved(found.load_assignment.as_ref().map(ready).unwrap_or_default())
            }
            _ => Endpoints::Ready(found.load_assignment.as_ref().map(ready).unwrap_or_default()),
        }
    }
}

/// What the runtime says of a fraction: a numerator and the name of its denominator.
fn told_fraction(fields: &Struct) -> Option<f64> {
    let numerator = match fields.fields.get("numerator")?.kind {
        Some(Kind::NumberValue(number)) => number,
        _ => return None,
    };
    let denominator = match fields.fields.get("denominator").and_then(|value| value.kind.as_ref()) {
        Some(Kind::StringValue(name)) => DenominatorType::from_str_name(name)?,
        _ => DenominatorType::Hundred,
    };
    Some((numerator / whole(denominator)).min(1.0))
}

fn whole(denominator: DenominatorType) -> f64 {
    match denominator {
        DenominatorType::Hundred => 100.0,
        DenominatorType::TenThousand => 10_000.0,
        DenominatorType::Million => 1_000_000.0,
    }
}

/// The odds that a fraction without a runtime key gives; without any: none.
pub(crate) fn odds(fraction: Option<&FractionalPercent>) -> f64 {
    let Some(fraction) = fraction else { return 0.0 };
    (f64::from(fraction.numerator) / whole(fraction.denominator())).min(1.0)
}

fn ready(assignment: &ClusterLoadAssignment) -> Vec<String> {
    let all = assignment.endpoints.iter().flat_map(|locality| &locality.lb_endpoints);
    let healthy = all.filter(|endpoint| {
        matches!(
            endpoint.health_status(),
            HealthStatus::Unknown | HealthStatus::Healthy | HealthStatus::Degraded
        )
    });
    let addresses = healthy.filter_map(|endpoint| match &endpoint.host_identifier {
        Some(HostIdentifier::Endpoint(endpoint)) => address_text(endpoint.address.as_ref()?),
        _ => None,
    });
    addresses.collect()
}

fn address_text(address: &Address) -> Option<String> {
    match address.address.as_ref()? {
        address::Address::SocketAddress(socket) => {
            let port = match socket.port_specifier {
                Some(socket_address::PortSpecifier::PortValue(port)) => port,
                _ => 0,
            };
            let host = &socket.address;
            Some(if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
        }
        address::Address::Pipe(pipe) => Some(pipe.path.clone()),
        address::Address::EnvoyInternalAddress(_) => Some("(inside of Envoy)".to_owned()),
    }
}

/// The host and port that something listens on or goes to.
pub(crate) fn socket(address: Option<&Address>) -> Option<(String, u16)> {
    let Some(address::Address::SocketAddress(socket)) = &address?.address else { return None };
    match socket.port_specifier {
        Some(socket_address::PortSpecifier::PortValue(port)) => {
            Some((socket.address.clone(), u16::try_from(port).ok()?))
        }
        _ => None,
    }
}
