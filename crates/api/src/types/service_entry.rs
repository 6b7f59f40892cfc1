//! ServiceEntry: a service that Kubernetes doesn't know.
//! Source: Istio's `networking/v1alpha3/service_entry.proto` and `workload_entry.proto`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::scalar::proto_enum;

/// `spec` of a ServiceEntry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceEntrySpec {
    /// Host names, full or wildcard.
    pub hosts: Vec<String>,
    /// Virtual addresses or CIDR blocks.
    pub addresses: Vec<String>,
    /// Ports.
    pub ports: Vec<ServiceEntryPort>,
    /// Inside or outside the mesh.
    pub location: Location,
    /// How addresses are found.
    pub resolution: Resolution,
    /// Endpoints, written out.
    pub endpoints: Vec<WorkloadEntry>,
    /// Or the workloads that have these labels.
    pub workload_selector: Option<WorkloadSelector>,
    /// Namespaces that may see it; empty means `*`.
    pub export_to: Vec<String>,
    /// Names that the servers' certificates may carry.
    pub subject_alt_names: Vec<String>,
}

/// A port (`ServicePort`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceEntryPort {
    /// Number.
    pub number: u32,
    /// Protocol, such as HTTP; empty or unknown: auto-detected.
    pub protocol: String,
    /// Name.
    pub name: String,
    /// Port of the endpoints; 0: the same.
    pub target_port: u32,
}

proto_enum! {
    /// `ServiceEntry.Location`.
    Location {
        /// Outside: plaintext unless asked, copies carry the entry's host.
        MeshExternal = 0 "MESH_EXTERNAL",
        /// Inside.
        MeshInternal = 1 "MESH_INTERNAL",
    }
}

proto_enum! {
    /// `ServiceEntry.Resolution`.
    Resolution {
        /// Whatever address the client called.
        None = 0 "NONE",
        /// Addresses as written.
        Static = 1 "STATIC",
        /// By asking DNS, all answers.
        Dns = 2 "DNS",
        /// By asking DNS, one answer at a time.
        DnsRoundRobin = 3 "DNS_ROUND_ROBIN",
        /// By asking DNS for the host of each request.
        DynamicDns = 4 "DYNAMIC_DNS",
    }
}

/// An endpoint (`WorkloadEntry`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct WorkloadEntry {
    /// IP address, host name (for DNS) or `unix://` path.
    pub address: String,
    /// Port by port name.
    pub ports: BTreeMap<String, u32>,
    /// Labels, for subsets.
    pub labels: BTreeMap<String, String>,
    /// Network.
    pub network: String,
    /// `region/zone/subzone`.
    pub locality: String,
    /// Relative share; 0 means 1.
    pub weight: u32,
    /// Identity.
    pub service_account: String,
}

/// Labels of workloads (`WorkloadSelector`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct WorkloadSelector {
    /// All must be there.
    pub labels: BTreeMap<String, String>,
}
