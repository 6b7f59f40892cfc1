//! Plain values that tests change one thing of.

use std::sync::Arc;
use std::time::Duration;

use umbra_ir::*;

pub(crate) fn port(number: u16) -> PortNumber {
    PortNumber::new(number.into()).unwrap()
}

pub(crate) fn reference(subset: &str, role: Role) -> ClusterRef {
    let host = "httpbin.default.svc.cluster.local";
    ClusterRef {
        service: ServiceId {
            object: ObjectId::new(Kind::Service, "default", "httpbin"),
            host: Hostname::new(host),
            also: Default::default(),
        },
        spelling: host.into(),
        port: port(8000),
        subset: SubsetName::new(subset),
        policy: None,
        role,
        limits: None,
        contents: false,
    }
}

pub(crate) fn cluster() -> Cluster {
    Cluster {
        reference: reference("v1", Role::Primary),
        discovery: Discovery::Eds,
        connect_timeout: Duration::from_secs(10),
        load_balancer: LoadBalancer::LeastRequest,
        locality_weighted: false,
        warmup: None,
        hash: None,
        outlier_detection: None,
        breakers: Breakers::UNLIMITED,
        protocol: UpstreamProtocol::Http1,
        retry_budget: None,
        proxy_protocol: None,
        tls: None,
        connection_pool: ConnectionPool::default(),
        max_stream_duration: None,
    }
}

pub(crate) fn endpoint(address: &str, zone: &str, weight: u32) -> Endpoint {
    let locality = match zone {
        "" => Locality::default(),
        zone => Locality { region: "r".into(), zone: zone.into(), subzone: "".into() },
    };
    Endpoint { address: address.into(), port: 80, locality, weight, labels: Arc::default(), workload: None }
}

pub(crate) fn default_retry() -> RetryPolicy {
    RetryPolicy {
        attempts: 2,
        retry_on: "connect-failure,refused-stream".to_owned(),
        status_codes: Vec::new(),
        per_try_timeout: None,
        avoid_previous_hosts: true,
        previous_hosts_written: false,
        remote_localities: false,
        backoff: None,
    }
}

pub(crate) fn target(subset: &str, weight: u32) -> Target {
    Target {
        cluster: TargetCluster::Known(reference(subset, Role::Primary)),
        weight,
        headers: HeaderOps::default(),
        host_rewrite: None,
    }
}

pub(crate) fn mirror(share: MirrorShare, host: MirrorHost) -> Mirror {
    Mirror {
        cluster: reference("v2", Role::Mirror),
        share,
        host,
        requests: CopiedRequests::default(),
        headers: HeaderChanges::default(),
        mark: None,
    }
}

pub(crate) fn half() -> MirrorShare {
    MirrorShare::Fixed(RuntimeFraction::from_percent(50.0).unwrap())
}

pub(crate) fn forward() -> Forward {
    Forward {
        targets: vec![target("v1", 1)],
        hash: Vec::new(),
        weighted: false,
        mirrors: Vec::new(),
        options: ForwardOptions::default(),
    }
}

pub(crate) fn any_request() -> RequestMatch {
    RequestMatch {
        path: PathMatch::Prefix("/".to_owned()),
        case_sensitive: None,
        headers: Vec::new(),
        query: Vec::new(),
    }
}

pub(crate) fn route(action: RouteAction) -> Route {
    Route {
        name: String::new(),
        origin: None,
        rule: 0,
        judged: None,
        request: any_request(),
        catch_all: true,
        action,
        headers: HeaderOps::default(),
        filters: RouteFilters::default(),
        stat_prefix: "".into(),
    }
}

pub(crate) fn every_header_op() -> HeaderOps {
    let value = |name: &str, value: &str, append| HeaderValue {
        name: name.to_owned(),
        value: value.to_owned(),
        append,
    };
    HeaderOps {
        request: HeaderChanges {
            values: vec![value("x-set", "%DOWNSTREAM_REMOTE_ADDRESS%", false), value("x-add", "1", true)],
            remove: vec!["x-gone".to_owned()],
        },
        response: HeaderChanges {
            values: vec![value("x-set-r", "2", false)],
            remove: vec!["server".to_owned()],
        },
    }
}

pub(crate) fn tls() -> TlsOrigination {
    TlsOrigination { sni: "up.example".into(), ..Default::default() }
}

pub(crate) fn listener(kind: ProxyKind, address: &str, number: u16, route_config: &str) -> Listener {
    Listener {
        kind,
        address: address.parse::<std::net::IpAddr>().unwrap().into(),
        port: port(number),
        route_config: route_config.into(),
        judges: Default::default(),
        trusted_proxies: 0,
        http10: false,
    }
}

/// A fault and a policy with everything in them.
pub(crate) fn every_filter() -> RouteFilters {
    let share = RuntimeFraction::from_percent(0.0001).unwrap();
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    RouteFilters {
        fault: Some(Fault {
            delay: Some(FaultDelay { share, fixed: Duration::from_secs(365 * 24 * 60 * 60) }),
            abort: Some(FaultAbort { share: RuntimeFraction::ALL, status: AbortStatus::Grpc(16) }),
        }),
        cors: Some(Cors {
            origins: vec![
                TextMatch::Exact("*".to_owned()),
                TextMatch::Prefix("https://".to_owned()),
                TextMatch::Regex(".*".to_owned()),
            ],
            methods: words(&["GET", "*"]),
            headers: words(&["x-a", "*"]),
            expose: words(&["x-b"]),
            max_age: Some(u64::MAX),
            credentials: Some(true),
            forward_unmatched_preflights: false,
        }),
    }
}
