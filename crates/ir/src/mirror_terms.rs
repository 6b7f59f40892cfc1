//! What a MirrorPolicy says of copies, names resolved.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::{AbortLimits, Breakers, HeaderChanges, ObjectId, Pacing, Verdicts};

/// The header by which copies say of which mirror they are ([`crate::RuntimeKey::mark`]).
pub const MARK_HEADER: &str = "x-shadow";

/// What holds for the copies of one mirror, by the MirrorPolicy that counts for it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct MirrorTerms {
    /// The policy.
    pub policy: ObjectId,
    /// Which requests are copied.
    pub requests: CopiedRequests,
    /// What a copy's headers are changed by: first what is removed, then the values.
    pub headers: HeaderChanges,
    /// A copy's Host.
    pub host: CopyHost,
    /// Whether copies say of which mirror they are; `None`: as the mesh says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mark: Option<bool>,
    /// Limits of the mirror's own; `None`: those of the mesh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Arc<CopyLimits>>,
    /// What becomes of copies is not counted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unobserved: bool,
    /// How copies are judged, at a rate of 0 not at all; `None`: as the VirtualService says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdicts: Option<Verdicts>,
    /// When copying stops by itself; `None`: as the VirtualService says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abort: Option<AbortLimits>,
    /// What holds the share below what is written; `None`: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pacing: Option<Arc<Pacing>>,
}

impl MirrorTerms {
    /// Whether a copy is to be another request than the one that it copies. Envoy does that since 1.36; an older one would
    /// copy the request as it is.
    pub fn edits_copies(&self) -> bool {
        self.headers != HeaderChanges::default() || self.host.of == Some(HostOf::Target)
    }
}

/// Which requests a mirror copies, of those that its rule takes.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub enum CopiedRequests {
    /// Every one, also one that asks for another protocol (WebSocket): so without a policy.
    #[default]
    All,
    /// Every one that asks for no other protocol.
    NoUpgrades,
    /// Those with one of these methods that ask for no other protocol.
    Methods(BTreeSet<Arc<str>>),
}

impl CopiedRequests {
    /// The methods that are named.
    pub fn methods(&self) -> impl Iterator<Item = &Arc<str>> {
        match self {
            CopiedRequests::Methods(methods) => Some(methods),
            CopiedRequests::All | CopiedRequests::NoUpgrades => None,
        }
        .into_iter()
        .flatten()
    }

    /// Whether a request that asks for no other protocol is copied; `None`: its method is none that anybody names.
    pub fn takes(&self, method: Option<&str>) -> bool {
        match self {
            CopiedRequests::All | CopiedRequests::NoUpgrades => true,
            CopiedRequests::Methods(methods) => method.is_some_and(|method| methods.contains(method)),
        }
    }
}

/// The Host of a mirror's copies, where somebody says.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct CopyHost {
    /// Whose it is; `None`: the target's when that is outside of the mesh, else the caller's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<HostOf>,
    /// Whether `-shadow` stands behind it; `None`: as the mesh says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suffix: Option<bool>,
}

/// Limits of the copies of one policy, which stand instead of those of the mesh. They need clusters of their own.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize)]
pub struct CopyLimits {
    /// Whose they are: part of the names of the clusters.
    pub policy: ObjectId,
    /// The most connections of one proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    /// The most copies of one proxy that wait for a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_pending_requests: Option<u32>,
    /// The most copies of one proxy at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_requests: Option<u32>,
    /// How long one copy may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_stream_duration: Option<Duration>,
}

impl CopyLimits {
    /// What holds beside those of the mesh.
    pub fn breakers(&self, mesh: Breakers) -> Breakers {
        Breakers {
            max_connections: self.max_connections.unwrap_or(mesh.max_connections),
            max_pending_requests: self.max_pending_requests.unwrap_or(mesh.max_pending_requests),
            max_requests: self.max_requests.unwrap_or(mesh.max_requests),
            max_retries: mesh.max_retries,
        }
    }
}

/// Whose Host a copy has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub enum HostOf {
    /// That of the request which is copied.
    Caller,
    /// That of the mirror's service.
    Target,
}
