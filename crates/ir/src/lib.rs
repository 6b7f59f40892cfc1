//! The mesh in our own plain data.
//!
//! Owns: names, diagnostics, services, endpoints, subsets, virtual hosts, routes, mirrors, proxies.
//! Does not own: how any of it is found out (`istio`) or what Envoy makes of it (`envoy`).
//! Invariants: no Kubernetes type, no Envoy type, no IO; every value is `Eq`, because equality is what
//! stops recomputation.
//! Start reading at: [`Rule`], [`ClusterRef`], [`Route`].

mod abort;
mod balancing;
mod bind;
pub mod budget;
mod capture;
mod chain;
mod cluster;
mod codes;
mod connection_rule;
mod diagnostic;
mod filters;
mod gateway;
mod imports;
mod kind;
mod locality;
mod mirror;
mod mirror_policy;
mod mirror_terms;
mod names;
mod notes;
mod object;
mod outliers;
mod ownership;
mod pacing;
mod place;
mod policy;
mod protocol;
mod proxy;
mod remedies;
mod route;
mod rule;
mod runtime_forms;
mod scope;
mod secret;
mod service;
mod settings;
mod source;
mod target;
mod verdicts;
mod visibility;

pub use abort::{AbortLimit, AbortLimits, AbortReason, Aborted};
pub use balancing::{HashCookie, HashKey, LoadBalancer, LoadBalancing, Number, Warmup};
pub use bind::Bind;
pub use capture::{
    BuiltInCluster, CapturedClient, CapturedListener, Interception, Network, Onward, OutboundPolicy,
};
pub use chain::{Chain, ChainContent, Opening, Shared};
pub use cluster::{Breakers, Cluster, Discovery, LoadAssignment, UpstreamProtocol};
pub use codes::{Code, CodeFacts};
pub use connection_rule::{ConnectionMatch, ConnectionRule, ConnectionRules};
pub use diagnostic::{Diagnostic, Severity};
pub use filters::{AbortStatus, Cors, Fault, FaultAbort, FaultDelay, RouteFilters};
pub use gateway::{
    ClientCertificate, Credential, GatewayListener, GatewayPort, ServerConflict, ServerKind, ServerTls,
    TlsEnd, TlsVersion,
};
pub use imports::{
    AskedLabels, Egress, EgressHost, EgressNamespace, EgressPort, Imported, Imports, SidecarHead,
};
pub use kind::{ISTIO_GROUP, Kind, KindFacts, UMBRA_GROUP};
pub use locality::{Locality, REGION, SUBZONE, ZONE};
pub use mirror::{MirrorPlace, MirrorState, ObjectReport};
pub use mirror_policy::{AttachedPolicy, MirrorPolicies, MirrorSelector, PolicedMirror};
pub use mirror_terms::{CopiedRequests, CopyHost, CopyLimits, HostOf, MARK_HEADER, MirrorTerms};
pub use names::{Hostname, PortNumber, RuntimeFraction, RuntimeKey, SubsetName, service_host};
pub use notes::{LISTED, Notes};
pub use object::{ObjectId, Placed};
pub use outliers::OutlierDetection;
pub use ownership::{ForeignRules, HostOwnership, RULES_FROM};
pub use pacing::{Pacing, Ramp, RampState, RampStep};
pub use place::{Arrangement, ClientPlace, Distribute, LocalityBalancing};
pub use policy::{
    ClientTls, ConnectionPool, DestinationRuleEntry, DestinationRuleSet, LeveledPolicy,
    NamespaceDestinationRules, ProxyProtocol, RetryBudget, Subset, TcpKeepalive, TlsOrigination,
    TrafficPolicy,
};
pub use protocol::Protocol;
pub use proxy::{
    BarePods, GatewayHead, Listener, PodHead, ProxyClass, ProxyKind, ProxyNode, Server, ServerHost,
};
pub use route::{Forward, Mirror, MirrorHost, MirrorShare, Route, RouteAction, Target, TargetCluster};
pub use rule::{
    Destination, DirectResponse, ForwardOptions, ForwardRule, GatewayRef, HeaderChanges, HeaderMatch,
    HeaderOps, HeaderValue, MirrorRule, PathMatch, PathRewrite, QueryMatch, Redirect, RedirectPath,
    RedirectPort, RequestMatch, RetryPolicy, RouteOrder, Rule, RuleAction, RuleHead, RuleMatch, RuleTargets,
    Rules, Shares, StaticFilter, Surplus, TextMatch, WeightedDestination,
};
pub use runtime_forms::RuntimeForms;
pub use scope::{Scope, Table, VirtualHostSpec};
pub use secret::{Authorities, Confidential, KeyPair, SecretHead, SecretParts, Validity};
pub use service::{
    Answerer, ClusterRef, DestinationRuleSetId, Destinations, Endpoint, EndpointSet, PortOwner, Resolution,
    Role, ServiceHead, ServiceId, ServicePort, UNIX_SOCKET, Workload,
};
pub use settings::{
    AccessLog, AccessLogFormat, Http10, LogProtocol, LogService, MirrorSettings, PathNormalization,
    RouteTables, Settings,
};
pub use source::{RouteClient, RouteList, RouteRefs, RouteSource};
pub use target::{Hidden, TargetProblem, TargetQuery};
pub use verdicts::{JUDGE_ON, JUDGED, Judges, SHADOW, SHADOW_OF, Verdicts};
pub use visibility::Visibility;
