use serde_json::{Value, json};
use umbra_envoy::{build_listener, listener_name};
use umbra_ir::{AccessLog, AccessLogFormat, ProxyKind, Settings};
use umbra_proto::type_url;

use crate::json;
use crate::samples::listener;

#[test]
fn names() {
    for (address, want) in [("0.0.0.0", "0.0.0.0_80"), ("127.0.0.1", "127.0.0.1_80"), ("::1", "::1_80")] {
        assert_eq!(&*listener_name(&listener(ProxyKind::Router, address, 80, "http.80")), want);
    }
}

/// An HTTP filter that is configured by routes alone.
fn filter(name: &str, message: &str) -> Value {
    json!({
        "name": format!("envoy.filters.http.{name}"),
        "typedConfig": {"@type": format!("type.googleapis.com/envoy.extensions.filters.http.{message}")},
    })
}

#[test]
fn a_listener_in_full() {
    for (kind, trusts_nobody) in [(ProxyKind::Sidecar, false), (ProxyKind::Router, true)] {
        let built = build_listener(&listener(kind, "127.0.0.1", 8000, "8000"), &Settings::default());
        assert_eq!((&*built.name, built.requires.len()), ("127.0.0.1_8000", 0));
        let manager = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "statPrefix": "outbound_127.0.0.1_8000",
            "rds": {
                "configSource": {"ads": {}, "initialFetchTimeout": "0s", "resourceApiVersion": "V3"},
                "routeConfigName": "8000",
            },
            "httpFilters": [
                filter("fault", "fault.v3.HTTPFault"),
                filter("cors", "cors.v3.Cors"),
                filter("router", "router.v3.Router"),
            ],
            "useRemoteAddress": trusts_nobody,
            "normalizePath": true,
            "streamIdleTimeout": "0s",
            "upgradeConfigs": [{"upgradeType": "websocket"}],
        });
        assert_eq!(
            json(type_url::LISTENER, &built.body),
            json!({
                "name": "127.0.0.1_8000",
                "address": {"socketAddress": {"address": "127.0.0.1", "portValue": 8000}},
                "filterChains": [{"filters": [{
                    "name": "envoy.filters.network.http_connection_manager", "typedConfig": manager,
                }]}],
                "trafficDirection": "OUTBOUND",
            })
        );
    }
}

fn log(format: AccessLogFormat) -> Value {
    let log = AccessLog { path: Some("/dev/stdout".into()), format, service: None, copies: false };
    let settings = Settings { access_log: Some(log), ..Settings::default() };
    let built = build_listener(&listener(ProxyKind::Router, "0.0.0.0", 80, "http.80"), &settings);
    let manager = "/filterChains/0/filters/0/typedConfig/accessLog/0/typedConfig";
    json(type_url::LISTENER, &built.body).pointer(manager).unwrap().clone()
}

#[test]
fn access_logs() {
    let (json_log, text_log) = (log(AccessLogFormat::Json), log(AccessLogFormat::Text));
    assert_eq!(json_log["path"], "/dev/stdout");
    let fields = &json_log["logFormat"]["jsonFormat"];
    assert_eq!(fields["upstream_cluster"], "%UPSTREAM_CLUSTER%");
    // Every key of the log that the cross-cluster document shows.
    for key in [
        "upstream_transport_failure_reason",
        "bytes_received",
        "downstream_remote_address",
        "start_time",
        "upstream_host",
        "response_flags",
        "upstream_service_time",
        "upstream_local_address",
        "authority",
        "path",
        "request_id",
        "downstream_local_address",
        "method",
        "requested_server_name",
        "response_code",
        "bytes_sent",
        "x_forwarded_for",
        "protocol",
        "duration",
        "route_name",
        "user_agent",
    ] {
        assert!(fields[key].is_string(), "{key}");
    }
    let line = text_log["logFormat"]["textFormatSource"]["inlineString"].as_str().unwrap();
    assert!(
        line.starts_with("[%START_TIME%] \"%REQ(:METHOD)% ") && line.ends_with("%ROUTE_NAME%\n"),
        "{line}"
    );
    let operators = |text: &str| text.matches('%').count() / 2;
    assert_eq!(operators(line), fields.as_object().unwrap().len());
}
