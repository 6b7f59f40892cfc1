//! Listeners: one HTTP connection manager each, routes by RDS.

use std::time::Duration;

use umbra_ir::{Listener, PathNormalization, ProxyKind, Settings};
use umbra_proto::envoy::config::core::v3::{Http1ProtocolOptions, TrafficDirection};
use umbra_proto::envoy::config::listener::v3::{self as api, Filter, FilterChain, filter};
use umbra_proto::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, Rds,
    http_connection_manager::{CodecType, PathWithEscapedSlashesAction, RouteSpecifier, UpgradeConfig},
};
use umbra_proto::pack_any;

use crate::Built;
use crate::access_log::{Traffic, access_logs, log_requirement};
use crate::convert::{ads, boolean, duration, endpoint_address};
use crate::http_filters::http_filters;
use crate::judged::primary_log;
use crate::names::listener_name;

/// One listener (`envoy.config.listener.v3.Listener`), with access logs and paths as the settings say.
///
/// It accepts HTTP/1.1, HTTP/2 and, where asked, HTTP/1.0, without TLS.
pub fn build_listener(listener: &Listener, settings: &Settings) -> Built {
    let name = listener_name(listener);
    let manager = connection_manager(listener, &name, settings);
    let filter = Filter {
        name: "envoy.filters.network.http_connection_manager".to_owned(),
        config_type: Some(filter::ConfigType::TypedConfig(pack_any(&manager))),
    };
    let message = api::Listener {
        name: name.to_string(),
        address: Some(endpoint_address(&listener.address.to_string(), listener.port.get())),
        filter_chains: vec![FilterChain { filters: vec![filter], ..Default::default() }],
        traffic_direction: TrafficDirection::Outbound.into(),
        ..Default::default()
    };
    Built::new(name, &message, log_requirement(settings).into_iter().collect())
}

/// HTTP by the routes of a listener, which counts it under `name`.
pub(crate) fn connection_manager(
    listener: &Listener,
    name: &str,
    settings: &Settings,
) -> HttpConnectionManager {
    let paths = settings.path_normalization;
    // The host of requests in HTTP/1.0 that name none, if such are served.
    let old_host = settings.http10.as_ref().map(|http10| &*http10.default_host);
    let old_host = old_host.or(listener.http10.then_some(""));
    let routes = Rds {
        config_source: Some(ads(Duration::ZERO)),
        route_config_name: listener.route_config.to_string(),
    };
    HttpConnectionManager {
        codec_type: CodecType::Auto.into(),
        stat_prefix: format!("outbound_{name}"),
        route_specifier: Some(RouteSpecifier::Rds(routes)),
        http_filters: http_filters(listener, settings),
        // A gateway is the edge: what callers say of where they come from is not believed.
        use_remote_address: Some(boolean(listener.kind == ProxyKind::Router)),
        // But for so many proxies: with one that ends TLS before it, a gateway that redirects to https would redirect for ever.
        xff_num_trusted_hops: listener.trusted_proxies,
        normalize_path: Some(boolean(paths != PathNormalization::None)),
        merge_slashes: matches!(
            paths,
            PathNormalization::MergeSlashes | PathNormalization::DecodeAndMergeSlashes
        ),
        path_with_escaped_slashes_action: escaped_slashes(paths).into(),
        http_protocol_options: old_host.map(|host| Http1ProtocolOptions {
            accept_http_10: true,
            default_host_for_http_10: host.to_owned(),
            ..Default::default()
        }),
        // Streams may be idle for as long as both ends like.
        stream_idle_timeout: Some(duration(Duration::ZERO)),
        upgrade_configs: vec![UpgradeConfig { upgrade_type: "websocket".to_owned(), ..Default::default() }],
        access_log: access_logs(settings, Traffic::Http)
            .into_iter()
            .chain(listener.judges.any().then(primary_log))
            .collect(),
        ..Default::default()
    }
}

fn escaped_slashes(paths: PathNormalization) -> PathWithEscapedSlashesAction {
    match paths {
        PathNormalization::DecodeAndMergeSlashes => PathWithEscapedSlashesAction::UnescapeAndForward,
        PathNormalization::None | PathNormalization::Base | PathNormalization::MergeSlashes => {
            PathWithEscapedSlashesAction::ImplementationSpecificDefault
        }
    }
}
