//! What a route matches (`envoy.config.route.v3.RouteMatch`).

use umbra_ir::{HeaderMatch, PathMatch, QueryMatch, RequestMatch, TextMatch};
use umbra_proto::envoy::config::route::v3::{
    HeaderMatcher, QueryParameterMatcher, RouteMatch, header_matcher::HeaderMatchSpecifier,
    query_parameter_matcher::QueryParameterMatchSpecifier, route_match::PathSpecifier,
};
use umbra_proto::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};

use crate::convert::{boolean, regex};

pub(crate) fn route_match(request: &RequestMatch) -> RouteMatch {
    let path = match &request.path {
        PathMatch::Exact(path) => PathSpecifier::Path(path.clone()),
        PathMatch::Prefix(prefix) => PathSpecifier::Prefix(prefix.clone()),
        PathMatch::Regex(pattern) => PathSpecifier::SafeRegex(regex(pattern)),
    };
    RouteMatch {
        path_specifier: Some(path),
        case_sensitive: request.case_sensitive.map(boolean),
        headers: request.headers.iter().map(header).collect(),
        query_parameters: request.query.iter().map(query).collect(),
        ..Default::default()
    }
}

/// A condition on a text; `None` asks only whether it is there.
pub(crate) fn text(value: &TextMatch) -> Option<StringMatcher> {
    let pattern = match value {
        TextMatch::Exact(text) => MatchPattern::Exact(text.clone()),
        TextMatch::Prefix(text) => MatchPattern::Prefix(text.clone()),
        TextMatch::Regex(pattern) => MatchPattern::SafeRegex(regex(pattern)),
        TextMatch::Present => return None,
    };
    Some(StringMatcher { match_pattern: Some(pattern), ..Default::default() })
}

fn header(header: &HeaderMatch) -> HeaderMatcher {
    let value = text(&header.value);
    HeaderMatcher {
        name: header.name.clone(),
        invert_match: header.invert,
        // A header that is not there does not have the unwanted value either.
        treat_missing_header_as_empty: header.invert && value.is_some(),
        header_match_specifier: Some(match value {
            Some(matcher) => HeaderMatchSpecifier::StringMatch(matcher),
            None => HeaderMatchSpecifier::PresentMatch(true),
        }),
    }
}

fn query(query: &QueryMatch) -> QueryParameterMatcher {
    QueryParameterMatcher {
        name: query.name.clone(),
        query_parameter_match_specifier: Some(match text(&query.value) {
            Some(matcher) => QueryParameterMatchSpecifier::StringMatch(matcher),
            None => QueryParameterMatchSpecifier::PresentMatch(true),
        }),
    }
}
