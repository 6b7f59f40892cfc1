use std::time::Duration;

use serde_json::{Value, json};
use umbra_envoy::{Requirement, build_cluster, cluster_name, load_assignment_name};
use umbra_ir::{
    Cluster, ConnectionPool, Discovery, LoadBalancer, Role, TcpKeepalive, TlsOrigination, UpstreamProtocol,
};
use umbra_proto::type_url;

use crate::json;
use crate::samples::{cluster, endpoint, reference, tls};

/// What a cluster has after `change`, at the given JSON pointers.
#[track_caller]
fn check(change: impl FnOnce(&mut Cluster), want: &[(&str, Value)]) {
    let mut input = cluster();
    change(&mut input);
    let built = build_cluster(&input);
    assert_eq!(built, build_cluster(&input.clone()), "same input, same bytes");
    let got = json(type_url::CLUSTER, &built.body);
    for (pointer, value) in want {
        let found = got.pointer(pointer).unwrap_or(&Value::Null);
        assert_eq!(found, value, "{pointer} of {got:#}");
    }
}

const OPTIONS: &str = "/typedExtensionProtocolOptions/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
const TLS: &str = "/transportSocket/typedConfig";

#[test]
fn names() {
    for (subset, role, cluster, assignment) in [
        ("", Role::Primary, "outbound|8000||", "outbound|8000||"),
        ("v1", Role::Primary, "outbound|8000|v1|", "outbound|8000|v1|"),
        ("v2", Role::Mirror, "mirror|8000|v2|", "outbound|8000|v2|"),
    ] {
        let reference = reference(subset, role);
        let host = "httpbin.default.svc.cluster.local";
        assert_eq!(*cluster_name(&reference), format!("{cluster}{host}"));
        assert_eq!(*load_assignment_name(&reference), format!("{assignment}{host}"));
    }
}

#[test]
fn a_plain_cluster_in_full() {
    let built = build_cluster(&cluster());
    let name = "outbound|8000|v1|httpbin.default.svc.cluster.local";
    assert_eq!(&*built.name, name);
    assert_eq!(built.requires, [Requirement::LoadAssignment(name.into())]);
    let unlimited = u32::MAX;
    assert_eq!(
        json(type_url::CLUSTER, &built.body),
        json!({
            "name": name,
            "type": "EDS",
            "edsClusterConfig": {
                "edsConfig": {"ads": {}, "initialFetchTimeout": "0s", "resourceApiVersion": "V3"},
                "serviceName": name,
            },
            "connectTimeout": "10s",
            "lbPolicy": "LEAST_REQUEST",
            "circuitBreakers": {"thresholds": [{
                "maxConnections": unlimited, "maxPendingRequests": unlimited,
                "maxRequests": unlimited, "maxRetries": unlimited,
            }]},
            "commonLbConfig": {"healthyPanicThreshold": {}},
        })
    );
}

#[test]
fn a_mirror_cluster_shares_the_assignment_and_has_an_end() {
    let change = |c: &mut Cluster| {
        c.reference = reference("v2", Role::Mirror);
        c.max_stream_duration = Some(Duration::from_secs(60));
    };
    check(
        change,
        &[
            ("/name", json!("mirror|8000|v2|httpbin.default.svc.cluster.local")),
            ("/edsClusterConfig/serviceName", json!("outbound|8000|v2|httpbin.default.svc.cluster.local")),
            (&format!("{OPTIONS}/commonHttpProtocolOptions"), json!({"maxStreamDuration": "60s"})),
            (&format!("{OPTIONS}/explicitHttpConfig"), json!({"httpProtocolOptions": {}})),
            (&format!("{OPTIONS}/httpFilters"), Value::Null),
        ],
    );
}

#[test]
fn a_dns_cluster_carries_its_endpoints_and_requires_nothing() {
    let mut input = cluster();
    input.discovery = Discovery::StrictDns(vec![endpoint("up.example", "", 1)], Default::default());
    assert!(build_cluster(&input).requires.is_empty());
    let address = "/loadAssignment/endpoints/0/lbEndpoints/0/endpoint/address/socketAddress";
    check(
        |c| *c = input,
        &[
            ("/type", json!("STRICT_DNS")),
            ("/dnsLookupFamily", json!("V4_PREFERRED")),
            (address, json!({"address": "up.example", "portValue": 80})),
            ("/edsClusterConfig", Value::Null),
        ],
    );
    // Without endpoints there is still an assignment: a cluster that cannot be given its TLS has none.
    let change = |c: &mut Cluster| c.discovery = Discovery::StrictDns(Vec::new(), Default::default());
    let name = json!({"clusterName": "outbound|8000|v1|httpbin.default.svc.cluster.local"});
    check(change, &[("/loadAssignment", name)]);
}

#[test]
fn load_balancers() {
    for (balancer, want) in [
        (LoadBalancer::LeastRequest, json!("LEAST_REQUEST")),
        (LoadBalancer::Random, json!("RANDOM")),
        (LoadBalancer::RoundRobin, Value::Null),
    ] {
        check(|c| c.load_balancer = balancer, &[("/lbPolicy", want)]);
    }
    for (balancer, policy, config, value) in [
        (LoadBalancer::RingHash(64), "RING_HASH", "/ringHashLbConfig/minimumRingSize", json!("64")),
        (LoadBalancer::Maglev(Some(997)), "MAGLEV", "/maglevLbConfig/tableSize", json!("997")),
        (LoadBalancer::Maglev(None), "MAGLEV", "/maglevLbConfig", Value::Null),
    ] {
        check(|c| c.load_balancer = balancer, &[("/lbPolicy", json!(policy)), (config, value)]);
    }
}

#[test]
fn connection_pool() {
    let secs = |n| Some(Duration::from_secs(n));
    let pool = ConnectionPool {
        max_connection_duration: secs(3),
        tcp_idle_timeout: secs(4),
        keepalive: Some(TcpKeepalive {
            probes: Some(9),
            time: Some(Duration::from_millis(20)),
            interval: secs(7),
        }),
        max_requests_per_connection: Some(6),
        max_concurrent_streams: Some(8),
        http2_keepalive: Some((Duration::from_secs(10), Duration::ZERO)),
        ..Default::default()
    };
    let pings = json!({"interval": "10s", "timeout": "0.001s"});
    let common = format!("{OPTIONS}/commonHttpProtocolOptions");
    let with_pool = |protocol| {
        let pool = pool.clone();
        move |c: &mut Cluster| {
            c.connection_pool = pool;
            c.protocol = protocol;
        }
    };
    let alive = json!({"keepaliveProbes": 9, "keepaliveTime": 1, "keepaliveInterval": 7});
    let common_want =
        json!({"maxConnectionDuration": "3s", "idleTimeout": "4s", "maxRequestsPerConnection": 6});
    check(
        with_pool(UpstreamProtocol::Http1),
        &[("/upstreamConnectionOptions/tcpKeepalive", alive), (&common, common_want)],
    );
    // The number of streams and pings mean something in HTTP/2 only.
    let explicit = format!("{OPTIONS}/explicitHttpConfig");
    for (protocol, pointer, want) in [
        (UpstreamProtocol::Http1, &explicit, json!({"httpProtocolOptions": {}})),
        (
            UpstreamProtocol::Http2,
            &explicit,
            json!({"http2ProtocolOptions": {"maxConcurrentStreams": 8, "connectionKeepalive": pings}}),
        ),
        (
            UpstreamProtocol::Downstream,
            &format!("{OPTIONS}/useDownstreamProtocolConfig"),
            json!({"httpProtocolOptions": {}, "http2ProtocolOptions": {}}),
        ),
    ] {
        check(with_pool(protocol), &[(pointer, want)]);
    }
    let both = ConnectionPool { idle_timeout: secs(5), ..pool };
    let idle = format!("{common}/idleTimeout");
    check(|c| c.connection_pool = both, &[(&idle, json!("5s"))]);
}

#[test]
fn odd_durations_do_not_cost_the_cluster() {
    for (given, want) in [
        (Duration::ZERO, "0.001s"),
        (Duration::from_nanos(1_500_000), "0.001500s"),
        (Duration::MAX, "3153600000s"),
    ] {
        check(|c| c.connect_timeout = given, &[("/connectTimeout", json!(want))]);
    }
}

#[test]
fn tls_settings() {
    let common = format!("{TLS}/commonTlsContext");
    let validation = format!("{common}/validationContext");
    let versions = json!({"tlsMinimumProtocolVersion": "TLSv1_2", "tlsMaximumProtocolVersion": "TLSv1_3"});
    let roots = json!({"trustedCa": {"filename": "/etc/ssl/certs/ca-certificates.crt"}});
    check(
        |c| c.tls = Some(tls()),
        &[
            (&format!("{TLS}/sni"), json!("up.example")),
            (&format!("{common}/tlsParams"), versions),
            (&format!("{common}/alpnProtocols"), json!(["http/1.1"])),
            (&validation, roots),
            (OPTIONS, Value::Null),
        ],
    );
    let mutual = TlsOrigination {
        client_certificate: Some(("/c.pem".into(), "/k.pem".into())),
        ca_certificates: "/ca.pem".into(),
        revoked: "/ca.crl".into(),
        subject_alt_names: ["spiffe://td/a", "a.example", "1.2.3.4", "x@a.example"].map(str::to_owned).into(),
        ..tls()
    };
    let name = |kind: &str, name: &str| json!({"sanType": kind, "matcher": {"exact": name}});
    let names = json!([
        name("URI", "spiffe://td/a"),
        name("DNS", "a.example"),
        name("IP_ADDRESS", "1.2.3.4"),
        name("EMAIL", "x@a.example"),
    ]);
    let certificates =
        json!([{"certificateChain": {"filename": "/c.pem"}, "privateKey": {"filename": "/k.pem"}}]);
    check(
        |c| c.tls = Some(mutual),
        &[
            (&format!("{common}/tlsCertificates"), certificates),
            (&format!("{validation}/trustedCa"), json!({"filename": "/ca.pem"})),
            (&format!("{validation}/crl"), json!({"filename": "/ca.crl"})),
            (&format!("{validation}/matchTypedSubjectAltNames"), names),
        ],
    );
    let blind = TlsOrigination { insecure_skip_verify: true, ..Default::default() };
    let upstream = format!("{OPTIONS}/upstreamHttpProtocolOptions");
    check(|c| c.tls = Some(blind), &[(&validation, Value::Null), (&upstream, json!({"autoSni": true}))]);
    for (protocol, want) in
        [(UpstreamProtocol::Http2, json!(["h2"])), (UpstreamProtocol::Downstream, Value::Null)]
    {
        let change = |c: &mut Cluster| {
            c.tls = Some(tls());
            c.protocol = protocol;
        };
        check(change, &[(&format!("{common}/alpnProtocols"), want)]);
    }
}

#[test]
fn without_sni_it_is_the_host_of_the_request_but_a_copy_says_the_services_own() {
    let upstream = format!("{OPTIONS}/upstreamHttpProtocolOptions");
    let sni = format!("{TLS}/sni");
    let names = format!("{TLS}/commonTlsContext/validationContext/matchTypedSubjectAltNames/0/matcher/exact");
    let own = json!("httpbin.default.svc.cluster.local");
    for (role, host, auto, fixed) in [
        (Role::Primary, None, json!({"autoSni": true, "autoSanValidation": true}), Value::Null),
        (Role::Mirror, None, Value::Null, own),
        (Role::Mirror, Some("*.example"), json!({"autoSni": true, "autoSanValidation": true}), Value::Null),
    ] {
        let change = |c: &mut Cluster| {
            c.reference.role = role;
            c.reference.spelling = host.map_or(c.reference.spelling.clone(), Into::into);
            c.tls = Some(TlsOrigination::default());
        };
        check(change, &[(&upstream, auto), (&sni, fixed.clone()), (&names, fixed)]);
    }
}
