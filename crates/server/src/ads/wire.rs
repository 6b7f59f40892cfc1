//! What differs between the two variants of ADS.

use prost::Message;
use tonic::Status;
use umbra_ir::RuntimeForms;
use umbra_proto::envoy::config::core::v3::Node;
use umbra_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use umbra_xds::{ResourceType, Variant};

use super::requests::Read;
use crate::parts::{self, NoMessage};

/// The largest node that is looked at, encoded: that of an Envoy has some kilobytes of metadata, and names hundreds of extensions.
const MAX_NODE: usize = 256 << 10;
/// The largest error detail besides its words, of which 16 KiB are kept: Envoy's has words alone.
const MAX_DETAILS: usize = 64 << 10;
/// The most parts of a request, and bytes of it for each further one: names are longer than that.
const MAX_PARTS: usize = 100_000;
/// See [`MAX_PARTS`].
const PART: usize = 16;

/// A variant's messages.
pub(crate) trait Wire: 'static {
    /// From the proxy.
    type Request: Into<umbra_xds::Request> + Read + 'static;
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

impl Read for DiscoveryRequest {
    fn read(message: &[u8]) -> Result<Self, Status> {
        read(message, 2, 6)
    }
}

impl Read for DeltaDiscoveryRequest {
    fn read(message: &[u8]) -> Result<Self, Status> {
        read(message, 1, 7)
    }
}

/// Reads a request whose node and error detail are these fields, when it does not come to much more than its length.
fn read<T: Message + Default>(message: &[u8], node: u32, error_detail: u32) -> Result<T, Status> {
    /// `google.rpc.Status.details`.
    const DETAILS: u32 = 3;
    let none = |NoMessage| Status::invalid_argument("this is no discovery request");
    let most = MAX_PARTS.max(message.len() / PART);
    for (nth, part) in parts::of(message).enumerate() {
        let part = part.map_err(none)?;
        let (what, len, most) = if part.field == node {
            ("bytes of its node", part.bytes.len(), MAX_NODE)
        } else if part.field == error_detail {
            let mut len = 0;
            parts::each(part.bytes, &[DETAILS], &mut |detail| len += detail.len() + 2).map_err(none)?;
            ("bytes of details of its error", len, MAX_DETAILS)
        } else {
            ("parts", nth + 1, most)
        };
        if len > most {
            let text = format!("the request has {len} {what}, and {most} are allowed");
            return Err(Status::resource_exhausted(text));
        }
    }
    T::decode(message).map_err(|error| Status::invalid_argument(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A part of `len` bytes, all of which are parts of nothing in this field.
    fn part(field: u8, inner: u8, len: usize) -> Vec<u8> {
        let mut out = vec![field << 3 | 2];
        prost::encode_length_delimiter(len, &mut out).unwrap();
        out.extend([inner << 3 | 2, 0].repeat(len / 2));
        out
    }

    #[test]
    fn requests_come_to_what_they_are_long() {
        for (title, message, want) in [
            ("many names", part(3, 0, 2).repeat(MAX_PARTS), true),
            ("too many names of nothing", [26, 0].repeat(MAX_PARTS + 1), false),
            ("as many of some length", part(3, 0, 40).repeat(MAX_PARTS + 1), true),
            ("locators of nothing", [66, 0].repeat(MAX_PARTS + 1), false),
            ("a node of many extensions", part(1, 9, MAX_NODE), true),
            ("of too many", part(1, 9, MAX_NODE + 2), false),
            ("details", part(7, 3, MAX_DETAILS), true),
            ("too many details", part(7, 3, MAX_DETAILS + 2), false),
            ("a broken part", vec![26, 9, 0], false),
        ] {
            assert_eq!(DeltaDiscoveryRequest::read(&message).is_ok(), want, "{title}");
        }
    }
}
