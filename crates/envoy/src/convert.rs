//! Small conversions that every builder uses.

use std::time::Duration;

use prost::Name;
use umbra_ir::UNIX_SOCKET;
use umbra_proto::envoy::config::core::v3::{
    Address, AggregatedConfigSource, ApiVersion, ConfigSource, DataSource, Pipe, SocketAddress, address,
    config_source::ConfigSourceSpecifier, data_source::Specifier, socket_address::PortSpecifier,
};
use umbra_proto::envoy::config::listener::v3::{Filter, filter};
use umbra_proto::envoy::r#type::matcher::v3::RegexMatcher;
use umbra_proto::google::protobuf;
use umbra_proto::pack_any;

/// Envoy refuses durations whose nanoseconds overflow 63 bits, and with one all the rest of the resource; nobody
/// means more than a century.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

pub(crate) fn duration(value: Duration) -> protobuf::Duration {
    let value = value.min(LONGEST);
    protobuf::Duration { seconds: value.as_secs() as i64, nanos: value.subsec_nanos() as i32 }
}

/// For fields that Envoy wants above zero: less than a millisecond becomes one.
pub(crate) fn positive_duration(value: Duration) -> protobuf::Duration {
    duration(value.max(Duration::from_millis(1)))
}

pub(crate) fn uint32(value: u32) -> protobuf::UInt32Value {
    protobuf::UInt32Value { value }
}

pub(crate) fn boolean(value: bool) -> protobuf::BoolValue {
    protobuf::BoolValue { value }
}

/// Where an endpoint or a listener is: a socket of the Unix domain, or a port of an address.
pub(crate) fn endpoint_address(address: &str, port: u16) -> Address {
    match address.strip_prefix(UNIX_SOCKET) {
        Some(path) => {
            let pipe = Pipe { path: path.to_owned(), ..Default::default() };
            Address { address: Some(address::Address::Pipe(pipe)) }
        }
        None => socket_address(address, port),
    }
}

pub(crate) fn socket_address(host: &str, port: u16) -> Address {
    let socket = SocketAddress {
        address: host.to_owned(),
        port_specifier: Some(PortSpecifier::PortValue(port.into())),
        ..Default::default()
    };
    Address { address: Some(address::Address::SocketAddress(socket)) }
}

/// "From the stream you already have", giving up on the first answer after `initial_fetch_timeout` (zero: never).
pub(crate) fn ads(initial_fetch_timeout: Duration) -> ConfigSource {
    ConfigSource {
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        initial_fetch_timeout: Some(duration(initial_fetch_timeout)),
        resource_api_version: ApiVersion::V3.into(),
        ..Default::default()
    }
}

pub(crate) fn file(path: &str) -> DataSource {
    DataSource { specifier: Some(Specifier::Filename(path.to_owned())), ..Default::default() }
}

pub(crate) fn regex(pattern: &str) -> RegexMatcher {
    RegexMatcher { regex: pattern.to_owned(), ..Default::default() }
}

pub(crate) fn text_value(value: impl Into<String>) -> protobuf::Value {
    protobuf::Value { kind: Some(protobuf::value::Kind::StringValue(value.into())) }
}

pub(crate) fn struct_value(fields: impl IntoIterator<Item = (String, protobuf::Value)>) -> protobuf::Value {
    protobuf::Value { kind: Some(protobuf::value::Kind::StructValue(structure(fields))) }
}

pub(crate) fn structure(fields: impl IntoIterator<Item = (String, protobuf::Value)>) -> protobuf::Struct {
    protobuf::Struct { fields: fields.into_iter().collect() }
}

/// A filter of a listener's chain.
pub(crate) fn filter(name: &str, message: &impl Name) -> Filter {
    Filter { name: name.to_owned(), config_type: Some(filter::ConfigType::TypedConfig(pack_any(message))) }
}
