//! Ejection of endpoints that fail.

use umbra_ir::OutlierDetection;
use umbra_proto::envoy::config::cluster::v3 as api;
use umbra_proto::envoy::config::common::matcher::v3::{
    HttpHeadersMatch, MatchPredicate,
    match_predicate::{MatchSet, Rule},
};
use umbra_proto::envoy::config::route::v3::{HeaderMatcher, header_matcher::HeaderMatchSpecifier};
use umbra_proto::envoy::extensions::upstreams::http::v3::http_protocol_options;
use umbra_proto::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};

use crate::convert::{positive_duration, uint32};

/// As Istio does: ejection by failures in a row alone, never by the rate of success.
pub(crate) fn outlier_detection(outliers: &OutlierDetection) -> api::OutlierDetection {
    let enforced = |errors: Option<u32>| errors.map(|n| uint32(if n == 0 { 0 } else { 100 }));
    let local = outliers.consecutive_local_origin.filter(|_| outliers.split_local_origin);
    api::OutlierDetection {
        consecutive_5xx: outliers.consecutive_5xx.map(uint32),
        enforcing_consecutive_5xx: enforced(outliers.consecutive_5xx),
        consecutive_gateway_failure: outliers.consecutive_gateway.map(uint32),
        enforcing_consecutive_gateway_failure: enforced(outliers.consecutive_gateway),
        split_external_local_origin_errors: outliers.split_local_origin,
        consecutive_local_origin_failure: local.map(uint32),
        enforcing_consecutive_local_origin_failure: enforced(local),
        enforcing_local_origin_success_rate: outliers.split_local_origin.then(|| uint32(0)),
        enforcing_success_rate: Some(uint32(0)),
        interval: outliers.interval.map(positive_duration),
        base_ejection_time: outliers.base_ejection_time.map(positive_duration),
        max_ejection_percent: outliers.max_ejection_percent.map(uint32),
        ..Default::default()
    }
}

/// Which responses count as errors, where that is not every 5xx.
pub(crate) fn error_matcher(outliers: &OutlierDetection) -> Option<http_protocol_options::OutlierDetection> {
    let mut rules: Vec<MatchPredicate> = outliers.error_codes.iter().map(|code| status(*code)).collect();
    // Envoy takes no set of fewer than two.
    let matcher = match rules.len() {
        0 => return None,
        1 => rules.remove(0),
        _ => MatchPredicate { rule: Some(Rule::OrMatch(MatchSet { rules })) },
    };
    Some(http_protocol_options::OutlierDetection { error_matcher: Some(matcher) })
}

fn status(code: u32) -> MatchPredicate {
    let matcher =
        StringMatcher { match_pattern: Some(MatchPattern::Exact(code.to_string())), ..Default::default() };
    let header = HeaderMatcher {
        name: ":status".to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(matcher)),
        ..Default::default()
    };
    let headers = HttpHeadersMatch { headers: vec![header] };
    MatchPredicate { rule: Some(Rule::HttpResponseHeadersMatch(headers)) }
}
