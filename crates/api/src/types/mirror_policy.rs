//! MirrorPolicy: what becomes of the copies of a VirtualService's mirrors. umbra's own kind, so that nothing of it stands in
//! `spec.http`, which others rewrite.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::http_route::Destination;
use super::scalar::{Double, Duration, proto_enum};

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
    /// Whether what becomes of these copies is counted; absent: as `mirror.observe` of umbra.yaml says.
    pub observe: Option<bool>,
    /// That copies are judged beside their primaries, instead of what umbra.io/verdicts of the VirtualService says.
    pub verdicts: Option<CopyVerdicts>,
    /// When copying stops by itself, instead of what umbra.io/abort of the VirtualService says.
    pub abort: Option<CopyAbort>,
    /// At most so many copies a second of each mirror, of all proxies together.
    pub max_requests_per_second: Option<u32>,
    /// Which requests are copied of those that several mirrors could copy; absent: nested, the only way that Envoy has.
    pub sample: Option<CopySample>,
    /// Shares one after the other, up to the one that the rule writes.
    pub ramp: Option<CopyRamp>,
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

/// How copies are judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct CopyVerdicts {
    /// Requests a second, of each rule, over all proxies; 0: none. Absent: 20.
    pub rate: Option<u32>,
    /// Whether the bodies of what is answered are compared, too, by a judge; absent: no.
    pub contents: Option<bool>,
    /// Whether pairs that differ show the query of their request, to whoever may read the rule; absent: no.
    pub queries: Option<bool>,
    /// Whether fields that differ show some of their values, to whoever may read the rule, where contents are compared and the judge
    /// may (`umbra judge --values`); absent: no.
    pub values: Option<bool>,
}

/// Limits beyond which copying stops; docs/aborts.md says of what each is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct CopyAbort {
    /// More than this part of the answers to copies were 5xx.
    pub shadow_errors: Option<CopyLimit>,
    /// More than this part of the copies got no whole answer.
    pub copies_lost: Option<CopyLimit>,
    /// By more than this part of all answers the rule's own requests were answered 5xx more often than without copies.
    pub primary_errors: Option<CopyLimit>,
    /// By more than this part of it their mean time was longer than without copies.
    pub primary_latency: Option<CopyLimit>,
    /// Copies are judged, and this is the verdict.
    pub verdict: Option<AbortVerdict>,
}

/// One of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct CopyLimit {
    /// Percent.
    pub percent: Double,
    /// How far it is looked back at most, from 10s to 10m; absent: 30s.
    pub window: Option<Duration>,
    /// Fewer answers, copies or requests than this say nothing; absent: 100.
    pub minimum: Option<u32>,
}

/// A ramp.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct CopyRamp {
    /// Each with a larger share than the one before. Behind the last one the share is what the rule writes.
    pub steps: Vec<CopyRampStep>,
    /// It goes on only while copies are judged and this is the verdict; absent: unless the verdict is `different`.
    pub verdict: Option<RampVerdict>,
}

/// One step of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct CopyRampStep {
    /// The share, in percent of the requests.
    pub percent: Double,
    /// At least for so long.
    pub time: Duration,
    /// And until so many requests of the rule were counted; absent: 100.
    pub requests: Option<u32>,
}

proto_enum! {
    /// A verdict that stops a mirror.
    AbortVerdict {
        /// The target answers otherwise than the primary.
        Different = 0 "different",
    }
}

proto_enum! {
    /// A verdict that a ramp waits for.
    RampVerdict {
        /// The target answers as the primary does.
        Same = 0 "same",
    }
}

proto_enum! {
    /// How mirrors choose requests.
    CopySample {
        /// All by one number: of two mirrors the one with the smaller share copies what the other copies too.
        Nested = 0 "nested",
        /// Each by a number of its own. Envoy cannot.
        Independent = 1 "independent",
    }
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
