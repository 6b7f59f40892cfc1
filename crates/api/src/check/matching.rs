//! Conditions of a rule. A condition that cannot be served takes its match with it (else the match would
//! widen), and a rule whose matches are all gone is not served (else it would take everything).

use super::Problem;
use super::headers::{check_match_name, check_value_match};
use super::regex::check_regex;
use umbra_ir::Code;

use crate::read::path::join;
use crate::types::http_route::{HttpMatch, StringMatch};

/// The longest name of a query parameter (Envoy `QueryParameterMatcher`), in bytes.
const MAX_PARAMETER_BYTES: usize = 1024;

/// Everything for which a match cannot be served, with the field's path inside the match.
pub fn check_match(condition: &HttpMatch) -> Vec<(String, Problem)> {
    let mut found = Vec::new();
    let mut note = |field: String, verdict: Result<(), Problem>| {
        if let Err(problem) = verdict {
            found.push((field, problem));
        }
    };
    if let Some(uri) = &condition.uri {
        note("uri".to_owned(), check_uri(uri));
    }
    for (field, value) in
        [("scheme", &condition.scheme), ("method", &condition.method), ("authority", &condition.authority)]
    {
        if let Some(value) = value {
            note(field.to_owned(), check_value_match(value));
        }
    }
    for (field, headers) in [("headers", &condition.headers), ("withoutHeaders", &condition.without_headers)]
    {
        for (name, value) in headers {
            note(join(field, name), check_match_name(name).and_then(|()| check_value_match(value)));
        }
    }
    for (name, value) in &condition.query_params {
        let verdict = if name.is_empty() || name.len() > MAX_PARAMETER_BYTES {
            Err(Problem::new(Code::InvalidMatch, "no name for a query parameter"))
        } else {
            check_value_match(value)
        };
        note(join("queryParams", name), verdict);
    }
    if condition.port > 65_535 {
        note("port".to_owned(), Err(super::bad_port(condition.port)));
    }
    found
}

/// A condition on the path. An empty prefix is every path; `{}` is, too.
fn check_uri(condition: &StringMatch) -> Result<(), Problem> {
    match condition {
        StringMatch::Regex(pattern) => check_regex(pattern).map(drop),
        StringMatch::Present | StringMatch::Exact(_) | StringMatch::Prefix(_) => Ok(()),
    }
}
