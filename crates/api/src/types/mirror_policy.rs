//! MirrorPolicy: what becomes of the copies of a VirtualService's mirrors. umbra's own kind, so that nothing of it stands in
//! `spec.http`, which others rewrite.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::http_route::Destination;
use super::scalar::{Duration, proto_enum};

/// `spec` of a MirrorPolicy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct MirrorPolicySpec {
    /// Whose mirrors it is for.
    pub target_ref: Option<MirrorTargetRef>,
    /// Requests with these methods are copied; `*`: with any. Absent: GET, HEAD and OPTIONS. Under a policy a request that asks
    /// for another protocol (WebSocket) is never copied.
    pub methods: Option<Vec<String>>,
    /// Headers of the copy.
    pub headers: Option<CopyHeaders>,
    /// Host of the copy; absent: as without a policy.
    pub host: Option<CopyHost>,
    /// Whether copies say by the header x-shadow of which mirror they are; absent: as `mirror.mark` of umbra.yaml says.
    pub mark: Option<bool>,
    /// Limits of these mirrors in each proxy; what is absent is as umbra.yaml says.
    pub limits: Option<CopyLimits>,
}

/// A VirtualService of the policy's namespace, or some of its mirrors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct MirrorTargetRef {
    /// API group; absent: networking.istio.io.
    pub group: String,
    /// Kind; absent: VirtualService.
    pub kind: String,
    /// Name of the VirtualService.
    pub name: String,
    /// Only the mirrors of its `http` entries of this name; absent: of all.
    pub rule: String,
    /// Only the mirrors that go there; what is left out may be anything. Absent: all.
    pub mirror: Option<Destination>,
}

/// What a copy's headers are changed by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct CopyHeaders {
    /// Taken away. Absent: Authorization and Cookie; a list stands instead of that, an empty one too.
    pub remove: Option<Vec<String>>,
    /// Given, instead of what the request has.
    pub set: BTreeMap<String, String>,
}

/// The Host of a copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct CopyHost {
    /// Whose it is; absent: the target's when that is outside of the mesh, else the caller's.
    pub value: Option<CopyHostValue>,
    /// Whether `-shadow` stands behind it; absent: as `mirror.shadowSuffix` of umbra.yaml says.
    pub suffix: Option<bool>,
}

/// Limits of copies, which stand instead of those of umbra.yaml. Those of a DestinationRule count where they are smaller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct CopyLimits {
    /// The most connections.
    pub max_connections: Option<u32>,
    /// The most copies that wait for a connection.
    pub max_pending_requests: Option<u32>,
    /// The most copies at a time.
    pub max_requests: Option<u32>,
    /// How long one copy may take.
    pub max_stream_duration: Option<Duration>,
}

proto_enum! {
    /// Whose Host a copy has.
    CopyHostValue {
        /// That of the request which is copied.
        Caller = 0 "caller",
        /// That of the mirror's service.
        Target = 1 "target",
    }
}
