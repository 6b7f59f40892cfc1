//! Which HTTP a cluster speaks, and how long (`HttpProtocolOptions`).

use std::collections::BTreeMap;

use umbra_ir::{Cluster, Discovery, TlsOrigination, UpstreamProtocol};
use umbra_proto::envoy::config::core::v3 as core;
use umbra_proto::envoy::extensions::upstreams::http::v3::{
    HttpProtocolOptions,
    http_protocol_options::{
        ExplicitHttpConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig,
        explicit_http_config::ProtocolConfig,
    },
};
use umbra_proto::google::protobuf::Any;
use umbra_proto::pack_any;

use crate::balancers::hash_policy;
use crate::contents::copy_filters;
use crate::convert::{duration, positive_duration, uint32};
use crate::outliers::error_matcher;

const EXTENSION: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// `typed_extension_protocol_options`: empty for plain HTTP/1.1, which is Envoy's default.
///
/// No `http_filters` but the one that only looks: one that replies locally to a copy ends Envoy 1.40.
pub(crate) fn protocol_options(cluster: &Cluster, tls: Option<&TlsOrigination>) -> BTreeMap<String, Any> {
    let common = common(cluster);
    let sni = sni(tls, cluster.discovery == Discovery::AsAsked);
    let outliers = cluster.outlier_detection.as_ref().and_then(error_matcher);
    let plain = common.is_none() && sni.is_none() && outliers.is_none() && cluster.hash.is_none();
    let looked_at = cluster.reference.contents;
    if cluster.protocol == UpstreamProtocol::Http1 && plain && !looked_at {
        return BTreeMap::new();
    }
    let options = HttpProtocolOptions {
        common_http_protocol_options: common,
        upstream_http_protocol_options: sni,
        upstream_protocol_options: Some(protocol(cluster)),
        outlier_detection: outliers,
        http_filters: looked_at.then(copy_filters).unwrap_or_default(),
        hash_policy: cluster.hash.iter().map(hash_policy).collect(),
        ..Default::default()
    };
    BTreeMap::from([(EXTENSION.to_owned(), pack_any(&options))])
}

/// The protocol of the client, whatever it is.
pub(crate) fn as_client() -> BTreeMap<String, Any> {
    let options = HttpProtocolOptions { upstream_protocol_options: Some(downstream()), ..Default::default() };
    BTreeMap::from([(EXTENSION.to_owned(), pack_any(&options))])
}

/// HTTP/2 with prior knowledge.
pub(crate) fn http2() -> BTreeMap<String, Any> {
    let http2 = ProtocolConfig::Http2ProtocolOptions(core::Http2ProtocolOptions::default());
    let explicit = ExplicitHttpConfig { protocol_config: Some(http2) };
    let options = HttpProtocolOptions {
        upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(explicit)),
        ..Default::default()
    };
    BTreeMap::from([(EXTENSION.to_owned(), pack_any(&options))])
}

fn downstream() -> UpstreamProtocolOptions {
    UpstreamProtocolOptions::UseDownstreamProtocolConfig(UseDownstreamHttpConfig {
        http_protocol_options: Some(Default::default()),
        http2_protocol_options: Some(Default::default()),
        ..Default::default()
    })
}

fn protocol(cluster: &Cluster) -> UpstreamProtocolOptions {
    let explicit = |protocol| {
        UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig { protocol_config: Some(protocol) })
    };
    match cluster.protocol {
        UpstreamProtocol::Http1 => explicit(ProtocolConfig::HttpProtocolOptions(Default::default())),
        UpstreamProtocol::Http2 => {
            explicit(ProtocolConfig::Http2ProtocolOptions(core::Http2ProtocolOptions {
                max_concurrent_streams: cluster.connection_pool.max_concurrent_streams.map(uint32),
                connection_keepalive: cluster.connection_pool.http2_keepalive.map(|(interval, timeout)| {
                    core::KeepaliveSettings {
                        interval: Some(positive_duration(interval)),
                        timeout: Some(positive_duration(timeout)),
                        ..Default::default()
                    }
                }),
                ..Default::default()
            }))
        }
        UpstreamProtocol::Downstream => downstream(),
    }
}

fn common(cluster: &Cluster) -> Option<core::HttpProtocolOptions> {
    let pool = &cluster.connection_pool;
    let options = core::HttpProtocolOptions {
        idle_timeout: pool.idle_timeout.or(pool.tcp_idle_timeout).map(duration),
        max_connection_duration: pool.max_connection_duration.map(duration),
        max_requests_per_connection: pool.max_requests_per_connection.map(uint32),
        max_stream_duration: cluster.max_stream_duration.map(duration),
        ..Default::default()
    };
    (options != Default::default()).then_some(options)
}

/// Without a fixed SNI it is each request's Host, and without names to verify the certificate must be for it. Whom a Host
/// names has to be that in any case.
fn sni(tls: Option<&TlsOrigination>, as_asked: bool) -> Option<core::UpstreamHttpProtocolOptions> {
    let tls = tls.filter(|tls| tls.sni.is_empty() || as_asked)?;
    let by_host = as_asked || tls.subject_alt_names.is_empty();
    Some(core::UpstreamHttpProtocolOptions {
        auto_sni: tls.sni.is_empty(),
        auto_san_validation: by_host && !tls.insecure_skip_verify,
        ..Default::default()
    })
}
