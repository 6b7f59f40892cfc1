//! Parts of responses as protobuf has them on the wire, so that what many streams get is encoded once.
//!
//! A message is its fields one after the other, in any order: a response is a stream's own fields followed by the
//! entries of resources, each encoded when its resource was made.

use bytes::{BufMut, Bytes, BytesMut};
use prost::{encode_length_delimiter, length_delimiter_len};

/// The key of a field with a length; the numbers in use fit into one byte.
const fn key(field: u8) -> u8 {
    field << 3 | 2
}

/// `DiscoveryResponse.version_info`, `DeltaDiscoveryResponse.system_version_info`.
pub(crate) const VERSION: u8 = key(1);
/// `resources` of both.
const RESOURCES: u8 = key(2);
/// `type_url` of both.
pub(crate) const TYPE_URL: u8 = key(4);
/// `nonce` of both.
pub(crate) const NONCE: u8 = key(5);
/// `DeltaDiscoveryResponse.removed_resources`.
pub(crate) const REMOVED: u8 = key(6);

/// The length of a field with this much in it.
pub(crate) fn field_len(content: usize) -> usize {
    1 + length_delimiter_len(content) + content
}

fn put_head(out: &mut BytesMut, key: u8, len: usize) {
    out.put_u8(key);
    // It fails only where there is no room, and this buffer grows.
    let _ = encode_length_delimiter(len, out);
}

/// Writes a field.
pub(crate) fn put(out: &mut BytesMut, key: u8, content: &[u8]) {
    put_head(out, key, content.len());
    out.put_slice(content);
}

/// A resource's entry in a delta response, and where in it the one of a state-of-the-world response begins: both are
/// field 2 of their response, and the last field of a delta entry is field 2, an `Any`, too.
pub(crate) fn entry(url: &str, name: &str, version: &str, body: &[u8]) -> (Bytes, usize) {
    const RESOURCE_VERSION: u8 = key(1);
    const RESOURCE_BODY: u8 = RESOURCES;
    const RESOURCE_NAME: u8 = key(3);
    const ANY_TYPE_URL: u8 = key(1);
    const ANY_VALUE: u8 = key(2);
    let any = field_len(url.len()) + field_len(body.len());
    let resource = field_len(name.len()) + field_len(version.len()) + field_len(any);
    let mut out = BytesMut::with_capacity(field_len(resource));
    put_head(&mut out, RESOURCES, resource);
    put(&mut out, RESOURCE_NAME, name.as_bytes());
    put(&mut out, RESOURCE_VERSION, version.as_bytes());
    let any_at = out.len();
    put_head(&mut out, RESOURCE_BODY, any);
    put(&mut out, ANY_TYPE_URL, url.as_bytes());
    put(&mut out, ANY_VALUE, body);
    (out.freeze(), any_at)
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use umbra_proto::envoy::service::discovery::v3::{DeltaDiscoveryResponse, DiscoveryResponse};

    use super::*;

    #[test]
    fn an_entry_is_what_it_should_be_in_both_variants() {
        for size in [0, 1, 100, 127, 128, 20_000, 3_000_000] {
            let body = vec![b'x'; size];
            let (entry, any_at) = entry("a type", "a name", "a version", &body);
            let delta = DeltaDiscoveryResponse::decode(entry.clone()).unwrap();
            let [resource] = &delta.resources[..] else { panic!("{} resources", delta.resources.len()) };
            assert_eq!((resource.name.as_str(), resource.version.as_str()), ("a name", "a version"));
            let sotw = DiscoveryResponse::decode(entry.slice(any_at..)).unwrap();
            assert_eq!(sotw.resources, [resource.resource.clone().unwrap()]);
            assert_eq!(sotw.resources[0].type_url, "a type");
            assert_eq!(sotw.resources[0].value, body);
            assert!(entry.ends_with(&body));
        }
    }
}
