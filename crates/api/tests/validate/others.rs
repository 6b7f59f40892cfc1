//! Cases of DestinationRule, ServiceEntry and Gateway.

use super::Case;

pub(crate) const DESTINATION_RULE: &[Case] = &[
    ("plain", "host: a\nsubsets: [{name: v1, labels: {version: v1}}]", &[]),
    (
        "a policy",
        "host: a\ntrafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}, connectionPool: {tcp: {maxConnections: 5, connectTimeout: 1s}}, tls: {mode: SIMPLE, caCertificates: /ca}}",
        &[],
    ),
    ("no host", "subsets: []", &["error InvalidHost spec.host"]),
    (
        "subsets",
        "host: a\nsubsets: [{name: v1}, {name: v1}, {}, {name: 'a|b'}]",
        &[
            "error DuplicateName spec.subsets[1].name~spec.subsets[0]",
            "error InvalidSubset spec.subsets[2].name",
            "error InvalidSubset spec.subsets[3].name",
        ],
    ),
    ("an empty policy", "host: a\ntrafficPolicy: {}", &["error EmptyBlock spec.trafficPolicy"]),
    (
        "not acted on",
        "host: a\nworkloadSelector: {matchLabels: {a: b}}\ntrafficPolicy:\n  outlierDetection: {consecutive5xxErrors: 1}\n  tunnel: {targetHost: x}\n  proxyProtocol: {version: V2}\n  retryBudget: {percent: 101, budgetInterval: -1s}\n  loadBalancer: {zoneAwareLbSetting: {enabled: true, minClusterSize: 6}}",
        &[
            "warning NotActedOn spec.trafficPolicy.loadBalancer.zoneAwareLbSetting",
            "warning NotActedOn spec.trafficPolicy.tunnel",
            "error ConflictingFields spec.trafficPolicy~tunnel, proxyProtocol",
            "error OutOfRange spec.trafficPolicy.retryBudget.percent",
            "error InvalidDuration spec.trafficPolicy.retryBudget.budgetInterval",
        ],
    ),
    (
        "outlier detection",
        "host: a\ntrafficPolicy: {outlierDetection: {consecutiveErrors: 1, consecutiveLocalOriginFailures: 2, interval: 0s, baseEjectionTime: -1s, maxEjectionPercent: -1, minHealthPercent: 101, outlierDetectionHttpErrorCodes: [500, 99]}}",
        &[
            "info Deprecated spec.trafficPolicy.outlierDetection.consecutiveErrors",
            "error ConflictingFields spec.trafficPolicy.outlierDetection.consecutiveLocalOriginFailures",
            "error InvalidDuration spec.trafficPolicy.outlierDetection.interval",
            "error InvalidDuration spec.trafficPolicy.outlierDetection.baseEjectionTime",
            "error NegativeNumber spec.trafficPolicy.outlierDetection.maxEjectionPercent",
            "error OutOfRange spec.trafficPolicy.outlierDetection.minHealthPercent",
            "error InvalidStatus spec.trafficPolicy.outlierDetection.outlierDetectionHttpErrorCodes[1]",
        ],
    ),
    (
        "load balancers",
        "host: a\ntrafficPolicy: {loadBalancer: {simple: PASSTHROUGH, warmupDurationSecs: 1s, consistentHash: {httpHeaderName: a, useSourceIp: true, maglev: {}, ringHash: {}}}}",
        &[
            "error ConflictingFields spec.trafficPolicy.loadBalancer~simple counts",
            "info CapturedOnly spec.trafficPolicy.loadBalancer.simple",
            "error ConflictingFields spec.trafficPolicy.loadBalancer.consistentHash~httpHeaderName, useSourceIp",
            "error ConflictingFields spec.trafficPolicy.loadBalancer.consistentHash~ringHash, maglev",
        ],
    ),
    (
        "a selector of clients",
        "host: a\nworkloadSelector: {}\nexportTo: ['*']",
        &["warning EmptyBlock spec.workloadSelector", "error ConflictingFields spec.exportTo"],
    ),
    (
        "localities",
        "host: a\ntrafficPolicy:\n  loadBalancer: {localityLbSetting: {distribute: [{from: r1, to: {r1: 101}}, {from: r2, to: {r1: 60, r2: 40}}], failover: [{from: r1, to: r1}]}, zoneAwareLbSetting: {}}",
        &[
            "error ConflictingFields spec.trafficPolicy.loadBalancer~localityLbSetting counts",
            "error ConflictingFields spec.trafficPolicy.loadBalancer.localityLbSetting~distribute counts",
            "error OutOfRange spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[0].to",
            "error ConflictingFields spec.trafficPolicy.loadBalancer.localityLbSetting.failover[0]",
            "warning NotActedOn spec.trafficPolicy.loadBalancer.zoneAwareLbSetting",
            "warning ConflictingFields spec.trafficPolicy.loadBalancer.localityLbSetting~outlierDetection",
        ],
    ),
    (
        "what is hashed",
        "host: a\ntrafficPolicy:\n  loadBalancer: {consistentHash: {}}\n  portLevelSettings:\n  - {port: {number: 1}, loadBalancer: {consistentHash: {httpHeaderName: 'x y', minimumRingSize: 5}}}\n  - {port: {number: 2}, loadBalancer: {consistentHash: {httpCookie: {name: c, ttl: -1s, attributes: [{name: a}, {name: A}]}, ringHash: {minimumRingSize: 9000000}}}}\n  - {port: {number: 3}, loadBalancer: {consistentHash: {httpQueryParameterName: '', maglev: {tableSize: 1000}, minimumRingSize: 1}}}\n  - {port: {number: 4}, loadBalancer: {consistentHash: {useSourceIp: false}}}",
        &[
            "error EmptyBlock spec.trafficPolicy.loadBalancer.consistentHash",
            "error InvalidHeader spec.trafficPolicy.portLevelSettings[0].loadBalancer.consistentHash.httpHeaderName",
            "info Deprecated spec.trafficPolicy.portLevelSettings[0].loadBalancer.consistentHash.minimumRingSize",
            "error DuplicateName spec.trafficPolicy.portLevelSettings[1].loadBalancer.consistentHash.httpCookie",
            "error InvalidDuration spec.trafficPolicy.portLevelSettings[1].loadBalancer.consistentHash.httpCookie.ttl",
            "error OutOfRange spec.trafficPolicy.portLevelSettings[1].loadBalancer.consistentHash.ringHash.minimumRingSize",
            "error InvalidText spec.trafficPolicy.portLevelSettings[2].loadBalancer.consistentHash.httpQueryParameterName",
            "error OutOfRange spec.trafficPolicy.portLevelSettings[2].loadBalancer.consistentHash.maglev.tableSize",
            "error ConflictingFields spec.trafficPolicy.portLevelSettings[2].loadBalancer.consistentHash.minimumRingSize",
            "warning ConflictingFields spec.trafficPolicy.portLevelSettings[3].loadBalancer.consistentHash.useSourceIp",
        ],
    ),
    (
        "warm-up",
        "host: a\ntrafficPolicy:\n  loadBalancer: {simple: RANDOM, warmupDurationSecs: 0s}\n  portLevelSettings:\n  - {port: {number: 1}, loadBalancer: {warmup: {minimumPercent: 101, aggression: 0.5}, warmupDurationSecs: 1s}}",
        &[
            "error ConflictingFields spec.trafficPolicy.loadBalancer.warmupDurationSecs",
            "error InvalidDuration spec.trafficPolicy.loadBalancer.warmupDurationSecs",
            "error ConflictingFields spec.trafficPolicy.portLevelSettings[0].loadBalancer~warmup counts",
            "error EmptyBlock spec.trafficPolicy.portLevelSettings[0].loadBalancer.warmup",
            "error OutOfRange spec.trafficPolicy.portLevelSettings[0].loadBalancer.warmup.minimumPercent",
            "error OutOfRange spec.trafficPolicy.portLevelSettings[0].loadBalancer.warmup.aggression",
        ],
    ),
    (
        "ports",
        "host: a\ntrafficPolicy: {portLevelSettings: [{port: {number: 80}, tls: {}}, {port: {number: 80}, tls: {}}, {tls: {}}, {port: {number: 0}}]}",
        &[
            "error DuplicateName spec.trafficPolicy.portLevelSettings[1].port.number",
            "error InvalidPort spec.trafficPolicy.portLevelSettings[2].port",
            "error InvalidPort spec.trafficPolicy.portLevelSettings[3].port.number",
            "error EmptyBlock spec.trafficPolicy.portLevelSettings[3]",
        ],
    ),
    (
        "a connection pool",
        "host: a\nsubsets:\n- name: v1\n  trafficPolicy:\n    connectionPool:\n      tcp: {maxConnections: -1, connectTimeout: 0s, tcpKeepalive: {time: 0.1ms}}\n      http: {h2UpgradePolicy: UPGRADE, useClientProtocol: true, http2KeepAlive: {interval: 1s}}\n- name: v2\n  trafficPolicy: {connectionPool: {}}",
        &[
            "warning NotActedOn spec.subsets[0].trafficPolicy.connectionPool.http.h2UpgradePolicy",
            "error ConflictingFields spec.subsets[0].trafficPolicy.connectionPool.http~useClientProtocol counts",
            "error ConflictingFields spec.subsets[0].trafficPolicy.connectionPool.http.http2KeepAlive",
            "error NegativeNumber spec.subsets[0].trafficPolicy.connectionPool.tcp.maxConnections",
            "error InvalidDuration spec.subsets[0].trafficPolicy.connectionPool.tcp.connectTimeout",
            "error InvalidDuration spec.subsets[0].trafficPolicy.connectionPool.tcp.tcpKeepalive.time",
            "error EmptyBlock spec.subsets[1].trafficPolicy.connectionPool",
        ],
    ),
    (
        "tls",
        "host: a\ntrafficPolicy: {tls: {sni: x}, portLevelSettings: [{port: {number: 1}, tls: {mode: ISTIO_MUTUAL, privateKey: /k}}, {port: {number: 2}, tls: {mode: SIMPLE, clientCertificate: /c, insecureSkipVerify: true, caCrl: /crl}}, {port: {number: 3}, tls: {mode: MUTUAL, credentialName: x, privateKey: /k}}, {port: {number: 4}, tls: {mode: SIMPLE}}]}",
        &[
            "warning ConflictingFields spec.trafficPolicy.tls~plaintext",
            "error ConflictingFields spec.trafficPolicy.portLevelSettings[0].tls",
            "warning ConflictingFields spec.trafficPolicy.portLevelSettings[1].tls",
            "info Insecure spec.trafficPolicy.portLevelSettings[1].tls.insecureSkipVerify",
            "warning ConflictingFields spec.trafficPolicy.portLevelSettings[1].tls.caCrl",
            "error ConflictingFields spec.trafficPolicy.portLevelSettings[2].tls",
            "info SystemRoots spec.trafficPolicy.portLevelSettings[3].tls.mode",
        ],
    ),
];

pub(crate) const SERVICE_ENTRY: &[Case] = &[
    (
        "static",
        "hosts: [a.com]\nports: [{number: 80, name: http, protocol: HTTP}]\nresolution: STATIC\nendpoints: [{address: 10.0.0.1, ports: {http: 8080}}]",
        &[],
    ),
    (
        "DNS",
        "hosts: [a.com]\nlocation: MESH_EXTERNAL\nports: [{number: 80, name: http, protocol: http}]\nresolution: DNS",
        &[],
    ),
    ("no hosts", "resolution: DNS", &["error InvalidHost spec.hosts"]),
    (
        "bad hosts",
        "hosts: ['*', '']\nresolution: STATIC\nexportTo: ['~']",
        &[
            "error InvalidHost spec.hosts[0]",
            "error InvalidHost spec.hosts[1]",
            "warning NoEndpointsWritten spec.endpoints",
        ],
    ),
    (
        "NONE",
        "hosts: [a.com]\nendpoints: [{address: 10.0.0.1}]",
        &["info CapturedOnly spec.resolution", "error ConflictingFields spec.endpoints"],
    ),
    (
        "round robin",
        "hosts: [a.com]\nresolution: DNS_ROUND_ROBIN\nendpoints: [{address: b.com}, {address: c.com}]",
        &["error ConflictingFields spec.endpoints"],
    ),
    ("dynamic", "hosts: ['*.a.com']\nresolution: DYNAMIC_DNS", &["info HostLookedUp spec.resolution"]),
    (
        "what does not go with dynamic names",
        "hosts: [a.com]\nresolution: DYNAMIC_DNS\naddresses: [10.0.0.1]\nendpoints: [{address: 10.0.0.2}]\n\
         ports: [{number: 90, name: tcp, protocol: TCP}]",
        &[
            "info HostLookedUp spec.resolution",
            "warning InvalidHost spec.hosts[0]",
            "error ConflictingFields spec.addresses",
            "error ConflictingFields spec.endpoints",
            "error ConflictingFields spec.ports[0].protocol",
        ],
    ),
    (
        "a wildcard in DNS",
        "hosts: ['*.a.com']\nresolution: DNS\naddresses: [10.0.0.0/8, 10.0.0.1/32]",
        &["error InvalidHost spec.hosts", "error ConflictingFields spec.addresses[0]"],
    ),
    (
        "a selector",
        "hosts: [a.com]\nresolution: STATIC\nworkloadSelector: {labels: {a: b}}\nendpoints: [{address: 10.0.0.1}]\nsubjectAltNames: [x]",
        &["error ConflictingFields spec.endpoints"],
    ),
    (
        "a selector of nobody",
        "hosts: [a.com]\nworkloadSelector: {}",
        &[
            "error EmptyBlock spec.workloadSelector",
            "error ConflictingFields spec.workloadSelector",
            "info CapturedOnly spec.resolution",
        ],
    ),
    (
        "ports",
        "hosts: [a.com]\nresolution: DNS\nports: [{number: 80, name: a, protocol: HTPP}, {number: 80, name: a}, {number: 0, targetPort: 70000}]",
        &[
            "error UnknownProtocol spec.ports[0].protocol~did you mean HTTP?",
            "error DuplicateName spec.ports[1].number",
            "error DuplicateName spec.ports[1].name",
            "error InvalidPort spec.ports[2].number",
            "warning MissingName spec.ports[2].name",
            "error InvalidPort spec.ports[2].targetPort",
        ],
    ),
    (
        "endpoints",
        "hosts: [a.com]\nresolution: STATIC\nports: [{number: 80, name: a}]\nendpoints: [{}, {address: b.com}, {address: 'unix://x'}, {address: '::1', ports: {b: 1, a: 0}, network: n, serviceAccount: s}]",
        &[
            "error InvalidAddress spec.endpoints[0].address",
            "error InvalidAddress spec.endpoints[1].address",
            "error InvalidAddress spec.endpoints[2].address",
            "error InvalidPort spec.endpoints[3].ports.a",
            "error UnknownPort spec.endpoints[3].ports.b",
            "warning NotActedOn spec.endpoints[3].network",
            "warning NotActedOn spec.endpoints[3].serviceAccount",
        ],
    ),
];

pub(crate) const GATEWAY: &[Case] = &[
    (
        "plain",
        "selector: {istio: ingressgateway}\nservers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*', ns/a.com, ./b.com]}]",
        &[],
    ),
    (
        "a redirect to https",
        "servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*'], tls: {httpsRedirect: true}}]",
        &[],
    ),
    ("no servers", "selector: {a: b}", &["error NoServers spec.servers"]),
    (
        "nothing in a server",
        "servers: [{}]",
        &["error InvalidPort spec.servers[0].port", "error InvalidHost spec.servers[0].hosts"],
    ),
    (
        "ports",
        "servers:\n- {port: {number: 0, protocol: HTPP, targetPort: 5}, hosts: ['*'], bind: x}\n- {port: {number: 1, name: a}, hosts: ['*'], bind: 'unix:///x', defaultEndpoint: y}\n- {port: {number: 2, name: a, protocol: tcp}, hosts: ['*']}",
        &[
            "error InvalidPort spec.servers[0].port.number",
            "warning MissingName spec.servers[0].port.name",
            "warning Deprecated spec.servers[0].port.targetPort",
            "error UnknownProtocol spec.servers[0].port.protocol",
            "error InvalidAddress spec.servers[0].bind",
            "warning ConflictingFields spec.servers[1].port.number",
            "warning NotActedOn spec.servers[1].defaultEndpoint",
            "warning DuplicateName spec.servers[2].port.name",
        ],
    ),
    (
        "hosts",
        "servers: [{port: {number: 1, name: a}, hosts: [short, /a.com, a/b/c.com, 'ns/']}]",
        &[
            "warning ShortHost spec.servers[0].hosts[0]",
            "error InvalidHost spec.servers[0].hosts[1]",
            "error InvalidHost spec.servers[0].hosts[2]",
            "error InvalidHost spec.servers[0].hosts[3]",
        ],
    ),
    (
        "tls",
        "servers:\n- {port: {number: 1, name: a, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE, credentialName: x}}\n- {port: {number: 2, name: b, protocol: HTTPS}, hosts: ['*'], tls: {mode: MUTUAL}}\n- {port: {number: 3, name: c, protocol: HTTPS}, hosts: ['*']}\n- {port: {number: 4, name: d, protocol: HTTP}, hosts: ['*'], tls: {mode: SIMPLE}}\n- {port: {number: 5, name: e, protocol: TLS}, hosts: ['*'], tls: {credentialName: x}}",
        &[
            "error ConflictingFields spec.servers[1].tls~MUTUAL needs a certificate",
            "error ConflictingFields spec.servers[2].tls",
            "error ConflictingFields spec.servers[3].tls~httpsRedirect or nothing",
            "warning ConflictingFields spec.servers[4].tls",
        ],
    ),
];
