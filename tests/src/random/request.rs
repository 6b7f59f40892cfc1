//! Requests that routes may take, and some that they may not.

use umbra_explain::Request;
use umbra_proto::envoy::config::route::v3::{
    HeaderMatcher, RouteConfiguration, RouteMatch, header_matcher::HeaderMatchSpecifier,
    query_parameter_matcher::QueryParameterMatchSpecifier, route_match::PathSpecifier,
};
use umbra_proto::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};

use super::Tape;

const HOSTS: &[&str] = &[
    "web",
    "api.prod.svc.cluster.local",
    "WEB.default",
    "x.example.com",
    "ext.example.com",
    "nobody",
    "10.96.0.1",
    "[::1]",
    "a.b.c",
];
const PATHS: &[&str] = &[
    "/",
    "/a",
    "/A",
    "/a/",
    "/ab?x=v&y",
    "/a?x-a=v",
    "/x",
    "/abc",
    "/%2F",
    "/a/../x",
    "/./%61",
    "/a%20b",
    "//a",
    "/a\\b",
    "/%zz",
    "/{id}",
    "/a|b^c",
    "/x?/a",
    "/?",
    "/aaa/%2e%2E/b",
    "/'(1)*!$",
];
const METHODS: &[&str] = &["GET", "GET", "POST", "OPTIONS", "PUT", "DELETE", "HEAD"];
const NAMES: &[&str] = &["x-a", "X-B", "x-c", "x-forwarded-proto", "origin", "access-control-request-method"];
const VALUES: &[&str] = &["v", "", "x", "GET", "https", "https://example.com", "http", "a,b", "*"];

/// A request for somebody of this table: mostly one that some route asks for, and mostly with something beside that.
/// `None`: what came out is none that a client can send.
pub fn request(t: &mut Tape<'_>, table: &RouteConfiguration, port: u16) -> Option<Request> {
    let host = table.virtual_hosts.get(t.below(table.virtual_hosts.len().max(1)));
    let domain = host.map(|host| t.pick(&host.domains));
    let mut authority = match domain {
        Some(domain) if !t.one_in(6) => domain.replace('*', t.pick(&["x", "a.b", "ext"])),
        _ => t.pick(HOSTS).to_owned(),
    };
    if t.one_in(4) {
        authority = authority.to_ascii_uppercase();
    }
    if t.one_in(2) {
        authority += t.pick(&[":8000", ":80", ":1"]);
    }
    let (method, path) = (t.pick(METHODS).to_owned(), t.pick(PATHS).to_owned());
    let mut request = Request {
        method,
        tls: false,
        bytes: false,
        authority,
        path,
        headers: Vec::new(),
        port,
        address: None,
    };
    let route = host.and_then(|host| host.routes.get(t.below(host.routes.len().max(1))));
    if let Some(wanted) = route.and_then(|route| route.r#match.as_ref()).filter(|_| !t.one_in(6)) {
        satisfy(t, wanted, &mut request);
    }
    for (name, value) in t.list(2, |t| (t.pick(NAMES), t.pick(VALUES))) {
        request.headers.push((name.to_owned(), value.to_owned()));
    }
    if t.one_in(8) {
        request.method = "OPTIONS".to_owned();
        request.headers.push(("origin".to_owned(), t.pick(VALUES).to_owned()));
        request.headers.push(("access-control-request-method".to_owned(), "GET".to_owned()));
    }
    can_be_sent(&request).then_some(request)
}

fn satisfy(t: &mut Tape<'_>, wanted: &RouteMatch, request: &mut Request) {
    match &wanted.path_specifier {
        Some(PathSpecifier::Path(path)) => request.path.clone_from(path),
        Some(PathSpecifier::Prefix(prefix)) => {
            request.path = format!("{prefix}{}", t.pick(&["", "b", "/b", "?q=1", "/../a"]));
        }
        _ => {}
    }
    if t.one_in(6) {
        request.path = request.path.to_ascii_uppercase();
    }
    for header in &wanted.headers {
        if (!header.invert_match || t.one_in(3)) && !t.one_in(8) {
            satisfy_header(t, header, request);
        }
    }
    for parameter in &wanted.query_parameters {
        let value = match &parameter.query_parameter_match_specifier {
            Some(QueryParameterMatchSpecifier::StringMatch(matcher)) => text(t, matcher),
            _ => t.pick(VALUES).to_owned(),
        };
        let mark = if request.path.contains('?') { '&' } else { '?' };
        request.path += &format!("{mark}{}={value}", parameter.name);
    }
}

fn satisfy_header(t: &mut Tape<'_>, header: &HeaderMatcher, request: &mut Request) {
    let value = match &header.header_match_specifier {
        Some(HeaderMatchSpecifier::StringMatch(matcher)) => text(t, matcher),
        _ => t.pick(VALUES).to_owned(),
    };
    match header.name.as_str() {
        ":method" => request.method = value,
        ":authority" | "host" => request.authority = value,
        ":scheme" => request.headers.push(("x-forwarded-proto".to_owned(), value)),
        ":path" => request.path = value,
        name => request.headers.push((name.to_owned(), value)),
    }
}

fn text(t: &mut Tape<'_>, matcher: &StringMatcher) -> String {
    match &matcher.match_pattern {
        Some(MatchPattern::Exact(text)) => text.clone(),
        Some(MatchPattern::Prefix(text)) => format!("{text}{}", t.pick(&["", "x"])),
        _ => t.pick(&["x", "abc", "/a", "aaa", "12", "", "X"]).to_owned(),
    }
}

/// Whether Envoy's parser takes it: what it refuses has nothing to do with routes.
fn can_be_sent(request: &Request) -> bool {
    let host = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    let name = |name: &str| {
        let token = |c: char| c.is_ascii_alphanumeric() || c == '-';
        // What Envoy itself decides by.
        let own = ["host", "content-length", "connection", "x-probe", "transfer-encoding", "te", "upgrade"];
        !name.is_empty() && name.chars().all(token) && !own.contains(&name.to_ascii_lowercase().as_str())
    };
    let path = |c: char| c.is_ascii_graphic() && c != '#' && c != '"';
    METHODS.contains(&request.method.as_str())
        && !request.authority.is_empty()
        && request.authority.chars().all(host)
        && request.path.starts_with('/')
        && request.path.chars().all(path)
        && request
            .headers
            .iter()
            .all(|(key, value)| name(key) && value.chars().all(|c| c.is_ascii_graphic() || c == ' '))
}
