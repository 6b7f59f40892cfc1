use serde_json::{Value, json};
use umbra_envoy::{BootstrapOptions, BootstrapTls, BootstrapToken, bootstrap_json};
use umbra_ir::ProxyKind;

#[track_caller]
fn check(options: &BootstrapOptions, want: &[(&str, Value)]) {
    let got = bootstrap_json(options).unwrap();
    for (pointer, value) in want {
        assert_eq!(got.pointer(pointer).unwrap_or(&Value::Null), value, "{pointer} of {got:#}");
    }
}

#[test]
fn a_sidecar_in_delta() {
    let options = BootstrapOptions {
        labels: [("app".to_owned(), "sleep".to_owned())].into(),
        runtime_digits: 1,
        ..Default::default()
    };
    let ads = json!({"ads": {}, "initialFetchTimeout": "0s", "resourceApiVersion": "V3"});
    let rtds = json!({"ads": {}, "initialFetchTimeout": "2s", "resourceApiVersion": "V3"});
    let mut layers =
        vec![json!({"name": "static", "staticLayer": {"re2.max_program_size.error_level": 32_768.0}})];
    for name in (0..8).map(|digit| format!("umbra-{digit}")) {
        layers.push(json!({"name": name, "rtdsLayer": {"name": name, "rtdsConfig": rtds}}));
    }
    layers.push(json!({"name": "admin", "adminLayer": {}}));
    check(
        &options,
        &[
            ("/node/id", Value::Null),
            ("/node/cluster", json!("sleep.default")),
            (
                "/node/metadata",
                json!({"NAMESPACE": "default", "LABELS": {"app": "sleep"}, "INTERCEPTION_MODE": "NONE", "OBSERVE": "on"}),
            ),
            ("/admin/address/socketAddress", json!({"address": "127.0.0.1", "portValue": 15000})),
            (
                "/dynamicResources/adsConfig",
                json!({
                    "apiType": "DELTA_GRPC", "transportApiVersion": "V3", "setNodeOnFirstMessageOnly": true,
                    "grpcServices": [{"envoyGrpc": {
                        "clusterName": "umbra-xds",
                        "retryPolicy": {"retryBackOff": {"baseInterval": "0.500s", "maxInterval": "5s"}},
                    }}],
                }),
            ),
            ("/deferredStatOptions", json!({"enableDeferredCreationStats": true})),
            ("/statsConfig/useAllDefaultTags", json!(false)),
            ("/statsConfig/statsTags/0/tagName", json!("envoy.cluster_name")),
            ("/dynamicResources/ldsConfig", ads.clone()),
            ("/dynamicResources/cdsConfig", ads),
            ("/layeredRuntime/layers", json!(layers)),
        ],
    );
}

#[test]
fn a_gateway_in_state_of_the_world() {
    let options = BootstrapOptions {
        kind: ProxyKind::Router,
        namespace: "istio-system".to_owned(),
        node_id: Some("gw-1".to_owned()),
        state_of_the_world: true,
        ..Default::default()
    };
    check(
        &options,
        &[
            ("/node/id", json!("gw-1")),
            ("/node/cluster", json!("router.istio-system")),
            (
                "/node/metadata",
                json!({"NAMESPACE": "istio-system", "LABELS": {}, "OBSERVE": "on", "PROXY_TYPE": "router"}),
            ),
            ("/dynamicResources/adsConfig/apiType", json!("GRPC")),
        ],
    );
}

#[test]
fn how_the_server_is_found() {
    for (host, kind, family) in [
        ("10.0.0.1", json!("STATIC"), Value::Null),
        ("fd00::1", json!("STATIC"), Value::Null),
        ("umbra.umbra-system.svc", json!("STRICT_DNS"), json!("V4_PREFERRED")),
    ] {
        let options = BootstrapOptions { server_host: host.to_owned(), ..Default::default() };
        let cluster = "/staticResources/clusters/0";
        let address = "loadAssignment/endpoints/0/lbEndpoints/0/endpoint/address/socketAddress";
        check(
            &options,
            &[
                (&format!("{cluster}/type"), kind),
                (&format!("{cluster}/dnsLookupFamily"), family),
                (&format!("{cluster}/{address}"), json!({"address": host, "portValue": 15010})),
            ],
        );
    }
}

#[test]
fn over_tls() {
    let socket = "/staticResources/clusters/0/transportSocket";
    check(&BootstrapOptions::default(), &[(socket, Value::Null)]);
    for (host, name, sni, verified, kind) in [
        ("umbra.umbra-system.svc", "", json!("umbra.umbra-system.svc"), "umbra.umbra-system.svc", "DNS"),
        ("10.0.0.1", "", Value::Null, "10.0.0.1", "IP_ADDRESS"),
        ("10.0.0.1", "umbra.example", json!("umbra.example"), "umbra.example", "DNS"),
    ] {
        let tls = BootstrapTls {
            ca_certificates: "/tls/ca.crt".to_owned(),
            client_certificate: Some(("/tls/tls.crt".to_owned(), "/tls/tls.key".to_owned())),
            name: name.to_owned(),
        };
        let options = BootstrapOptions { server_host: host.to_owned(), tls: Some(tls), ..Default::default() };
        let common = format!("{socket}/typedConfig/commonTlsContext");
        let file = |name: &str| json!({"filename": format!("/tls/{name}")});
        check(
            &options,
            &[
                (&format!("{socket}/typedConfig/sni"), sni),
                (&format!("{common}/alpnProtocols"), json!(["h2"])),
                (
                    &format!("{common}/tlsCertificates"),
                    json!([{"certificateChain": file("tls.crt"), "privateKey": file("tls.key")}]),
                ),
                (
                    &format!("{common}/validationContext"),
                    json!({
                        "trustedCa": file("ca.crt"),
                        "matchTypedSubjectAltNames": [{"sanType": kind, "matcher": {"exact": verified}}],
                    }),
                ),
            ],
        );
    }
}

#[test]
fn what_the_network_may_ask() {
    check(&BootstrapOptions::default(), &[("/staticResources/listeners", Value::Null)]);
    let ready = Some(([0, 0, 0, 0], 15021).into());
    let options = BootstrapOptions { ready, admin: ([127, 0, 0, 1], 15999).into(), ..Default::default() };
    let host = "/staticResources/listeners/0/filterChains/0/filters/0/typedConfig/routeConfig/virtualHosts/0";
    let route = |path: &str| json!({"match": {"path": path}, "route": {"cluster": "umbra-ready"}});
    let address = "loadAssignment/endpoints/0/lbEndpoints/0/endpoint/address/socketAddress";
    check(
        &options,
        &[
            (
                "/staticResources/listeners/0/address/socketAddress",
                json!({"address": "0.0.0.0", "portValue": 15021}),
            ),
            // Nothing else: the admin interface can end a proxy.
            (&format!("{host}/routes"), json!([route("/ready"), route("/stats/prometheus")])),
            (&format!("/staticResources/clusters/1/{address}/portValue"), json!(15999)),
        ],
    );
}

#[test]
fn an_injected_pod() {
    for (address, any) in [("0.0.0.0", "0.0.0.0"), ("::", "::")] {
        let addresses = vec!["10.1.1.1".parse().unwrap(), "fd00::1".parse().unwrap()];
        let pod = Some(address.parse().unwrap());
        let options = BootstrapOptions { pod, addresses, captured: true, ..Default::default() };
        let at = |n: usize, port: u16| {
            let socket = json!({"address": any, "portValue": port});
            (format!("/staticResources/listeners/{n}/address/socketAddress"), socket)
        };
        let route = |n: usize, route: Value| {
            let host = "filterChains/0/filters/0/typedConfig/routeConfig/virtualHosts/0/routes";
            (format!("/staticResources/listeners/{n}/{host}"), json!([route]))
        };
        let ready = json!({
            "match": {"path": "/healthz/ready"}, "route": {"cluster": "umbra-ready", "prefixRewrite": "/ready"},
        });
        let stats = json!({"match": {"path": "/stats/prometheus"}, "route": {"cluster": "umbra-ready"}});
        let wanted = [
            at(0, 15021),
            route(0, ready),
            at(1, 15090),
            route(1, stats),
            ("/staticResources/clusters/1/name".to_owned(), json!("umbra-ready")),
            ("/node/metadata/INTERCEPTION_MODE".to_owned(), json!("REDIRECT")),
            ("/node/metadata/INSTANCE_IPS".to_owned(), json!("10.1.1.1,fd00::1")),
        ];
        let wanted: Vec<_> =
            wanted.iter().map(|(pointer, value)| (pointer.as_str(), value.clone())).collect();
        check(&options, &wanted);
    }
}

/// A judge is reached as umbra is, but without umbra's token, and nothing waits for it.
#[test]
fn a_judge() {
    let judge = Some(("judge.umbra".to_owned(), 15016));
    let tls = Some(BootstrapTls {
        ca_certificates: "/ca.pem".to_owned(),
        client_certificate: None,
        name: "umbra".to_owned(),
    });
    let token = Some(BootstrapToken { token: "/token".to_owned(), secret: "/secret".to_owned() });
    let options = BootstrapOptions { verdicts: true, judge, tls, token, ..Default::default() };
    let cluster = "/staticResources/clusters/2";
    let http = "/typedExtensionProtocolOptions/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let layer = "/layeredRuntime/layers/0/staticLayer";
    let place = "/loadAssignment/endpoints/0/lbEndpoints/0/endpoint/address/socketAddress";
    check(
        &options,
        &[
            ("/node/metadata/CONTENTS", json!("on")),
            (&format!("{layer}/envoy.reloadable_features.grpc_side_stream_flow_control"), json!(false)),
            (&format!("{cluster}/name"), json!("umbra-judge")),
            (&format!("{cluster}{place}"), json!({"address": "judge.umbra", "portValue": 15016})),
            (&format!("{cluster}/circuitBreakers/thresholds/0/maxRequests"), json!(64)),
            (&format!("{cluster}/transportSocket/typedConfig/sni"), json!("judge.umbra")),
            (&format!("{cluster}{http}/httpFilters"), Value::Null),
            (
                &format!("{cluster}{http}/explicitHttpConfig/http2ProtocolOptions/connectionKeepalive"),
                json!({"interval": "2s", "timeout": "1s"}),
            ),
        ],
    );
    // What nobody is judged by needs none.
    let none = BootstrapOptions { verdicts: false, ..options };
    check(&none, &[("/node/metadata/CONTENTS", Value::Null), (cluster, Value::Null)]);
}

/// Who has no sink does not say that it counts.
#[test]
fn a_proxy_without_the_sink() {
    let options = BootstrapOptions { observe: false, ..Default::default() };
    check(&options, &[("/statsSinks", Value::Null), ("/node/metadata/OBSERVE", Value::Null)]);
}
