//! Envoy's own JSON form of any message we know, with every `Any` inside it opened.
//!
//! Used for dumps, golden files and debug views, never on the path to a proxy: the pool of descriptors costs a
//! few milliseconds and megabytes, so it is built when first asked for.

use std::sync::OnceLock;

use bytes::Bytes;
use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::Value;

/// The encoded `FileDescriptorSet` of everything generated; gRPC reflection can serve it as it is.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/api.bin"));

/// Why bytes and JSON could not be turned into each other.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// The embedded descriptors do not load: a defect of the build.
    #[error("embedded descriptors: {0}")]
    Pool(String),
    /// The type URL names a message that is not among the generated ones (`proto/envoy-roots.txt`).
    #[error("unknown message type {0:?}")]
    UnknownType(String),
    /// The bytes are no message of that type.
    #[error("{type_name}: {source}")]
    Decode {
        /// Full protobuf name.
        type_name: String,
        /// The protobuf decoder's words.
        source: prost::DecodeError,
    },
    /// The JSON is no message of that type, or an `Any` inside holds a type we don't know.
    #[error("{type_name}: {source}")]
    Json {
        /// Full protobuf name.
        type_name: String,
        /// The JSON reader's or writer's words.
        source: serde_json::Error,
    },
}

/// The descriptors of everything generated, loaded at the first call and kept.
///
/// # Errors
/// [`JsonError::Pool`] when the embedded set is broken.
pub fn pool() -> Result<&'static DescriptorPool, JsonError> {
    static POOL: OnceLock<Result<DescriptorPool, String>> = OnceLock::new();
    POOL.get_or_init(|| DescriptorPool::decode(DESCRIPTOR_SET).map_err(|error| error.to_string()))
        .as_ref()
        .map_err(|error| JsonError::Pool(error.clone()))
}

/// Protobuf JSON of an encoded message: `lowerCamelCase` keys, default values left out, `Any`s opened with
/// `@type`, object keys in a fixed order.
///
/// # Errors
/// An unknown type, bytes that are not of it, or an `Any` inside whose type is unknown.
pub fn to_json(type_url: &str, body: &[u8]) -> Result<Value, JsonError> {
    let descriptor = descriptor(type_url)?;
    let type_name = descriptor.full_name().to_owned();
    let message = DynamicMessage::decode(descriptor, body)
        .map_err(|source| JsonError::Decode { type_name: type_name.clone(), source })?;
    let mut json = message
        .serialize_with_options(serde_json::value::Serializer, &SerializeOptions::new())
        .map_err(|source| JsonError::Json { type_name, source })?;
    if type_url == crate::type_url::SECRET {
        redact(&mut json);
    }
    Ok(json)
}

/// Takes the private key out of a secret that comes with it: JSON is for people. Where a file holds it, the file is named.
fn redact(secret: &mut Value) {
    for key in ["inlineString", "inlineBytes"] {
        if let Some(text) = secret.pointer_mut(&format!("/tlsCertificate/privateKey/{key}")) {
            *text = "[redacted]".into();
        }
    }
}

/// Protobuf JSON of a message with every field, those that have their default value too: for tools, which look for
/// a field and should not have to know what its absence means.
///
/// # Errors
/// A message that is not among the generated ones.
pub fn to_full_json<M: Message + Name>(message: &M) -> Result<Value, JsonError> {
    let type_name = M::full_name();
    let descriptor = descriptor(&type_name)?;
    let message = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())
        .map_err(|source| JsonError::Decode { type_name: type_name.clone(), source })?;
    message
        .serialize_with_options(
            serde_json::value::Serializer,
            &SerializeOptions::new().skip_default_fields(false),
        )
        .map_err(|source| JsonError::Json { type_name, source })
}

/// The encoded message of its protobuf JSON, the reverse of [`to_json`]; both spellings of a field are taken.
///
/// Map entries may come in another order than the generated code writes them: compare messages, not bytes, or
/// encode again through the generated type.
///
/// # Errors
/// An unknown type, or JSON that does not fit it (an unknown field is an error).
pub fn from_json(type_url: &str, value: &Value) -> Result<Bytes, JsonError> {
    let descriptor = descriptor(type_url)?;
    let type_name = descriptor.full_name().to_owned();
    let message = DynamicMessage::deserialize(descriptor, value)
        .map_err(|source| JsonError::Json { type_name, source })?;
    Ok(message.encode_to_vec().into())
}

fn descriptor(type_url: &str) -> Result<MessageDescriptor, JsonError> {
    let name = type_url.rsplit('/').next().unwrap_or_default();
    pool()?.get_message_by_name(name).ok_or_else(|| JsonError::UnknownType(type_url.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envoy::config::listener::v3::{Filter, FilterChain, Listener, filter::ConfigType};
    use crate::envoy::extensions::filters::http::router::v3::Router;
    use crate::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
    use crate::umbra::v1::{ObjectLiveness, ObjectReference};
    use crate::{pack_any, type_url};
    use serde_json::json;

    fn listener() -> Listener {
        let router = hcm::HttpFilter {
            name: "envoy.filters.http.router".to_owned(),
            config_type: Some(hcm::http_filter::ConfigType::TypedConfig(pack_any(&Router::default()))),
            ..Default::default()
        };
        let manager = hcm::HttpConnectionManager {
            stat_prefix: "p".to_owned(),
            http_filters: vec![router],
            ..Default::default()
        };
        let filter =
            Filter { name: "hcm".to_owned(), config_type: Some(ConfigType::TypedConfig(pack_any(&manager))) };
        Listener {
            name: "l".to_owned(),
            filter_chains: vec![FilterChain { filters: vec![filter], ..Default::default() }],
            ..Default::default()
        }
    }

    #[test]
    fn json_opens_anys_at_every_depth_and_comes_back_as_the_same_message() {
        let body = listener().encode_to_vec();
        let value = to_json(type_url::LISTENER, &body).unwrap();
        let manager = &value["filterChains"][0]["filters"][0]["typedConfig"];
        assert_eq!(manager["statPrefix"], "p");
        assert_eq!(
            manager["httpFilters"][0]["typedConfig"],
            json!({"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"})
        );
        let again = from_json(type_url::LISTENER, &value).unwrap();
        assert_eq!(Listener::decode(again).unwrap(), listener());
    }

    #[test]
    fn our_own_messages_show_every_field() {
        let reference = ObjectReference { kind: "Gateway".to_owned(), ..Default::default() };
        let object = ObjectLiveness { object: Some(reference), generation: 7, ..Default::default() };
        assert_eq!(
            to_full_json(&object).unwrap(),
            json!({
                "object": {"kind": "Gateway", "namespace": "", "name": "", "group": ""},
                // Numbers of 64 bits are strings in protobuf JSON.
                "generation": "7",
                "newestGeneration": "0",
                "total": 0,
                "live": 0,
                "laggards": [],
                "excused": [],
                "stopped": [],
                "away": [],
                "totalAway": 0,
            })
        );
    }

    #[test]
    fn what_cannot_be_turned_is_an_error_that_says_why() {
        let cases: &[(&str, Value, &str)] = &[
            ("type.googleapis.com/no.such.Type", json!({}), "unknown message type"),
            (type_url::CLUSTER, json!({"nmae": "c"}), "nmae"),
            (type_url::CLUSTER, json!({"name": 1}), "envoy.config.cluster.v3.Cluster"),
        ];
        for (url, value, part) in cases {
            let error = from_json(url, value).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        assert!(matches!(to_json(type_url::CLUSTER, b"\xff"), Err(JsonError::Decode { .. })));
    }

    #[test]
    fn a_known_protobuf_json_is_read_in_both_spellings() {
        for key in ["connectTimeout", "connect_timeout"] {
            let body = from_json(type_url::CLUSTER, &json!({ key: "1.5s" })).unwrap();
            let value = to_json(type_url::CLUSTER, &body).unwrap();
            assert_eq!(value, json!({"connectTimeout": "1.500s"}));
        }
    }
}
