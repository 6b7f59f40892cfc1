//! Routes (`envoy.config.route.v3.Route`).

use std::collections::BTreeMap;

use umbra_ir::{DirectResponse, ObjectId, Redirect, RedirectPath, RedirectPort, Route, RouteAction};
use umbra_proto::envoy::config::core::v3::{DataSource, Metadata, data_source::Specifier};
use umbra_proto::envoy::config::route::v3::{
    self as api, DirectResponseAction, RedirectAction, RouteMatch,
    redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier},
    route::Action,
};

use crate::convert::{structure, text_value};
use crate::header_ops::to_add;
use crate::http_filters::per_filter_config;
use crate::judged::judged_fraction;
use crate::matching::route_match;
use crate::route_action::route_action;

pub(crate) fn build_route(route: &Route) -> api::Route {
    let headers = &route.headers;
    api::Route {
        name: route.name.clone(),
        r#match: Some(RouteMatch {
            runtime_fraction: route.judged.as_ref().map(judged_fraction),
            ..route_match(&route.request)
        }),
        metadata: route.origin.as_ref().map(origin),
        request_headers_to_add: to_add(&headers.request),
        request_headers_to_remove: headers.request.remove.clone(),
        response_headers_to_add: to_add(&headers.response),
        response_headers_to_remove: headers.response.remove.clone(),
        stat_prefix: route.stat_prefix.to_string(),
        typed_per_filter_config: per_filter_config(route),
        action: Some(match &route.action {
            RouteAction::Forward(forward) => Action::Route(route_action(forward)),
            RouteAction::Redirect(redirect) => Action::Redirect(redirect_action(redirect)),
            RouteAction::Direct(direct) => Action::DirectResponse(direct_response(direct)),
        }),
        ..Default::default()
    }
}

/// Where Istio's tools look for the VirtualService behind a route.
fn origin(object: &ObjectId) -> Metadata {
    let path = format!(
        "/apis/networking.istio.io/v1/namespaces/{}/virtual-service/{}",
        object.namespace, object.name
    );
    let config = structure([("config".to_owned(), text_value(path))]);
    Metadata { filter_metadata: BTreeMap::from([("istio".to_owned(), config)]), ..Default::default() }
}

/// The port is the listener's only in the API: what reaches here is decided.
fn redirect_action(redirect: &Redirect) -> RedirectAction {
    RedirectAction {
        host_redirect: redirect.host.clone(),
        port_redirect: match redirect.port {
            RedirectPort::Number(port) => port.get().into(),
            RedirectPort::Default | RedirectPort::Listener => 0,
        },
        response_code: match redirect.code {
            302 => RedirectResponseCode::Found,
            303 => RedirectResponseCode::SeeOther,
            307 => RedirectResponseCode::TemporaryRedirect,
            308 => RedirectResponseCode::PermanentRedirect,
            _ => RedirectResponseCode::MovedPermanently,
        }
        .into(),
        scheme_rewrite_specifier: (!redirect.scheme.is_empty())
            .then(|| SchemeRewriteSpecifier::SchemeRedirect(redirect.scheme.clone())),
        path_rewrite_specifier: match &redirect.path {
            RedirectPath::Keep => None,
            RedirectPath::Whole(path) => Some(PathRewriteSpecifier::PathRedirect(path.clone())),
            RedirectPath::Prefix(prefix) => Some(PathRewriteSpecifier::PrefixRewrite(prefix.clone())),
        },
        ..Default::default()
    }
}

fn direct_response(direct: &DirectResponse) -> DirectResponseAction {
    let body = direct.body.as_ref().filter(|body| !body.is_empty()).map(|body| {
        let specifier = match std::str::from_utf8(body) {
            Ok(text) => Specifier::InlineString(text.to_owned()),
            Err(_) => Specifier::InlineBytes(body.clone().into()),
        };
        DataSource { specifier: Some(specifier), ..Default::default() }
    });
    DirectResponseAction { status: direct.status.into(), body, ..Default::default() }
}
