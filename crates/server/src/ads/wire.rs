//! What differs between the two variants of ADS.

use prost::Message;
use umbra_ir::RuntimeForms;
use umbra_proto::envoy::config::core::v3::Node;
use umbra_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use umbra_xds::{ResourceType, Variant};

/// A variant's messages.
pub(crate) trait Wire: 'static {
    /// From the proxy.
    type Request: Into<umbra_xds::Request> + Message + Default + 'static;
    /// Which it is.
    const VARIANT: Variant;

    /// Takes the node out, so that nobody keeps it.
    fn take_node(request: &mut Self::Request) -> Option<Node>;
    /// The type asked for, and the names it adds.
    fn asks(request: &Self::Request) -> (&str, &[String]);

    /// What it says of a response that it refuses.
    fn words(request: &mut Self::Request) -> Option<&mut String>;

    /// The layers of the runtime that it asks for.
    fn runtime_forms(request: &Self::Request) -> RuntimeForms {
        let (type_url, names) = Self::asks(request);
        if type_url == ResourceType::Runtime.type_url() {
            umbra_envoy::runtime_forms(names.iter().map(String::as_str))
        } else {
            RuntimeForms::NONE
        }
    }
}

/// State of the world.
pub(crate) enum Sotw {}

impl Wire for Sotw {
    type Request = DiscoveryRequest;
    const VARIANT: Variant = Variant::Sotw;

    fn take_node(request: &mut DiscoveryRequest) -> Option<Node> {
        request.node.take()
    }

    fn asks(request: &DiscoveryRequest) -> (&str, &[String]) {
        (&request.type_url, &request.resource_names)
    }

    fn words(request: &mut DiscoveryRequest) -> Option<&mut String> {
        request.error_detail.as_mut().map(|it| &mut it.message)
    }
}

/// Incremental.
pub(crate) enum Delta {}

impl Wire for Delta {
    type Request = DeltaDiscoveryRequest;
    const VARIANT: Variant = Variant::Delta;

    fn take_node(request: &mut DeltaDiscoveryRequest) -> Option<Node> {
        request.node.take()
    }

    fn asks(request: &DeltaDiscoveryRequest) -> (&str, &[String]) {
        (&request.type_url, &request.resource_names_subscribe)
    }

    fn words(request: &mut DeltaDiscoveryRequest) -> Option<&mut String> {
        request.error_detail.as_mut().map(|it| &mut it.message)
    }
}
