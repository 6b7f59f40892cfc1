//! `http[].match[]` to conditions (istio `TranslateRouteMatch`, `sourceMatchHTTP`).

use std::sync::Arc;

use umbra_api::{HttpMatch, HttpRoute, StringMatch};
use umbra_ir::{
    GatewayRef, HeaderMatch, PathMatch, PortNumber, QueryMatch, RequestMatch, RuleMatch, StaticFilter,
    TextMatch,
};

use crate::names::resolve_gateway;

/// The matches that can be served; `None` when some were written and none can: the rule must not become a
/// catch-all.
pub(crate) fn usable_matches(written: &HttpRoute, namespace: &Arc<str>) -> Option<Vec<RuleMatch>> {
    let mut usable: Vec<RuleMatch> =
        written.matches.iter().filter_map(|m| resolve_match(m, namespace)).collect();
    // Mostly one, in room for four.
    usable.shrink_to_fit();
    if usable.is_empty() && !written.matches.is_empty() { None } else { Some(usable) }
}

/// Translates one match of a VirtualService in `namespace`; `None` when it cannot be served (validation has
/// said why): leaving a condition out would widen the match.
fn resolve_match(written: &HttpMatch, namespace: &Arc<str>) -> Option<RuleMatch> {
    if !umbra_api::check_match(written).is_empty() {
        return None;
    }
    Some(RuleMatch {
        name: written.name.as_str().into(),
        filter: resolve_filter(written, namespace)?,
        request: resolve_request(written),
        stat_prefix: written.stat_prefix.as_str().into(),
    })
}

fn resolve_filter(written: &HttpMatch, namespace: &Arc<str>) -> Option<StaticFilter> {
    let port = match written.port {
        0 => None,
        number => Some(PortNumber::new(number.into())?),
    };
    Some(StaticFilter {
        port,
        gateways: written.gateways.iter().map(|g| resolve_gateway(g, namespace)).collect(),
        source_labels: written.source_labels.clone(),
        source_namespace: Some(written.source_namespace.as_str()).filter(|n| !n.is_empty()).map(Arc::from),
    })
}

fn resolve_request(written: &HttpMatch) -> RequestMatch {
    let path = match &written.uri {
        None | Some(StringMatch::Present) => PathMatch::Prefix("/".into()),
        Some(StringMatch::Exact(text)) => PathMatch::Exact(text.clone()),
        Some(StringMatch::Prefix(text)) => PathMatch::Prefix(text.clone()),
        Some(StringMatch::Regex(text)) => PathMatch::Regex(text.clone()),
    };
    let header = |(name, value): (&String, &StringMatch), invert| HeaderMatch {
        name: name.to_ascii_lowercase(),
        value: text_match(value),
        invert,
    };
    let mut headers: Vec<HeaderMatch> = written
        .headers
        .iter()
        .map(|entry| header(entry, false))
        .chain(written.without_headers.iter().map(|entry| header(entry, true)))
        .collect();
    // Positive before inverted where one name has both: the order is ours, but fixed.
    headers.sort_by(|a, b| (&a.name, a.invert).cmp(&(&b.name, b.invert)));
    for (name, value) in
        [(":method", &written.method), (":authority", &written.authority), (":scheme", &written.scheme)]
    {
        if let Some(value) = value {
            headers.push(HeaderMatch { name: name.into(), value: text_match(value), invert: false });
        }
    }
    let query = written.query_params.iter();
    RequestMatch {
        path,
        case_sensitive: Some(!written.ignore_uri_case),
        headers,
        query: query
            .map(|(name, value)| QueryMatch { name: name.clone(), value: text_match(value) })
            .collect(),
    }
}

pub(crate) fn text_match(written: &StringMatch) -> TextMatch {
    match written {
        StringMatch::Present => TextMatch::Present,
        StringMatch::Exact(text) => TextMatch::Exact(text.clone()),
        StringMatch::Prefix(text) => TextMatch::Prefix(text.clone()),
        // A regex of exactly `*` is Istio's old spelling of "present".
        StringMatch::Regex(text) if text == "*" => TextMatch::Present,
        StringMatch::Regex(text) => TextMatch::Regex(text.clone()),
    }
}

/// A canonical text of a rule's matches, to name an unnamed rule by. It must never change between versions
/// of umbra: runtime keys are made of it.
pub(crate) fn fingerprint(matches: &[RuleMatch]) -> String {
    let mut text = String::new();
    let mut part = |tag: &str, value: &str| {
        text.push_str(tag);
        text.push('=');
        text.push_str(&value.len().to_string());
        text.push(':');
        text.push_str(value);
        text.push(';');
    };
    for m in matches {
        part("match", &m.name);
        match &m.request.path {
            PathMatch::Exact(p) => part("exact", p),
            PathMatch::Prefix(p) => part("prefix", p),
            PathMatch::Regex(p) => part("regex", p),
        }
        if m.request.case_sensitive == Some(false) {
            part("case", "ignore");
        }
        for h in &m.request.headers {
            part(if h.invert { "without" } else { "header" }, &h.name);
            text_part(&mut part, &h.value);
        }
        for q in &m.request.query {
            part("query", &q.name);
            text_part(&mut part, &q.value);
        }
        if let Some(port) = m.filter.port {
            part("port", &port.to_string());
        }
        for gateway in &m.filter.gateways {
            match gateway {
                GatewayRef::Mesh => part("gateway", "mesh"),
                GatewayRef::Named(id) => part("gateway", &format!("{}/{}", id.namespace, id.name)),
            }
        }
        for (key, value) in &m.filter.source_labels {
            part("label", key);
            part("value", value);
        }
        if let Some(namespace) = &m.filter.source_namespace {
            part("namespace", namespace);
        }
    }
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(text.as_bytes()))
}

fn text_part(part: &mut impl FnMut(&str, &str), value: &TextMatch) {
    match value {
        TextMatch::Exact(t) => part("exact", t),
        TextMatch::Prefix(t) => part("prefix", t),
        TextMatch::Regex(t) => part("regex", t),
        TextMatch::Present => part("present", ""),
    }
}
