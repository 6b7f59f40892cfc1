//! Whether a route takes a request (`envoy.config.route.v3.RouteMatch`), and what it asks for, in words.

use umbra_proto::envoy::config::route::v3::{
    HeaderMatcher, QueryParameterMatcher, RouteMatch, header_matcher::HeaderMatchSpecifier,
    query_parameter_matcher::QueryParameterMatchSpecifier, route_match::PathSpecifier,
};
use umbra_proto::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};

use crate::path;
use crate::request::Seen;
use crate::text::{Verdict, judge, judge_regex};

/// Why a route does not take a request.
pub(crate) enum Lost {
    /// For this reason.
    For(String),
    /// Nobody here can tell whether it does.
    Unknown(String),
}

/// Judges all conditions of a route but what part of requests it takes; the first that fails counts.
pub(crate) fn take(route: &RouteMatch, request: &Seen) -> Result<(), Lost> {
    if route.grpc.is_some() || route.tls_context.is_some() {
        return Err(Lost::Unknown("it has a condition of a kind that is not known here".to_owned()));
    }
    take_path(route, request)?;
    route.headers.iter().try_for_each(|header| take_header(header, request))?;
    route.query_parameters.iter().try_for_each(|parameter| take_parameter(parameter, request))
}

fn take_path(route: &RouteMatch, request: &Seen) -> Result<(), Lost> {
    let matcher = |pattern| StringMatcher {
        match_pattern: Some(pattern),
        ignore_case: route.case_sensitive.is_some_and(|it| !it.value),
    };
    let path = path::without_query(&request.path);
    let verdict = match &route.path_specifier {
        Some(PathSpecifier::Prefix(prefix)) => judge(&matcher(MatchPattern::Prefix(prefix.clone())), path),
        Some(PathSpecifier::Path(exact)) => judge(&matcher(MatchPattern::Exact(exact.clone())), path),
        // Whatever is said of its case.
        Some(PathSpecifier::SafeRegex(regex)) => judge_regex(&regex.regex, path),
        _ => Verdict::Unknown("is asked for in a way that is not known here".to_owned()),
    };
    settle("the path", verdict)
}

fn settle(subject: &str, verdict: Verdict) -> Result<(), Lost> {
    match verdict {
        Verdict::Meets => Ok(()),
        Verdict::Fails(why) => Err(Lost::For(format!("{subject} {why}"))),
        Verdict::Unknown(why) => Err(Lost::Unknown(format!("{subject} {why}"))),
    }
}

/// Of several values one that meets the condition is enough (Envoy since 1.39; before, it looked at all of them joined).
fn take_header(header: &HeaderMatcher, request: &Seen) -> Result<(), Lost> {
    let name = header.name.to_ascii_lowercase();
    let mut values = request.values(&name);
    let subject = subject(&name);
    let lost = |why: &str| Err(Lost::For(format!("{subject} {why}")));
    let present = |wanted: bool, there: bool| match (there == wanted) != header.invert_match {
        true => Ok(()),
        false if there => lost("is there"),
        false => lost("is missing"),
    };
    let matcher = match &header.header_match_specifier {
        Some(HeaderMatchSpecifier::StringMatch(matcher)) => matcher,
        Some(HeaderMatchSpecifier::PresentMatch(wanted)) => return present(*wanted, !values.is_empty()),
        None => return present(true, !values.is_empty()),
        _ => {
            return Err(Lost::Unknown(format!("{subject} has a condition of a kind that is not known here")));
        }
    };
    if values.is_empty() {
        if !header.treat_missing_header_as_empty {
            return lost("is missing");
        }
        values.push(String::new());
    }
    let mut verdicts: Vec<Verdict> = values.iter().map(|value| judge(matcher, value)).collect();
    let met = verdicts.iter().any(|verdict| matches!(verdict, Verdict::Meets));
    let unknown = verdicts.iter().position(|verdict| matches!(verdict, Verdict::Unknown(_)));
    match (met, header.invert_match) {
        (true, true) => lost("has a value that is excluded"),
        (true, false) => Ok(()),
        (false, true) if unknown.is_none() => Ok(()),
        _ => settle(&subject, verdicts.swap_remove(unknown.unwrap_or(0))),
    }
}

fn subject(name: &str) -> String {
    match name {
        ":method" => "the method".to_owned(),
        ":authority" => "the host".to_owned(),
        ":scheme" => "the scheme".to_owned(),
        name => format!("the header {name}"),
    }
}

fn take_parameter(parameter: &QueryParameterMatcher, request: &Seen) -> Result<(), Lost> {
    let value = path::parameter(&request.path, &parameter.name);
    let subject = format!("the query parameter {}", parameter.name);
    match (&parameter.query_parameter_match_specifier, value) {
        (Some(QueryParameterMatchSpecifier::StringMatch(matcher)), Some(value)) => {
            settle(&subject, judge(matcher, value))
        }
        (Some(QueryParameterMatchSpecifier::PresentMatch(false)), None) | (_, Some(_)) => Ok(()),
        (_, None) => Err(Lost::For(format!("{subject} is missing"))),
    }
}

/// What a route asks for, in words: `path /a*, header x-a = v`.
pub(crate) fn words(route: &RouteMatch) -> String {
    let case = if route.case_sensitive.is_some_and(|it| !it.value) { " in any case" } else { "" };
    let mut all = vec![match &route.path_specifier {
        Some(PathSpecifier::Prefix(prefix)) => format!("path {prefix}*{case}"),
        Some(PathSpecifier::Path(exact)) => format!("path {exact}{case}"),
        Some(PathSpecifier::SafeRegex(regex)) => format!("path ~ {}", regex.regex),
        _ => "some path".to_owned(),
    }];
    all.extend(route.runtime_fraction.as_ref().map(|part| format!("a part ({})", part.runtime_key)));
    all.extend(route.headers.iter().map(|header| {
        let not = if header.invert_match { "not " } else { "" };
        let condition = match &header.header_match_specifier {
            Some(HeaderMatchSpecifier::StringMatch(matcher)) => condition(matcher),
            Some(HeaderMatchSpecifier::PresentMatch(false)) => " missing".to_owned(),
            _ => " there".to_owned(),
        };
        match header.name.strip_prefix(':') {
            Some(pseudo) => format!("{not}{pseudo}{condition}"),
            None => format!("{not}header {}{condition}", header.name),
        }
    }));
    all.extend(route.query_parameters.iter().map(|parameter| {
        let condition = match &parameter.query_parameter_match_specifier {
            Some(QueryParameterMatchSpecifier::StringMatch(matcher)) => condition(matcher),
            _ => " there".to_owned(),
        };
        format!("query {}{condition}", parameter.name)
    }));
    all.join(", ")
}

fn condition(matcher: &StringMatcher) -> String {
    match &matcher.match_pattern {
        Some(MatchPattern::Exact(text)) => format!(" = {text}"),
        Some(MatchPattern::Prefix(text)) => format!(" = {text}*"),
        Some(MatchPattern::Suffix(text)) => format!(" = *{text}"),
        Some(MatchPattern::Contains(text)) => format!(" = *{text}*"),
        Some(MatchPattern::SafeRegex(regex)) => format!(" ~ {}", regex.regex),
        _ => " of some kind".to_owned(),
    }
}
