//! Kubernetes and Istio objects as umbra reads them.
//!
//! Owns: the objects' Rust types (three API versions to one type), reading them from YAML and JSON with
//! exact positions, and judging one object on its own.
//! Does not own: what objects mean together (`istio`), where text comes from (`source`).
//! Invariants: no IO; no input panics; an object that does not fit its type is never half accepted; every
//! problem is a [`umbra_ir::Diagnostic`] and all of them are reported, not the first.
//! Start reading at: [`Object`], [`VirtualServiceSpec`].

mod change;
pub mod check;
mod crd;
mod kinds;
mod objects;
pub mod read;
mod suggest;
pub mod types;
mod validate;

pub use change::Change;
pub use check::budget::{EntryBudget, RulesWeight, Selected, kept_mirrors, size, weight};
pub use check::connection::{
    OwnHosts, check_connection_destination, check_connection_route, check_server_name, check_tcp_match,
    check_tls_match, parse_block,
};
pub use check::cors::{allowed_origins, check_cors_word, check_origin, max_age_seconds};
pub use check::egress::{check_egress_host, judge_egress};
pub use check::fault::{check_fault, delay_percent, grpc_status};
pub use check::headers::{
    check_header_name, check_header_op, check_header_remove, check_header_value, check_text, is_authority,
};
pub use check::matching::check_match;
pub use check::mirror_policy::{
    abort_limits, check_abort_limit, check_copy_header, check_mirror_target, check_verdicts, copied_methods,
    given_headers, removed_headers, resolve_ramp,
};
pub use check::policy::{
    check_distribute, check_hash_cookie, check_hash_header, check_hash_query, check_maglev_size,
    check_ring_size, check_status, is_aggression, is_percent,
};
pub use check::regex::check_regex;
pub use check::rule::{MAX_DIRECT_BODY, RuleFate, check_rule, judge_rule};
pub use check::server::{
    asks_clients, authority_secrets, certificate_secrets, check_cipher, check_server, named_secrets,
    server_protocol,
};
pub use check::{Problem, check_destination, check_duration, check_host, check_percent};
pub use crd::crds;
pub use objects::Objects;
pub use read::documents::{Located, Parsed, parse_documents, parse_value};
pub use read::tree::{Position, Positions};
pub use types::core::{
    ContainerPort, Endpoint, EndpointConditions, EndpointPort, EndpointSlice, IntOrString, Namespace, Node,
    Pod, Service, ServicePort, ServiceSpec, TargetRef,
};
pub use types::destination_rule::{DestinationRuleSpec, Subset};
pub use types::gateway::{
    GatewayPort, GatewaySpec, Server, ServerTlsMode, ServerTlsSettings, TlsCertificate, TlsProtocol,
};
pub use types::http_action::{
    CorsPolicy, Delegate, FaultAbort, FaultDelay, HttpBody, HttpDirectResponse, HttpFaultInjection,
    HttpRedirect, HttpRetry, HttpRewrite, MatchLabels, RedirectPort, RegexRewrite, UnmatchedPreflights,
};
pub use types::http_route::{
    Destination, HeaderOperations, Headers, HttpMatch, HttpMirrorPolicy, HttpRoute, HttpRouteDestination,
    PortSelector, StringMatch,
};
pub use types::mirror_policy::{
    AbortVerdict, CopyAbort, CopyHeaders, CopyHost, CopyHostValue, CopyLimit, CopyLimits, CopyRamp,
    CopyRampStep, CopySample, CopyVerdicts, MirrorPolicySpec, MirrorTargetRef, RampVerdict,
};
pub use types::object::{
    CanaryTool, DestinationRule, Gateway, Meta, MirrorPolicy, Object, ServiceEntry, Sidecar, VirtualService,
    Workload,
};
pub use types::scalar::{Base64, Double, Duration, NotADuration, Percent};
pub use types::secret::{Secret, SecretTexts};
pub use types::service_entry::{
    Location, Resolution, ServiceEntryPort, ServiceEntrySpec, WorkloadEntry, WorkloadSelector,
};
pub use types::sidecar::{
    CaptureMode, EgressListener, IngressListener, OutboundMode, OutboundTrafficPolicy, SidecarPort,
    SidecarSpec,
};
pub use types::traffic_policy::*;
pub use types::virtual_service::{
    L4Match, RouteDestination, TcpRoute, TlsMatch, TlsRoute, VirtualServiceSpec,
};
pub use validate::validate;
