//! Connections that begin with the PROXY protocol: who the client is, before anything else.

use umbra_ir::ProxyProtocol;
use umbra_proto::envoy::config::core::v3::{
    ProxyProtocolConfig, TransportSocket, proxy_protocol_config::Version, transport_socket::ConfigType,
};
use umbra_proto::envoy::extensions::transport_sockets::proxy_protocol::v3::ProxyProtocolUpstreamTransport;
use umbra_proto::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use umbra_proto::pack_any;

/// The header, and then what `inner` does; `None`: plaintext. A copy has no client: its header says so.
pub(crate) fn wrapped(version: ProxyProtocol, inner: Option<TransportSocket>) -> TransportSocket {
    let version = match version {
        ProxyProtocol::V1 => Version::V1,
        ProxyProtocol::V2 => Version::V2,
    };
    let inner =
        inner.unwrap_or_else(|| socket("envoy.transport_sockets.raw_buffer", pack_any(&RawBuffer {})));
    let transport = ProxyProtocolUpstreamTransport {
        config: Some(ProxyProtocolConfig { version: version.into(), ..Default::default() }),
        transport_socket: Some(inner),
        ..Default::default()
    };
    socket("envoy.transport_sockets.upstream_proxy_protocol", pack_any(&transport))
}

fn socket(name: &str, config: umbra_proto::google::protobuf::Any) -> TransportSocket {
    TransportSocket { name: name.to_owned(), config_type: Some(ConfigType::TypedConfig(config)) }
}
