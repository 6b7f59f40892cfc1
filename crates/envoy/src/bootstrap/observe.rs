//! What a proxy tells umbra: counters and times of copies, of the routes that they are copied from, and of the clusters that
//! requests go to, every five seconds, and nothing else of its statistics.
//!
//! Envoy keeps these numbers anyway, and goes through all of them this often whether somebody wants them or not.

use umbra_proto::envoy::config::core::v3::{
    GrpcService,
    grpc_service::{EnvoyGrpc, TargetSpecifier},
};
use umbra_proto::envoy::config::metrics::v3::{StatsSink, stats_sink};
use umbra_proto::envoy::extensions::matching::common_inputs::stats::v3::StatFullNameMatchInput;
use umbra_proto::envoy::extensions::stat_sinks::open_telemetry::v3::{
    SinkConfig,
    sink_config::{DropAction, ProtocolSpecifier},
};
use umbra_proto::google::protobuf::{Any, BoolValue};
use umbra_proto::pack_any;
use umbra_proto::xds::core::v3::TypedExtensionConfig;
use umbra_proto::xds::r#type::matcher::v3::{
    Matcher, RegexMatcher, StringMatcher,
    matcher::{
        MatcherList, MatcherType, OnMatch,
        matcher_list::{
            FieldMatcher, Predicate,
            predicate::{MatchType, SinglePredicate, single_predicate},
        },
        on_match,
    },
    regex_matcher::{EngineType, GoogleRe2},
    string_matcher::MatchPattern,
};

use super::XDS_CLUSTER;

/// Statistics in one message: about a megabyte at most.
const MESSAGE: u32 = 2000;

/// What is sent of a `mirror|…` cluster: attempts, answers by class, what was lost and why, time. `docs/metrics.md` says what each
/// means.
const COPIES: &str = r"upstream_rq_(total|completed|[1-5]xx|[1-5]\d\d|time|pending_overflow|pending_failure_eject|max_duration_reached|rx_reset)|upstream_cx_(none_healthy|destroy_remote_with_active_rq)";

/// What is sent of a route whose requests are copied: its rule's name has three parts.
const PRIMARIES: &str = "upstream_rq_(completed|[1-5]xx|time)";

/// What is sent of an `outbound|…` cluster: answers by code, those that Envoy itself gave among them, and time.
const REQUESTS: &str = r"upstream_rq_([1-5]\d\d|time)";

/// The names that are sent.
fn wanted() -> String {
    format!(
        r"cluster\.mirror\|.*\.({COPIES})|cluster\.outbound\|.*\.{REQUESTS}|vhost\..*\.route\.[^/]+/[^/]+/[^/]+\.({PRIMARIES})"
    )
}

/// Envoy counts answers twice, by where the call came from too, and those after which it tries again apart. A host outside the cluster may end in `.internal` itself: of
/// those umbra knows them apart.
const DOUBLES: &str =
    r"cluster\.(mirror|outbound)\|.*\.svc\.cluster\.local\.(internal|external|retry|canary|zone)\..*";

/// The sink.
pub(super) fn sink() -> StatsSink {
    let umbra = EnvoyGrpc { cluster_name: XDS_CLUSTER.to_owned(), ..Default::default() };
    let umbra =
        GrpcService { target_specifier: Some(TargetSpecifier::EnvoyGrpc(umbra)), ..Default::default() };
    let no = Some(BoolValue { value: false });
    let wanted = Predicate { match_type: Some(matches(wanted())) };
    let others = MatchType::NotMatcher(Box::new(wanted));
    let list = MatcherList { matchers: vec![dropped(others), dropped(matches(DOUBLES.to_owned()))] };
    let config = SinkConfig {
        protocol_specifier: Some(ProtocolSpecifier::GrpcService(umbra)),
        report_counters_as_deltas: true,
        report_histograms_as_deltas: true,
        // Whole names: those of clusters and rules must come through as they are.
        emit_tags_as_attributes: no,
        use_tag_extracted_name: no,
        custom_metric_conversions: Some(Matcher {
            matcher_type: Some(MatcherType::MatcherList(list)),
            on_no_match: None,
        }),
        max_data_points_per_request: MESSAGE,
        ..Default::default()
    };
    StatsSink {
        name: "envoy.stat_sinks.open_telemetry".to_owned(),
        config_type: Some(stats_sink::ConfigType::TypedConfig(pack_any(&config))),
    }
}

/// What is not sent.
fn dropped(match_type: MatchType) -> FieldMatcher {
    FieldMatcher {
        predicate: Some(Predicate { match_type: Some(match_type) }),
        on_match: Some(OnMatch {
            on_match: Some(on_match::OnMatch::Action(extension("drop", pack_any(&DropAction {})))),
            ..Default::default()
        }),
    }
}

/// Whole names that match.
fn matches(regex: String) -> MatchType {
    let regex = RegexMatcher { engine_type: Some(EngineType::GoogleRe2(GoogleRe2 {})), regex };
    let text = StringMatcher { match_pattern: Some(MatchPattern::SafeRegex(regex)), ..Default::default() };
    MatchType::SinglePredicate(SinglePredicate {
        input: Some(extension("name", pack_any(&StatFullNameMatchInput {}))),
        matcher: Some(single_predicate::Matcher::ValueMatch(text)),
    })
}

fn extension(name: &str, config: Any) -> TypedExtensionConfig {
    TypedExtensionConfig { name: name.to_owned(), typed_config: Some(config) }
}
