//! Messages into and out of `google.protobuf.Any`.

use prost::{Message, Name};

use crate::google::protobuf::Any;

/// Packs a message with the type URL that Envoy expects, `type.googleapis.com/` and the full name.
pub fn pack_any<M: Message + Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec().into() }
}

/// Why an `Any` could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// It holds a message of another type.
    #[error("expected {expected}, found {found:?}")]
    OtherType {
        /// Full name of the type asked for.
        expected: String,
        /// The type URL inside.
        found: String,
    },
    /// The bytes are no message of that type.
    #[error(transparent)]
    Decode(#[from] prost::DecodeError),
}

/// Unpacks a message if `any` holds one of its type.
///
/// Only the part of the type URL behind the last slash names the type, as protobuf's own rule has it.
///
/// # Errors
/// The type is another one, or the bytes are not a message of this type.
pub fn unpack_any<M: Message + Name + Default>(any: &Any) -> Result<M, UnpackError> {
    let name = any.type_url.rsplit('/').next().unwrap_or_default();
    if name != M::full_name() {
        return Err(UnpackError::OtherType { expected: M::full_name(), found: any.type_url.clone() });
    }
    Ok(M::decode(any.value.clone())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envoy::config::cluster::v3::Cluster;
    use crate::envoy::config::core::v3::Metadata;
    use crate::envoy::config::route::v3::VirtualHost;
    use crate::google::protobuf::{Struct, Value, value::Kind};

    fn text(value: &str) -> Value {
        Value { kind: Some(Kind::StringValue(value.to_owned())) }
    }

    fn object(prefix: &str) -> Struct {
        Struct { fields: (0..50).rev().map(|i| (format!("{prefix}{i}"), text("x"))).collect() }
    }

    #[test]
    fn the_same_message_encodes_to_the_same_bytes() {
        // Structs, metadata and per-filter configuration are the maps that reach a proxy.
        let metadata = Metadata {
            filter_metadata: ["b", "a", "c"].map(|key| (key.to_owned(), object(key))).into(),
            ..Default::default()
        };
        let per_filter = |keys: [&str; 3]| VirtualHost {
            typed_per_filter_config: keys.map(|key| (key.to_owned(), pack_any(&object(key)))).into(),
            ..Default::default()
        };
        let first = (metadata.encode_to_vec(), per_filter(["z", "y", "x"]).encode_to_vec());
        for _ in 0..100 {
            let again = (metadata.clone().encode_to_vec(), per_filter(["x", "z", "y"]).encode_to_vec());
            assert_eq!(first, again);
        }
    }

    #[test]
    fn an_any_gives_back_its_message_and_refuses_another_type() {
        let cluster = Cluster { name: "c".to_owned(), ..Default::default() };
        let any = pack_any(&cluster);
        assert_eq!(any.type_url, crate::type_url::CLUSTER);
        assert_eq!(unpack_any::<Cluster>(&any).unwrap(), cluster);
        assert!(matches!(unpack_any::<VirtualHost>(&any), Err(UnpackError::OtherType { .. })));
        let broken = Any { value: bytes::Bytes::from_static(b"\xff"), ..any };
        assert!(matches!(unpack_any::<Cluster>(&broken), Err(UnpackError::Decode(_))));
    }

    #[test]
    fn the_type_urls_are_those_of_the_generated_types() {
        use crate::envoy::config::{endpoint, listener, route};
        use crate::type_url::{CLUSTER, ENDPOINT, LISTENER, ROUTE, RUNTIME};
        assert_eq!(Cluster::type_url(), CLUSTER);
        assert_eq!(endpoint::v3::ClusterLoadAssignment::type_url(), ENDPOINT);
        assert_eq!(listener::v3::Listener::type_url(), LISTENER);
        assert_eq!(route::v3::RouteConfiguration::type_url(), ROUTE);
        assert_eq!(crate::envoy::service::runtime::v3::Runtime::type_url(), RUNTIME);
    }
}
