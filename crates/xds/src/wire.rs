//! Parts of responses as protobuf has them on the wire, so that what many streams get is encoded once.
//!
//! A message is its fields one after the other, in any order: a response is a stream's own fields followed by the
//! entries of resources, each encoded when its resource was made.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use prost::{Message, encode_length_delimiter, length_delimiter_len};
use umbra_proto::google::protobuf;

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

const RESOURCE_VERSION: u8 = key(1);
const RESOURCE_BODY: u8 = RESOURCES;
const RESOURCE_NAME: u8 = key(3);
const RESOURCE_TTL: u8 = key(6);
const ANY_TYPE_URL: u8 = key(1);
const ANY_VALUE: u8 = key(2);

/// A resource's entry in a delta response, and where in it the one of a state-of-the-world response begins: both are
/// field 2 of their response, and the last field of a delta entry is field 2, an `Any`, too. A time to live is delta's alone.
pub(crate) fn entry(
    url: &str,
    (name, version): (&str, &str),
    ttl: Option<Duration>,
    body: &[u8],
) -> (Bytes, usize) {
    let any = field_len(url.len()) + field_len(body.len());
    let ttl = ttl.map(encode_duration);
    let lives = ttl.as_ref().map_or(0, |ttl| field_len(ttl.len()));
    let resource = field_len(name.len()) + field_len(version.len()) + lives + field_len(any);
    let mut out = BytesMut::with_capacity(field_len(resource));
    put_head(&mut out, RESOURCES, resource);
    put(&mut out, RESOURCE_NAME, name.as_bytes());
    put(&mut out, RESOURCE_VERSION, version.as_bytes());
    if let Some(ttl) = &ttl {
        put(&mut out, RESOURCE_TTL, ttl);
    }
    let any_at = out.len();
    put_head(&mut out, RESOURCE_BODY, any);
    put(&mut out, ANY_TYPE_URL, url.as_bytes());
    put(&mut out, ANY_VALUE, body);
    (out.freeze(), any_at)
}

/// A delta entry that says no more than that the resource of this version lives on for as long.
pub(crate) fn heartbeat(name: &str, version: &str, ttl: Duration) -> Bytes {
    let ttl = encode_duration(ttl);
    let resource = field_len(name.len()) + field_len(version.len()) + field_len(ttl.len());
    let mut out = BytesMut::with_capacity(field_len(resource));
    put_head(&mut out, RESOURCES, resource);
    put(&mut out, RESOURCE_NAME, name.as_bytes());
    put(&mut out, RESOURCE_VERSION, version.as_bytes());
    put(&mut out, RESOURCE_TTL, &ttl);
    out.freeze()
}

fn encode_duration(of: Duration) -> Vec<u8> {
    protobuf::Duration { seconds: of.as_secs() as i64, nanos: of.subsec_nanos() as i32 }.encode_to_vec()
}

#[cfg(test)]
mod tests {
    use umbra_proto::envoy::service::discovery::v3::{DeltaDiscoveryResponse, DiscoveryResponse};

    use super::*;

    #[test]
    fn an_entry_is_what_it_should_be_in_both_variants() {
        for size in [0, 1, 100, 127, 128, 20_000, 3_000_000] {
            let body = vec![b'x'; size];
            let (entry, any_at) = entry("a type", ("a name", "a version"), None, &body);
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

    #[test]
    fn what_lives_for_some_time_says_so_in_delta_alone() {
        let (body, ttl) = (vec![b'x'; 200], Duration::from_millis(1500));
        let (entry, any_at) = entry("a type", ("a name", "a version"), Some(ttl), &body);
        let delta = DeltaDiscoveryResponse::decode(entry.clone()).unwrap().resources.remove(0);
        let sotw = DiscoveryResponse::decode(entry.slice(any_at..)).unwrap();
        assert_eq!(sotw.resources, [delta.resource.clone().unwrap()]);
        let lives = delta.ttl.unwrap();
        assert_eq!((lives.seconds, lives.nanos), (1, 500_000_000));
        assert!(entry.ends_with(&body));
        let beat = DeltaDiscoveryResponse::decode(heartbeat("a name", "a version", ttl)).unwrap();
        let beat = &beat.resources[0];
        assert_eq!((beat.name.as_str(), beat.version.as_str()), ("a name", "a version"));
        assert_eq!((&beat.resource, beat.ttl), (&None, Some(lives)));
    }
}
