//! A message to the proxy: a few bytes of its own, and references to what is shared.

use std::borrow::Cow;
use std::iter;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use prost::{DecodeError, Message as _};
use umbra_proto::envoy::service::discovery::v3::{DeltaDiscoveryResponse, DiscoveryResponse};

use crate::resource::{Resource, ResourceType};
use crate::variant::Variant;
use crate::whole::Whole;
use crate::wire;

/// Of delta responses: `system_version_info` is for people only, and resources have versions of their own. Of a route table Envoy's
/// `/config_dump` shows no other than that of its response ([`shows_version`]), or of the last one with virtual hosts for it.
pub(crate) const NO_VERSION: &str = "";

/// Whether Envoy shows the version of whole delta responses of this type.
pub(crate) fn shows_version(type_url: &str) -> bool {
    type_url == ResourceType::Route.type_url()
}

/// A message to the proxy, ready to be sent: its [`Response::parts`] one after the other are the encoded message.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    variant: Variant,
    type_url: Cow<'static, str>,
    nonce: u64,
    own: Bytes,
    entries: Vec<Bytes>,
    resources: usize,
    len: usize,
}

/// A response in words.
#[derive(Clone, Debug, PartialEq)]
pub enum Decoded {
    /// On a state-of-the-world stream.
    Sotw(DiscoveryResponse),
    /// On a delta stream.
    Delta(DeltaDiscoveryResponse),
}

impl Response {
    /// A response with these resources, and in delta with these names that are gone.
    pub(crate) fn new<'a>(
        variant: Variant,
        type_url: impl Into<Cow<'static, str>>,
        version: &str,
        nonce: u64,
        resources: impl Iterator<Item = &'a Arc<Resource>>,
        removed: &[&str],
    ) -> Self {
        let entries: Vec<_> = resources.map(|resource| resource.entry(variant)).collect();
        let resources = entries.len();
        Self::with(variant, type_url, version, nonce, (entries, resources), removed)
    }

    /// A response with everything that there is of a type.
    pub(crate) fn whole(variant: Variant, type_url: &'static str, nonce: u64, whole: &Whole) -> Self {
        let entries = (vec![whole.entries.clone()], whole.count);
        let is_said = variant == Variant::Sotw || shows_version(type_url);
        let version = if is_said { &whole.version } else { NO_VERSION };
        Self::with(variant, type_url, version, nonce, entries, &[])
    }

    /// A response with these entries, which have so many resources in them.
    pub(crate) fn with(
        variant: Variant,
        type_url: impl Into<Cow<'static, str>>,
        version: &str,
        nonce: u64,
        (entries, resources): (Vec<Bytes>, usize),
        removed: &[&str],
    ) -> Self {
        let (type_url, number) = (type_url.into(), nonce.to_string());
        let fields = [
            (wire::TYPE_URL, type_url.as_bytes()),
            (wire::VERSION, version.as_bytes()),
            (wire::NONCE, number.as_bytes()),
        ];
        let removed = removed.iter().map(|name| (wire::REMOVED, name.as_bytes()));
        let fields = fields.into_iter().filter(|(_, content)| !content.is_empty()).chain(removed);
        let len = fields.clone().map(|(_, content)| wire::field_len(content.len())).sum();
        let mut own = BytesMut::with_capacity(len);
        fields.for_each(|(key, content)| wire::put(&mut own, key, content));
        let len = own.len() + entries.iter().map(Bytes::len).sum::<usize>();
        Self { variant, type_url, nonce, own: own.freeze(), entries, resources, len }
    }

    /// The variant of the stream that it is for.
    pub fn variant(&self) -> Variant {
        self.variant
    }

    /// The type URL of its resources.
    pub fn type_url(&self) -> &str {
        &self.type_url
    }

    /// The nonce by which the proxy will answer it.
    pub fn nonce(&self) -> String {
        self.nonce.to_string()
    }

    /// How many resources it carries.
    pub fn resources(&self) -> usize {
        self.resources
    }

    /// The length of the encoded message in bytes.
    pub fn encoded_len(&self) -> usize {
        self.len
    }

    /// The encoded message in parts: its own fields, then resources, whose bytes it shares with other streams.
    pub fn parts(&self) -> impl Iterator<Item = Bytes> + '_ {
        iter::once(&self.own).chain(&self.entries).cloned()
    }

    /// As [`Response::parts`], without the response.
    pub fn into_parts(self) -> impl Iterator<Item = Bytes> {
        iter::once(self.own).chain(self.entries)
    }

    /// The message in words, for who looks into it. What is sent is never decoded.
    ///
    /// # Errors
    /// None: a response is what it says it is.
    pub fn decode(&self) -> Result<Decoded, DecodeError> {
        let mut whole = BytesMut::with_capacity(self.len);
        self.parts().for_each(|part| whole.extend_from_slice(&part));
        Ok(match self.variant {
            Variant::Sotw => Decoded::Sotw(DiscoveryResponse::decode(whole.freeze())?),
            Variant::Delta => Decoded::Delta(DeltaDiscoveryResponse::decode(whole.freeze())?),
        })
    }
}
