//! What a judge sees of judged requests: what was answered to them and to each of their copies (docs/contents.md).
//!
//! Envoy's external processor in the mode that only looks: it sends what passes and waits for nothing, so that whatever becomes of
//! the judge costs no request anything. It stands in a listener from its start, switched off; the routes of judged requests switch
//! it on. Copies meet it in clusters of their own.

use umbra_ir::{JUDGED, SHADOW, SHADOW_OF};
use umbra_proto::envoy::config::core::v3::{
    GrpcService, HeaderValue,
    grpc_service::{EnvoyGrpc, TargetSpecifier},
};
use umbra_proto::envoy::extensions::filters::http::ext_proc::v3::{
    ExternalProcessor, HeaderForwardingRules, ProcessingMode,
    processing_mode::{BodySendMode, HeaderSendMode},
};
use umbra_proto::envoy::extensions::filters::http::upstream_codec::v3::UpstreamCodec;
use umbra_proto::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpFilter as Api, http_filter::ConfigType,
};
use umbra_proto::envoy::r#type::matcher::v3::{
    ListStringMatcher, StringMatcher, string_matcher::MatchPattern,
};
use umbra_proto::pack_any;

use crate::convert::duration;

/// The static cluster of a bootstrap by which answers reach a judge.
pub const CONTENTS_CLUSTER: &str = "umbra-judge";
/// The header of a stream that says what it is of: [`PRIMARY`] or [`COPY`].
pub const SIDE: &str = "x-umbra-side";
/// A judged request itself.
pub const PRIMARY: &str = "primary";
/// A copy of one.
pub const COPY: &str = "copy";
/// When a request began.
pub const START: &str = "request.time";
/// The route that it took.
pub const ROUTE: &str = "xds.route_name";
/// Where it went.
pub const CLUSTER: &str = "xds.cluster_name";

/// How long Envoy keeps a stream that the judge does not end. A judge ends it with the answer that it is of.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(1);

/// The filter, wherever it stands.
pub(crate) const NAME: &str = "envoy.filters.http.ext_proc";

/// In a cluster for copies: the only filters that ever stand there, since one that answers by itself ends Envoy. This one cannot.
pub(crate) fn copy_filters() -> Vec<Api> {
    let filter = |name: &str, config| Api {
        name: name.to_owned(),
        config_type: Some(ConfigType::TypedConfig(config)),
        ..Default::default()
    };
    vec![
        filter(NAME, pack_any(&processor(COPY))),
        filter("envoy.filters.http.upstream_codec", pack_any(&UpstreamCodec {})),
    ]
}

/// It, on one side.
pub(crate) fn processor(side: &str) -> ExternalProcessor {
    let grpc = EnvoyGrpc { cluster_name: CONTENTS_CLUSTER.to_owned(), ..Default::default() };
    let side = HeaderValue { key: SIDE.to_owned(), value: side.to_owned(), ..Default::default() };
    let names = |all: &[&str]| all.iter().map(|name| (*name).to_owned()).collect();
    let mode = ProcessingMode {
        request_header_mode: HeaderSendMode::Send.into(),
        response_header_mode: HeaderSendMode::Send.into(),
        request_body_mode: BodySendMode::None.into(),
        response_body_mode: BodySendMode::Streamed.into(),
        request_trailer_mode: HeaderSendMode::Skip.into(),
        response_trailer_mode: HeaderSendMode::Send.into(),
    };
    ExternalProcessor {
        grpc_service: Some(GrpcService {
            target_specifier: Some(TargetSpecifier::EnvoyGrpc(grpc)),
            initial_metadata: vec![side],
            ..Default::default()
        }),
        failure_mode_allow: true,
        processing_mode: Some(mode),
        request_attributes: names(&[START, ROUTE]),
        response_attributes: names(&[CLUSTER]),
        // Nothing else of what callers and services say leaves the proxy.
        forward_rules: Some(HeaderForwardingRules {
            allowed_headers: Some(ListStringMatcher {
                patterns: [
                    ":status",
                    "content-encoding",
                    "content-type",
                    "grpc-status",
                    "x-request-id",
                    SHADOW,
                    SHADOW_OF,
                ]
                .map(exactly)
                .into(),
            }),
            ..Default::default()
        }),
        disable_immediate_response: true,
        observability_mode: true,
        deferred_close_timeout: Some(duration(PATIENCE)),
        ..Default::default()
    }
}

fn exactly(name: &str) -> StringMatcher {
    StringMatcher { match_pattern: Some(MatchPattern::Exact(name.to_owned())), ..Default::default() }
}

/// The rule that a route for judged requests is of, by its name.
pub fn judged_rule(route: &str) -> Option<&str> {
    route.strip_suffix(JUDGED)
}
