//! A destination as a client means it, and why it may mean no cluster.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{Destination, Hostname, ObjectId, PortNumber, SubsetName};

/// A destination as seen by a client.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct TargetQuery {
    /// The client's namespace.
    pub namespace: Arc<str>,
    /// Those of its labels that DestinationRules of its namespace select by.
    pub selecting: Arc<BTreeMap<String, String>>,
    /// The namespace whose objects win where two define the host.
    pub prefer: Arc<str>,
    /// What the rule says.
    pub destination: Destination,
    /// The port being called: the listener's, at a gateway the server's number.
    pub called: PortNumber,
}

/// Why a destination means no cluster.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TargetProblem {
    /// No visible service defines the host.
    #[error("no service {0} is visible here")]
    HostNotFound(Hostname),
    /// The service has no such port.
    #[error("service {0} has no port {1}")]
    PortNotFound(Hostname, PortNumber),
    /// No port named, several to choose from, and the called one is not among them.
    #[error("service {0} has several ports and not the called port {1}; name one")]
    PortAmbiguous(Hostname, PortNumber),
    /// No DestinationRule that applies defines the subset.
    #[error("no DestinationRule that applies to {0} defines the subset {1}{2}")]
    SubsetNotFound(Hostname, SubsetName, Hidden),
    /// ExternalName Services that point at each other.
    #[error("service {0} has too many ExternalName steps")]
    TooManyAliases(Hostname),
    /// A subset of a service without endpoints of its own.
    #[error(
        "service {0} has no subsets: it is whatever the Host of a request names (resolution DYNAMIC_DNS)"
    )]
    NoSubsets(Hostname),
    /// A mirror's target is the Host of the request.
    #[error(
        "requests to service {0} go to what their Host names (resolution DYNAMIC_DNS), and a copy's Host names its original's service or nobody"
    )]
    HostOfCopy(Hostname),
    /// A gateway's destination is the Host of the request.
    #[error(
        "requests to service {0} go to what their Host names (resolution DYNAMIC_DNS), and at a gateway strangers choose it"
    )]
    HostAtGateway(Hostname),
    /// A mirror's target belongs to a namespace that does not admit copies from the rule's.
    #[error("service {0} belongs to namespace {1}, which admits no copies by rules of {2}")]
    NotAdmitted(Hostname, Arc<str>, Arc<str>),
    /// A mirror's target is the address that the caller called.
    #[error(
        "requests to service {0} go to the address that their caller called (resolution NONE or load balancer PASSTHROUGH), and a copy has none"
    )]
    NoAddressOfCopy(Hostname),
    /// A gateway's destination is the address that the caller called.
    #[error(
        "requests to service {0} go to the address that their caller called (resolution NONE or load balancer PASSTHROUGH), which at a gateway is the gateway's own"
    )]
    NoAddressAtGateway(Hostname),
    /// The port speaks UDP.
    #[error("port {1} of service {0} is not TCP")]
    NotTcp(Hostname, PortNumber),
}

/// A DestinationRule that defines the subset all the same, and why it does not count.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Hidden {
    /// There is none.
    Nowhere,
    /// Another namespace's rules, of which this is one, come before it.
    Behind(ObjectId, ObjectId),
    /// It is not exported to the namespace that calls.
    NotExported(ObjectId),
    /// It is for other clients of its namespace.
    OtherClients(ObjectId),
    /// It stands in a namespace whose rules do not count for this service.
    Elsewhere(ObjectId),
}

impl std::fmt::Display for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Hidden::Nowhere => Ok(()),
            Hidden::Behind(hider, hidden) => {
                write!(f, " ({hider} comes before {hidden}, which does, and hides it)")
            }
            Hidden::NotExported(rule) => {
                write!(f, " ({rule} does, and is not exported to the namespace that calls)")
            }
            Hidden::OtherClients(rule) => write!(f, " ({rule} does, for other clients)"),
            Hidden::Elsewhere(rule) => write!(
                f,
                " ({rule} does, but only rules of the caller's, the service's and the root namespace count)"
            ),
        }
    }
}
