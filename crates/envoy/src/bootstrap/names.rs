//! How the proxy resolves names.

use umbra_proto::envoy::config::core::v3::TypedExtensionConfig;
use umbra_proto::envoy::extensions::network::dns_resolver::cares::v3::CaresDnsResolverConfig;
use umbra_proto::google::protobuf::UInt64Value;
use umbra_proto::pack_any;

use crate::convert::uint32;

/// Envoy's usual resolver, but one that gives up: by itself it asks a server that never answers for two minutes, and for as
/// long a proxy that starts serves nobody, since it waits for the addresses of every cluster.
pub(super) fn resolver() -> TypedExtensionConfig {
    let config = CaresDnsResolverConfig {
        query_timeout_seconds: Some(UInt64Value { value: 2 }),
        query_tries: Some(uint32(2)),
        ..Default::default()
    };
    TypedExtensionConfig {
        name: "envoy.network.dns_resolver.cares".to_owned(),
        typed_config: Some(pack_any(&config)),
    }
}
