//! Rules and matches that no request reaches, because earlier ones take everything that they would
//! (istio `analyzeUnreachableHTTPRules`, IST0130 and IST0131).

use super::Report;
use umbra_ir::Code;

use crate::check::matching::check_match;
use crate::check::rule::check_rule;
use crate::types::http_route::{HttpMatch, HttpRoute, StringMatch};

/// Earlier matches that a match is compared with: bounds the work on a hostile list.
const MAX_COMPARED: usize = 200;

pub(super) fn validate(report: &mut Report, rules: &[HttpRoute]) {
    let mut everything: Option<usize> = None;
    let mut earlier: Vec<(String, &HttpMatch)> = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        let path = format!("spec.http[{index}]");
        if let Some(taker) = everything {
            let message = format!("never reached: spec.http[{taker}] has no match and takes every request");
            report.add(Code::UnreachableRule, path, message);
            continue;
        }
        // A rule that is left out takes nothing from others, and how much one takes that delegates is not known here.
        if !check_rule(rule).is_empty() || rule.delegate.is_some() {
            continue;
        }
        if rule.matches.is_empty() {
            everything = Some(index);
            continue;
        }
        let mut own = Vec::new();
        let mut dead = 0;
        for (number, condition) in rule.matches.iter().enumerate() {
            let field = format!("{path}.match[{number}]");
            match earlier.iter().find(|(_, other)| covers(other, condition)) {
                Some((taker, _)) => {
                    dead += 1;
                    let message = format!("never decides: {taker} takes every request that it would");
                    own.push((field.clone(), message));
                }
                // A match that is left out takes nothing from others.
                None if earlier.len() < MAX_COMPARED && check_match(condition).is_empty() => {
                    earlier.push((field.clone(), condition));
                }
                None => {}
            }
        }
        if dead == rule.matches.len() {
            let message = "never reached: earlier matches take every request that it would".to_owned();
            report.add(Code::UnreachableRule, path, message);
        } else {
            for (field, message) in own {
                report.add(Code::IneffectiveMatch, field, message);
            }
        }
    }
}

/// Whether every request that `b` matches is matched by `a`: `a` asks nothing but what `b` asks too, and its
/// path is as wide.
fn covers(a: &HttpMatch, b: &HttpMatch) -> bool {
    let asks = |a: &Option<StringMatch>, b: &Option<StringMatch>| a.is_none() || a == b;
    let sources = a.gateways == b.gateways
        && (a.source_labels.is_empty() || a.source_labels == b.source_labels)
        && (a.source_namespace.is_empty() || a.source_namespace == b.source_namespace)
        && (a.port == 0 || a.port == b.port);
    sources
        && asks(&a.scheme, &b.scheme)
        && asks(&a.method, &b.method)
        && asks(&a.authority, &b.authority)
        && a.headers.iter().all(|(name, value)| b.headers.get(name) == Some(value))
        && a.without_headers.iter().all(|(name, value)| b.without_headers.get(name) == Some(value))
        && a.query_params.iter().all(|(name, value)| b.query_params.get(name) == Some(value))
        && path_covers(a, b)
}

fn path_covers(a: &HttpMatch, b: &HttpMatch) -> bool {
    let fold = |text: &str| if a.ignore_uri_case { text.to_lowercase() } else { text.to_owned() };
    // Without regard to case b takes more than a case-sensitive a does.
    let narrower = a.ignore_uri_case || !b.ignore_uri_case;
    match (&a.uri, &b.uri) {
        (None | Some(StringMatch::Present), _) => true,
        (Some(StringMatch::Prefix(prefix)), _) if prefix == "/" || prefix.is_empty() => true,
        (Some(StringMatch::Prefix(prefix)), Some(StringMatch::Prefix(text) | StringMatch::Exact(text))) => {
            narrower && fold(text).starts_with(&fold(prefix))
        }
        (Some(StringMatch::Exact(one)), Some(StringMatch::Exact(other))) => {
            narrower && fold(one) == fold(other)
        }
        (Some(StringMatch::Regex(one)), Some(StringMatch::Regex(other))) => one == other,
        _ => false,
    }
}
