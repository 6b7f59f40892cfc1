//! What Envoy answers itself: redirects and written answers.

use umbra_proto::envoy::config::core::v3::data_source::Specifier;
use umbra_proto::envoy::config::route::v3::{
    DirectResponseAction, RedirectAction, RouteMatch,
    redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier},
};

use crate::explanation::Outcome;
use crate::forward::with_prefix;
use crate::path;
use crate::request::{Seen, port_start};

/// What a redirect answers.
pub(crate) fn redirect(matched: Option<&RouteMatch>, action: &RedirectAction, request: &Seen) -> Outcome {
    let scheme = match &action.scheme_rewrite_specifier {
        Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) => scheme.clone(),
        Some(SchemeRewriteSpecifier::HttpsRedirect(true)) => "https".to_owned(),
        _ => request.scheme.clone(),
    };
    let port = if action.port_redirect > 0 { format!(":{}", action.port_redirect) } else { String::new() };
    let host = match action.host_redirect.as_str() {
        "" => own_host(request, &scheme, !port.is_empty()),
        host => host.to_owned(),
    };
    let path = match &action.path_rewrite_specifier {
        Some(PathRewriteSpecifier::PathRedirect(path)) if path.contains('?') => path.clone(),
        Some(PathRewriteSpecifier::PathRedirect(path)) if !path.is_empty() => {
            format!("{path}{}", path::query(&request.path))
        }
        Some(PathRewriteSpecifier::PrefixRewrite(prefix)) => with_prefix(matched, prefix, &request.path),
        _ => request.path.clone(),
    };
    let status = match action.response_code() {
        RedirectResponseCode::MovedPermanently => 301,
        RedirectResponseCode::Found => 302,
        RedirectResponseCode::SeeOther => 303,
        RedirectResponseCode::TemporaryRedirect => 307,
        RedirectResponseCode::PermanentRedirect => 308,
    };
    let slash = if path.starts_with('/') { "" } else { "/" };
    Outcome::Redirect { status, location: format!("{scheme}://{host}{port}{slash}{path}") }
}

/// The request's host; without its port where another one is written, or where it is that of the scheme it came by.
fn own_host(request: &Seen, scheme: &str, other_port: bool) -> String {
    let authority = &request.authority;
    let Some(at) = port_start(authority) else { return authority.clone() };
    let usual = match request.forwarded.as_str() {
        "https" => Some(":443"),
        "http" => Some(":80"),
        _ => None,
    };
    let drop = other_port || (scheme != request.forwarded && Some(&authority[at..]) == usual);
    if drop { authority[..at].to_owned() } else { authority.clone() }
}

/// The redirect of a virtual host that only https may call.
pub(crate) fn to_https(request: &Seen) -> Outcome {
    Outcome::Redirect { status: 301, location: format!("https://{}{}", request.authority, request.path) }
}

/// What a written answer says.
pub(crate) fn direct(action: &DirectResponseAction) -> Outcome {
    let body = match action.body.as_ref().and_then(|body| body.specifier.as_ref()) {
        Some(Specifier::InlineString(text)) => text.clone(),
        Some(Specifier::InlineBytes(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    };
    Outcome::Answer { status: u16::try_from(action.status).unwrap_or_default(), body }
}
