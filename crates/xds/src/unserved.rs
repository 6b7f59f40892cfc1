//! Types that umbra does not serve (ECDS, …) on a stream that carries many.
//!
//! An error would end the stream and with it everything that is served, and silence would leave Envoy waiting for
//! its initial fetch timeout. The truth is that the names do not exist here: delta says so in
//! `removed_resources`, state-of-the-world by an empty response.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use umbra_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};

use crate::message::SessionError;
use crate::response::Response;
use crate::variant::Variant;

/// More types than this that umbra does not serve on one stream are refused: Envoy itself has about a dozen.
pub const MAX_UNSERVED_TYPES: usize = 32;

/// What must be remembered of each such type: a fingerprint of the names of the last request.
#[derive(Debug, Default)]
pub(crate) struct Unserved(BTreeMap<String, Option<u64>>);

impl Unserved {
    fn seen(&mut self, type_url: &str) -> Result<&mut Option<u64>, SessionError> {
        if !self.0.contains_key(type_url) && self.0.len() >= MAX_UNSERVED_TYPES {
            return Err(SessionError::TooManyTypes { max: MAX_UNSERVED_TYPES });
        }
        Ok(self.0.entry(type_url.to_owned()).or_default())
    }

    /// Answers the first request and every one that asks for other names than the last.
    pub(crate) fn sotw(
        &mut self,
        request: &DiscoveryRequest,
        nonce: u64,
    ) -> Result<Option<Response>, SessionError> {
        let seen = self.seen(&request.type_url)?;
        let mut hasher = DefaultHasher::new();
        request.resource_names.hash(&mut hasher);
        let names = Some(hasher.finish());
        if std::mem::replace(seen, names) == names {
            return Ok(None);
        }
        Ok(Some(response(Variant::Sotw, request.type_url.clone(), nonce, &[])))
    }

    /// Answers the first request and every one that asks for names.
    pub(crate) fn delta(
        &mut self,
        request: &DeltaDiscoveryRequest,
        nonce: u64,
    ) -> Result<Option<Response>, SessionError> {
        let seen = self.seen(&request.type_url)?;
        let first = seen.replace(0).is_none();
        let asked = request.resource_names_subscribe.iter().map(String::as_str);
        let removed: Vec<_> = asked.filter(|name| *name != "*").collect();
        if removed.is_empty() && !first {
            return Ok(None);
        }
        Ok(Some(response(Variant::Delta, request.type_url.clone(), nonce, &removed)))
    }
}

fn response(variant: Variant, type_url: String, nonce: u64, removed: &[&str]) -> Response {
    Response::new(variant, type_url, "unserved", nonce, std::iter::empty(), removed)
}
