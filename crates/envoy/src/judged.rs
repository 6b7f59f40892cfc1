//! What a proxy tells umbra of judged requests: a line of each and of each of its copies, and of nothing else (docs/verdicts.md).
//!
//! All of this stands in a listener from its start and says no: a log that changes replaces the filter chain, and its connections are
//! drained. What is switched is in the runtime and in routes.

use umbra_ir::{JUDGE_ON, RuntimeKey, SHADOW, SHADOW_OF};
use umbra_proto::envoy::config::accesslog::v3::{
    AccessLog, AccessLogFilter, AndFilter, ExtensionFilter, HeaderFilter, MetadataFilter, RuntimeFilter,
    access_log, access_log_filter::FilterSpecifier, extension_filter,
};
use umbra_proto::envoy::config::common::mutation_rules::v3::{HeaderMutation, header_mutation};
use umbra_proto::envoy::config::core::v3::{
    ApiVersion, GrpcService, HeaderValue, HeaderValueOption, RuntimeFractionalPercent,
    grpc_service::{EnvoyGrpc, TargetSpecifier},
    header_value_option::HeaderAppendAction,
};
use umbra_proto::envoy::config::route::v3::{HeaderMatcher, header_matcher::HeaderMatchSpecifier};
use umbra_proto::envoy::extensions::access_loggers::filters::cel::v3::ExpressionFilter;
use umbra_proto::envoy::extensions::access_loggers::grpc::v3::{
    CommonGrpcAccessLogConfig, HttpGrpcAccessLogConfig,
};
use umbra_proto::envoy::r#type::matcher::v3::{
    MetadataMatcher, ValueMatcher,
    metadata_matcher::{PathSegment, path_segment},
    value_matcher::MatchPattern,
};
use umbra_proto::envoy::r#type::v3::{FractionalPercent, fractional_percent::DenominatorType};
use umbra_proto::pack_any;

use crate::convert::{boolean, duration, uint32};

/// The static cluster of a bootstrap by which lines reach umbra.
pub const JUDGE_CLUSTER: &str = "umbra-als";
/// What these lines are called.
pub const JUDGE_LOG: &str = "umbra-judge";

/// How long Envoy gathers lines, and how many bytes of them at most.
const FLUSH: (std::time::Duration, u32) = (std::time::Duration::from_secs(1), 16 << 10);

/// The dynamic metadata of a request that took a route for judged ones, and its only field.
pub(crate) const JUDGED_METADATA: &str = "umbra";
pub(crate) const JUDGED_FIELD: &str = "judged";

/// Of requests that took a route for judged ones, by the metadata that such a route has a filter set. An expression over the route's
/// name says the same, for several microseconds of every request, judged or not.
pub(crate) fn primary_log() -> AccessLog {
    let field = PathSegment { segment: Some(path_segment::Segment::Key(JUDGED_FIELD.to_owned())) };
    let matcher = MetadataMatcher {
        filter: JUDGED_METADATA.to_owned(),
        path: vec![field],
        value: Some(ValueMatcher { match_pattern: Some(MatchPattern::PresentMatch(true)) }),
        ..Default::default()
    };
    log([FilterSpecifier::MetadataFilter(MetadataFilter {
        matcher: Some(matcher),
        // Unset it would say yes.
        match_if_key_not_found: Some(boolean(false)),
    })])
}

/// Of copies of such requests, by the mark that a client could send too, and by where they go, which it could not. In this place Envoy does not survive an
/// expression that reads `source` or `destination` of a copy.
pub(crate) fn copy_log() -> AccessLog {
    let marked = FilterSpecifier::HeaderFilter(HeaderFilter {
        header: Some(HeaderMatcher {
            name: SHADOW_OF.to_owned(),
            header_match_specifier: Some(HeaderMatchSpecifier::PresentMatch(true)),
            ..Default::default()
        }),
    });
    log([marked, cel("xds.cluster_name.startsWith('mirror|')".to_owned())])
}

/// Both are configured alike, so that one logger sends both on one stream. A filter before all others says no where nothing is
/// judged, and costs nothing.
fn log(filters: impl IntoIterator<Item = FilterSpecifier>) -> AccessLog {
    let on = FilterSpecifier::RuntimeFilter(RuntimeFilter {
        runtime_key: JUDGE_ON.to_owned(),
        percent_sampled: Some(FractionalPercent {
            numerator: 0,
            denominator: DenominatorType::Million.into(),
        }),
        // Sampled by the request's id it would hold for some requests only.
        use_independent_randomness: true,
    });
    let grpc = EnvoyGrpc { cluster_name: JUDGE_CLUSTER.to_owned(), ..Default::default() };
    let common = CommonGrpcAccessLogConfig {
        log_name: JUDGE_LOG.to_owned(),
        grpc_service: Some(GrpcService {
            target_specifier: Some(TargetSpecifier::EnvoyGrpc(grpc)),
            ..Default::default()
        }),
        transport_api_version: ApiVersion::V3.into(),
        buffer_flush_interval: Some(duration(FLUSH.0)),
        buffer_size_bytes: Some(uint32(FLUSH.1)),
        ..Default::default()
    };
    let names = |all: &[&str]| all.iter().map(|name| (*name).to_owned()).collect();
    let config = HttpGrpcAccessLogConfig {
        common_config: Some(common),
        additional_request_headers_to_log: names(&[SHADOW, SHADOW_OF]),
        additional_response_headers_to_log: names(&["content-encoding", "content-type", "grpc-status"]),
        additional_response_trailers_to_log: names(&["grpc-status"]),
    };
    let filters =
        std::iter::once(on).chain(filters).map(|it| AccessLogFilter { filter_specifier: Some(it) }).collect();
    AccessLog {
        name: "envoy.access_loggers.http_grpc".to_owned(),
        filter: Some(AccessLogFilter {
            filter_specifier: Some(FilterSpecifier::AndFilter(AndFilter { filters })),
        }),
        config_type: Some(access_log::ConfigType::TypedConfig(pack_any(&config))),
    }
}

fn cel(expression: String) -> FilterSpecifier {
    FilterSpecifier::ExtensionFilter(ExtensionFilter {
        name: "envoy.access_loggers.extension_filters.cel".to_owned(),
        config_type: Some(extension_filter::ConfigType::TypedConfig(pack_any(&ExpressionFilter {
            expression,
            ..Default::default()
        }))),
    })
}

/// What the copy of a judged request says of itself: whose it is, and of which request.
pub(crate) fn marks(mark: &str) -> Vec<HeaderMutation> {
    let set = |key: &str, value: String| HeaderMutation {
        action: Some(header_mutation::Action::Append(HeaderValueOption {
            header: Some(HeaderValue { key: key.to_owned(), value, ..Default::default() }),
            append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
            ..Default::default()
        })),
    };
    // A percent sign begins one of Envoy's operators.
    vec![set(SHADOW, mark.replace('%', "%%")), set(SHADOW_OF, "%START_TIME(%s.%6f)%".to_owned())]
}

/// The part of requests that a route for judged ones takes: none until the runtime says so.
pub(crate) fn judged_fraction(key: &RuntimeKey) -> RuntimeFractionalPercent {
    RuntimeFractionalPercent {
        default_value: Some(FractionalPercent { numerator: 0, denominator: DenominatorType::Million.into() }),
        runtime_key: key.as_str().to_owned(),
    }
}
