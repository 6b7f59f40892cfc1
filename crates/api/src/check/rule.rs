//! A rule as a whole: what makes it one that cannot be served at all.

use super::fault::{check_fault, is_lock};
use super::headers::{check_text, quote};
use super::matching::check_match;
use super::regex::check_regex;
use super::{Problem, bad_port};
use umbra_ir::{Code, Severity};

use crate::types::http_action::{HttpBody, HttpDirectResponse, HttpRedirect, HttpRewrite};
use crate::types::http_route::HttpRoute;

/// The longest body of a fixed answer: Istio's limit, and the one that every route configuration carries.
pub const MAX_DIRECT_BODY: usize = 1 << 20;

/// What becomes of a rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RuleFate {
    /// It is served.
    Served,
    /// It answers 503: its fault cannot be built, or the rest cannot be served and requests that it would abort must not
    /// pass to the rules behind it.
    Closed,
    /// It is left out, and requests go to the rules behind it.
    LeftOut,
}

/// What becomes of a rule, as [`check_rule`] and [`check_fault`] find it.
pub fn judge_rule(rule: &HttpRoute) -> RuleFate {
    let reachable = rule.matches.is_empty() || rule.matches.iter().any(|m| check_match(m).is_empty());
    let broken = rule.fault.as_ref().is_some_and(|fault| !check_fault(fault).is_empty());
    let served = check_rule(rule).is_empty();
    match &rule.fault {
        // Without a match that can be served it would take requests that it was never for.
        _ if !reachable => RuleFate::LeftOut,
        _ if broken => RuleFate::Closed,
        _ if served => RuleFate::Served,
        Some(fault) if is_lock(fault) => RuleFate::Closed,
        _ => RuleFate::LeftOut,
    }
}

/// Everything for which a rule is left out as a whole, with the field's path inside the rule. Its matches
/// are judged one by one by [`check_match`].
pub fn check_rule(rule: &HttpRoute) -> Vec<(String, Problem)> {
    let mut found = Vec::new();
    let mut note = |field: &str, verdict: Result<(), Problem>| {
        if let Err(problem) = verdict {
            found.push((field.to_owned(), problem));
        }
    };
    if rule.delegate.is_some() {
        // What it does is the delegate's to say, and judged when both are one.
    } else if let Some(redirect) = &rule.redirect {
        check_redirect(redirect, &mut note);
    } else if let Some(direct) = &rule.direct_response {
        check_direct_response(direct, &mut note);
    } else if rule.route.is_empty() {
        let message = "neither route nor redirect nor directResponse: nothing to do with a request";
        note("", Err(Problem::new(Code::NoAction, message)));
    } else {
        let some = rule.route.iter().any(|d| d.weight.unwrap_or(0) > 0);
        if rule.route.len() > 1 && !some {
            let message = "the weights add up to 0: no destination would get anything";
            note("route", Err(Problem::new(Code::NoWeight, message)));
        }
        if let Some(rewrite) = &rule.rewrite {
            check_rewrite(rewrite, &mut note);
        }
    }
    if !rule.matches.is_empty() && rule.matches.iter().all(|m| !check_match(m).is_empty()) {
        let message = "none of the matches can be served";
        note("match", Err(Problem::new(Code::InvalidMatch, message)));
    }
    found
}

fn check_redirect(redirect: &HttpRedirect, note: &mut impl FnMut(&str, Result<(), Problem>)) {
    note("redirect.uri", check_text(&redirect.uri));
    note("redirect.prefixRewrite", check_text(&redirect.prefix_rewrite));
    note("redirect.authority", check_text(&redirect.authority));
    if !matches!(redirect.redirect_code, 0 | 301 | 302 | 303 | 307 | 308) {
        let message = format!("{} is not one of 301, 302, 303, 307, 308", redirect.redirect_code);
        note("redirect.redirectCode", Err(Problem::new(Code::InvalidStatus, message)));
    }
    if !["", "http", "https"].contains(&redirect.scheme.as_str()) {
        let message = format!("{} is neither http nor https", quote(&redirect.scheme));
        note("redirect.scheme", Err(Problem::new(Code::InvalidRedirect, message)));
    }
    if let Some(port) = redirect.port.filter(|p| !(1..=65_535).contains(p)) {
        note("redirect.port", Err(bad_port(port)));
    }
    let empty = [&redirect.uri, &redirect.prefix_rewrite, &redirect.authority, &redirect.scheme];
    if empty.iter().all(|text| text.is_empty()) && redirect.port.is_none() && redirect.derive_port.is_none() {
        let message = "a redirect that changes nothing would send clients in circles";
        note("redirect", Err(Problem::new(Code::InvalidRedirect, message)));
    }
}

fn check_direct_response(direct: &HttpDirectResponse, note: &mut impl FnMut(&str, Result<(), Problem>)) {
    if !(200..600).contains(&direct.status) {
        let message = format!("{} is no status from 200 to 599", direct.status);
        note("directResponse.status", Err(Problem::new(Code::InvalidStatus, message)));
    }
    if let Some(body) = &direct.body
        && body_len(body) > MAX_DIRECT_BODY
    {
        let message = format!("a body of {} bytes; the limit is {MAX_DIRECT_BODY}", body_len(body));
        note(
            "directResponse.body",
            Err(Problem::new(Code::BodyTooLarge, message).with_severity(Severity::Error)),
        );
    }
}

/// The length of the body in bytes; text beats bytes.
pub(crate) fn body_len(body: &HttpBody) -> usize {
    match (&body.string, &body.bytes) {
        (Some(text), _) => text.len(),
        (None, bytes) => bytes.as_ref().map_or(0, |b| b.0.len()),
    }
}

fn check_rewrite(rewrite: &HttpRewrite, note: &mut impl FnMut(&str, Result<(), Problem>)) {
    note("rewrite.uri", check_text(&rewrite.uri));
    note("rewrite.authority", check_text(&rewrite.authority));
    if let Some(regex) = &rewrite.uri_regex_rewrite {
        note("rewrite.uriRegexRewrite.match", check_regex(&regex.pattern).map(drop));
        note("rewrite.uriRegexRewrite.rewrite", check_text(&regex.rewrite));
    }
}
