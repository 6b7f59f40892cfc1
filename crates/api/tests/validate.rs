//! One object judged on its own: every rule of validation with its place and words.

use std::collections::BTreeSet;

use umbra_api::{parse_documents, validate};

/// What a spec is about, the spec in YAML, and each complaint: `severity Code field~words`.
type Case = (&'static str, &'static str, &'static [&'static str]);

fn object(kind: &str, spec: &str) -> String {
    let spec: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    format!("apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: a}}\nspec:\n{spec}")
}

/// The complaints about a manifest, reading and validation together.
fn complaints(text: &str) -> Vec<umbra_ir::Diagnostic> {
    let parsed = parse_documents(text, "f.yaml");
    let mut found = parsed.diagnostics;
    for object in &parsed.objects {
        found.extend(validate(&object.value).into_iter().map(|d| object.place(d)));
    }
    found
}

fn check(kind: &str, cases: &[Case]) {
    for (about, spec, want) in cases {
        let text = object(kind, spec);
        let found: Vec<String> = complaints(&text)
            .iter()
            .map(|d| {
                assert!(d.line.is_some(), "{d}");
                assert!(umbra_api::CODES.iter().any(|(code, _)| *code == d.code), "{} is not listed", d.code);
                format!("{} {} {}: {}", d.severity, d.code, d.field, d.message)
            })
            .collect();
        assert_eq!(found.len(), want.len(), "{about}: {found:#?}");
        for (found, want) in found.iter().zip(*want) {
            let (start, words) = want.split_once('~').unwrap_or((want, ""));
            assert!(
                found.starts_with(&format!("{start}: ")) && found.contains(words),
                "{about}:\n{found}\nis not\n{want}"
            );
        }
    }
}

/// An `http` rule that sends somewhere, and more fields of it.
macro_rules! rule {
    ($more:literal) => {
        concat!("hosts: [a]\nhttp:\n- route: [{destination: {host: a}}]\n  ", $more)
    };
}

const VIRTUAL_SERVICE: &[Case] = &[
    ("plain", rule!("name: x"), &[]),
    (
        "several destinations",
        "hosts: [a]\nhttp:\n- route: [{destination: {host: a}, weight: 33}, {destination: {host: b}, weight: 67}]",
        &[],
    ),
    (
        "a zero beside a weight",
        "hosts: [a]\nhttp:\n- route: [{destination: {host: a}, weight: 100}, {destination: {host: b}, weight: 0}]",
        &[],
    ),
    ("no rules", "hosts: [a]", &["error NoRules spec~has no effect"]),
    ("a delegate", "http:\n- route: [{destination: {host: a}}]", &["warning NotActedOn spec.hosts~delegate"]),
    (
        "a delegate with gateways",
        "gateways: [x]\nhttp:\n- route: [{destination: {host: a}}]",
        &["warning NotActedOn spec.hosts", "error ConflictingFields spec.gateways"],
    ),
    (
        "hosts",
        "hosts: [a.com, A.com, '*.com', '']\nhttp:\n- route: [{destination: {host: a}}]",
        &[
            "warning DuplicateHost spec.hosts[1]~without case",
            "warning DuplicateHost spec.hosts[2]~overlaps",
            "error InvalidHost spec.hosts[3]",
        ],
    ),
    (
        "a line break in a host",
        "hosts: [\"a\\nb\"]\nhttp:\n- route: [{destination: {host: a}}]",
        &["error InvalidText spec.hosts[0]~left out"],
    ),
    (
        "* in the mesh",
        "hosts: ['*']\nhttp:\n- route: [{destination: {host: a}}]",
        &["warning WildcardInMesh spec.hosts[0]"],
    ),
    (
        "* at mesh and gateway",
        "hosts: ['*']\ngateways: [mesh, g]\nhttp:\n- route: [{destination: {host: a}}]",
        &["warning WildcardInMesh spec.hosts[0]"],
    ),
    ("* at a gateway", "hosts: ['*']\ngateways: [g]\nhttp:\n- route: [{destination: {host: a}}]", &[]),
    (
        "gateway names",
        "hosts: [a]\ngateways: [ns/g, g.ns.svc.cluster.local, '', /g]\nhttp:\n- route: [{destination: {host: a}}]",
        &[
            "info LegacyGatewayName spec.gateways[1]",
            "error InvalidGatewayName spec.gateways[2]",
            "error InvalidGatewayName spec.gateways[3]",
        ],
    ),
    (
        "exportTo",
        "hosts: [a]\nexportTo: [x, x, '*', '', '~']\nhttp:\n- route: [{destination: {host: a}}]",
        &[
            "warning InvalidExportTo spec.exportTo[1]",
            "warning InvalidExportTo spec.exportTo[2]",
            "error InvalidExportTo spec.exportTo[3]",
            "error InvalidExportTo spec.exportTo[4]",
        ],
    ),
    (
        "tcp and tls",
        "hosts: [a]\ntcp: [{route: [{destination: {host: a}}]}]\ntls: [{match: [{sniHosts: [a]}]}]",
        &["warning NotActedOn spec.tls", "warning NotActedOn spec.tcp"],
    ),
    // Mirrors.
    ("mirror", rule!("mirror: {host: b}\n  mirrorPercentage: {value: 12.5}"), &[]),
    ("mirror off", rule!("mirror: {host: b}\n  mirrorPercentage: {value: 0}"), &[]),
    (
        "mirrors",
        rule!("mirrors: [{destination: {host: b}, percentage: {value: 1}}, {destination: {host: c}}]"),
        &[],
    ),
    (
        "the old field",
        rule!("mirror: {host: b}\n  mirror_percent: 50"),
        &["info Deprecated spec.http[0].mirrorPercent"],
    ),
    (
        "both fields",
        rule!("mirror: {host: b}\n  mirrorPercent: 50\n  mirrorPercentage: {value: 1}"),
        &["warning ConflictingFields spec.http[0].mirrorPercent~beside mirrorPercentage"],
    ),
    (
        "a share below one in a million",
        rule!("mirror: {host: b}\n  mirrorPercentage: {value: 0.00005}"),
        &["error InvalidPercentage spec.http[0].mirrorPercentage.value~the mirror is left out"],
    ),
    (
        "a negative share",
        rule!("mirror: {host: b}\n  mirrorPercentage: {value: -1}"),
        &["error InvalidPercentage spec.http[0].mirrorPercentage.value"],
    ),
    (
        "too large a share",
        rule!("mirror: {host: b}\n  mirrorPercentage: {value: 100.1}"),
        &["error InvalidPercentage spec.http[0].mirrorPercentage.value"],
    ),
    (
        "not a number",
        rule!("mirror: {host: b}\n  mirrorPercentage: {value: .nan}"),
        &["error InvalidPercentage spec.http[0].mirrorPercentage.value"],
    ),
    (
        "an old share above 100",
        rule!("mirror: {host: b}\n  mirrorPercent: 101"),
        &["error InvalidPercentage spec.http[0].mirrorPercent", "info Deprecated spec.http[0].mirrorPercent"],
    ),
    (
        "a share without mirror",
        rule!("mirrorPercentage: {value: 5}\n  mirrors: [{destination: {host: b}}]"),
        &["warning PercentageWithoutMirror spec.http[0].mirrorPercentage~entries of mirrors have their own"],
    ),
    (
        "mirror and mirrors",
        rule!("mirror: {host: b}\n  mirrors: [{destination: {host: c}}]"),
        &["info MirrorAndMirrors spec.http[0].mirrors~both are served"],
    ),
    (
        "bad mirrors",
        rule!(
            "mirror: {host: b, port: {number: 70000}}\n  mirrors: [{}, {destination: {host: '*'}, percentage: {value: 200}}]"
        ),
        &[
            "error InvalidPort spec.http[0].mirror.port.number~the mirror is left out",
            "info MirrorAndMirrors spec.http[0].mirrors",
            "error InvalidDestination spec.http[0].mirrors[0].destination",
            "error InvalidDestination spec.http[0].mirrors[1].destination.host",
            "error InvalidPercentage spec.http[0].mirrors[1].percentage.value",
        ],
    ),
    (
        "a mirror on a redirect",
        "hosts: [a]\nhttp:\n- redirect: {uri: /x}\n  mirror: {host: b}",
        &["warning MirrorIgnored spec.http[0].mirror~sends nothing"],
    ),
    (
        "mirrors on a fixed answer",
        "hosts: [a]\nhttp:\n- directResponse: {status: 200}\n  mirrors: [{destination: {host: b}}]",
        &["warning MirrorIgnored spec.http[0].mirrors"],
    ),
    // Actions.
    ("no action", "hosts: [a]\nhttp:\n- name: x", &["error NoAction spec.http[0]~the rule is left out"]),
    (
        "two actions",
        "hosts: [a]\nhttp:\n- redirect: {uri: /}\n  route: [{destination: {host: a}}]\n  directResponse: {status: 200}\n  rewrite: {uri: /}",
        &[
            "error ConflictingFields spec.http[0].directResponse~redirect",
            "error ConflictingFields spec.http[0].route",
            "error ConflictingFields spec.http[0].rewrite",
        ],
    ),
    (
        "delegate",
        "hosts: [a]\nhttp:\n- delegate: {name: x}",
        &["warning NotActedOn spec.http[0].delegate~the rule is left out"],
    ),
    (
        "delegate and route",
        rule!("delegate: {name: x}"),
        &["warning NotActedOn spec.http[0].delegate", "error ConflictingFields spec.http[0].route"],
    ),
    (
        "a bad redirect",
        "hosts: [a]\nhttp:\n- redirect: {uri: \"/\\n\", prefixRewrite: /y, redirectCode: 200, scheme: ftp, port: 0, derivePort: FROM_REQUEST_PORT}\n  match: [{uri: {exact: /}}]",
        &[
            "error InvalidText spec.http[0].redirect.uri",
            "error InvalidStatus spec.http[0].redirect.redirectCode",
            "error InvalidRedirect spec.http[0].redirect.scheme",
            "error InvalidPort spec.http[0].redirect.port",
            "error ConflictingFields spec.http[0].redirect~port counts",
            "error ConflictingFields spec.http[0].redirect~prefixRewrite counts",
            "warning ConflictingFields spec.http[0].redirect.prefixRewrite",
        ],
    ),
    (
        "an empty redirect",
        "hosts: [a]\nhttp:\n- redirect: {}",
        &["error InvalidRedirect spec.http[0].redirect"],
    ),
    (
        "a bad fixed answer",
        "hosts: [a]\nhttp:\n- directResponse: {status: 99, body: {string: a, bytes: YQ==}}",
        &[
            "error InvalidStatus spec.http[0].directResponse.status",
            "error ConflictingFields spec.http[0].directResponse.body",
        ],
    ),
    (
        "rewrites",
        rule!(
            "rewrite: {uri: /, uriRegexRewrite: {match: '(', rewrite: x}}\n- match: [{uri: {prefix: /}}]\n  rewrite: {}\n  route: [{destination: {host: a}}]"
        ),
        &[
            "error InvalidRegex spec.http[0].rewrite.uriRegexRewrite.match~the rule is left out",
            "error ConflictingFields spec.http[0].rewrite",
            "error EmptyBlock spec.http[1].rewrite",
        ],
    ),
    // Destinations.
    (
        "weights of 0",
        "hosts: [a]\nhttp:\n- route: [{destination: {host: a}}, {destination: {host: b}, weight: 0}]",
        &["error NoWeight spec.http[0].route~the rule is left out"],
    ),
    (
        "a lone weight of 0",
        "hosts: [a]\nhttp:\n- route: [{destination: {host: a}, weight: 0}]",
        &["warning WeightIgnored spec.http[0].route[0].weight"],
    ),
    (
        "bad destinations",
        "hosts: [a]\nhttp:\n- route: [{weight: 5}, {destination: {}, weight: -5}]",
        &[
            "error InvalidDestination spec.http[0].route[0].destination~503",
            "error InvalidDestination spec.http[0].route[1].destination.host~503",
            "error InvalidWeight spec.http[0].route[1].weight",
        ],
    ),
    // Conditions.
    (
        "conditions",
        rule!(
            "match:\n  - {uri: {regex: '/a/{id}'}, headers: {x: {regex: '*'}}, method: {exact: GET}}\n  - {queryParams: {q: {}}, withoutHeaders: {':path': {prefix: /}}}"
        ),
        &[],
    ),
    (
        "bad conditions",
        rule!(
            "match:\n  - {uri: {regex: '('}, headers: {'a b': {exact: x}}, method: {prefix: ''}}\n  - {queryParams: {'': {}}, port: 99999}\n  - {headers: {'@request.auth.claims.sub': {}}}\n  - {uri: {exact: /}}"
        ),
        &[
            "error InvalidRegex spec.http[0].match[0].uri~the match is left out",
            "error InvalidMatch spec.http[0].match[0].method~empty prefix",
            "error InvalidHeader spec.http[0].match[0].headers[\"a b\"]",
            "error InvalidMatch spec.http[0].match[1].queryParams[\"\"]",
            "error InvalidPort spec.http[0].match[1].port",
            "warning NotActedOn spec.http[0].match[2].headers[\"@request.auth.claims.sub\"]",
        ],
    ),
    (
        "no condition left",
        rule!("match: [{uri: {regex: ''}}]"),
        &[
            "error InvalidMatch spec.http[0].match~the rule is left out",
            "error InvalidRegex spec.http[0].match[0].uri",
        ],
    ),
    (
        "an empty condition",
        rule!("match: [{uri: {}}]"),
        &["warning EmptyCondition spec.http[0].match[0].uri"],
    ),
    (
        "a large pattern",
        rule!("match: [{uri: {regex: '/[a-z]{200}'}}]"),
        &["info LargeRegex spec.http[0].match[0]~re2.max_program_size"],
    ),
    (
        "sources beside gateways",
        rule!("match: [{gateways: [g], sourceLabels: {a: b}}]"),
        &["warning ConflictingFields spec.http[0].match[0].gateways"],
    ),
    (
        "unreachable",
        "hosts: [a]\nhttp:\n- match: [{uri: {prefix: /a}}]\n  route: [{destination: {host: a}}]\n- match: [{uri: {exact: /a/b}}, {uri: {prefix: /b}}]\n  route: [{destination: {host: a}}]\n- match: [{uri: {prefix: /b/c}, headers: {x: {}}}]\n  route: [{destination: {host: a}}]\n- route: [{destination: {host: a}}]\n- route: [{destination: {host: a}}]",
        &[
            "info IneffectiveMatch spec.http[1].match[0]~spec.http[0].match[0]",
            "warning UnreachableRule spec.http[2]",
            "warning UnreachableRule spec.http[4]~spec.http[3]",
        ],
    ),
    (
        "a rule left out hides nothing",
        "hosts: [a]\nhttp:\n- name: nothing\n- route: [{destination: {host: a}}]",
        &["error NoAction spec.http[0]"],
    ),
    // Headers, retries, time limits, the rest.
    (
        "headers",
        rule!(
            "headers: {request: {set: {x: '%REQ(y)%', ':authority': h}, add: {host: g, z: '100%'}, remove: [host, ok]}, response: {set: {host: x}, remove: [':status']}}"
        ),
        &[
            "error InvalidHeader spec.http[0].headers.request.add.z~written %%",
            "error InvalidHeader spec.http[0].headers.request.remove[0]",
            "error InvalidHeader spec.http[0].headers.response.set.host",
            "error InvalidHeader spec.http[0].headers.response.remove[0]",
            "error ConflictingFields spec.http[0]~headers.request.set and headers.request.add; headers.request.set counts",
        ],
    ),
    (
        "time limits",
        rule!("timeout: 0s\n  retries: {attempts: 2, perTryTimeout: 1s, retryOn: '5xx, 503'}"),
        &[],
    ),
    (
        "bad time limits",
        rule!(
            "timeout: -1s\n  retries: {attempts: -1, perTryTimeout: 0.5ms, backoff: 0s, retryOn: '5xxx,9999', retryRemoteLocalities: true}"
        ),
        &[
            "error InvalidDuration spec.http[0].timeout~negative; the route has no time limit",
            "error InvalidRetries spec.http[0].retries.attempts",
            "error InvalidDuration spec.http[0].retries.perTryTimeout~millisecond",
            "error InvalidDuration spec.http[0].retries.backoff",
            "error InvalidRetries spec.http[0].retries.retryOn~did you mean 5xx?",
            "error InvalidRetries spec.http[0].retries.retryOn~9999",
            "warning NotActedOn spec.http[0].retries.retryRemoteLocalities",
        ],
    ),
    (
        "retries without attempts",
        rule!("retries: {retryOn: 5xx}"),
        &["error InvalidRetries spec.http[0].retries"],
    ),
    (
        "fault and CORS",
        rule!(
            "fault: {delay: {fixedDelay: 1s, percentage: {value: 200}}, abort: {httpStatus: 999, grpcStatus: INTERNAL}}\n  corsPolicy: {allowOrigins: [{exact: x}]}"
        ),
        &[
            "warning NotActedOn spec.http[0].fault",
            "error InvalidPercentage spec.http[0].fault.delay.percentage.value",
            "error ConflictingFields spec.http[0].fault.abort",
            "error InvalidStatus spec.http[0].fault.abort.httpStatus",
            "warning NotActedOn spec.http[0].corsPolicy",
        ],
    ),
    (
        "an empty fault",
        rule!("fault: {}"),
        &["warning NotActedOn spec.http[0].fault", "error EmptyBlock spec.http[0].fault"],
    ),
];

const DESTINATION_RULE: &[Case] = &[
    ("plain", "host: a\nsubsets: [{name: v1, labels: {version: v1}}]", &[]),
    (
        "a policy",
        "host: a\ntrafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}, connectionPool: {tcp: {maxConnections: 5, connectTimeout: 1s}}, tls: {mode: SIMPLE}}",
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
        "host: a\nworkloadSelector: {matchLabels: {a: b}}\ntrafficPolicy:\n  outlierDetection: {consecutive5xxErrors: 1}\n  tunnel: {targetHost: x}\n  proxyProtocol: {version: V2}\n  retryBudget: {percent: 10}\n  loadBalancer: {consistentHash: {useSourceIp: true}, localityLbSetting: {enabled: true}, warmup: {duration: 1s}}",
        &[
            "warning NotActedOn spec.workloadSelector",
            "warning NotActedOn spec.trafficPolicy.loadBalancer.consistentHash",
            "warning NotActedOn spec.trafficPolicy.loadBalancer.localityLbSetting",
            "warning NotActedOn spec.trafficPolicy.loadBalancer.warmup",
            "warning NotActedOn spec.trafficPolicy.outlierDetection",
            "warning NotActedOn spec.trafficPolicy.tunnel",
            "warning NotActedOn spec.trafficPolicy.proxyProtocol",
            "error ConflictingFields spec.trafficPolicy~tunnel, proxyProtocol",
            "warning NotActedOn spec.trafficPolicy.retryBudget",
        ],
    ),
    (
        "load balancers",
        "host: a\ntrafficPolicy: {loadBalancer: {simple: PASSTHROUGH, warmupDurationSecs: 1s, consistentHash: {httpHeaderName: a, useSourceIp: true, maglev: {}, ringHash: {}}}}",
        &[
            "error ConflictingFields spec.trafficPolicy.loadBalancer~simple counts",
            "warning NotActedOn spec.trafficPolicy.loadBalancer.simple",
            "error ConflictingFields spec.trafficPolicy.loadBalancer.consistentHash~httpHeaderName, useSourceIp",
            "error ConflictingFields spec.trafficPolicy.loadBalancer.consistentHash~ringHash, maglev",
            "warning NotActedOn spec.trafficPolicy.loadBalancer.consistentHash",
            "warning NotActedOn spec.trafficPolicy.loadBalancer.warmupDurationSecs",
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
            "error ConflictingFields spec.subsets[0].trafficPolicy.connectionPool.http.h2UpgradePolicy",
            "error ConflictingFields spec.subsets[0].trafficPolicy.connectionPool.http.http2KeepAlive",
            "error NegativeNumber spec.subsets[0].trafficPolicy.connectionPool.tcp.maxConnections",
            "error InvalidDuration spec.subsets[0].trafficPolicy.connectionPool.tcp.connectTimeout",
            "error InvalidDuration spec.subsets[0].trafficPolicy.connectionPool.tcp.tcpKeepalive.time",
            "error EmptyBlock spec.subsets[1].trafficPolicy.connectionPool",
        ],
    ),
    (
        "tls",
        "host: a\ntrafficPolicy: {tls: {sni: x}, portLevelSettings: [{port: {number: 1}, tls: {mode: ISTIO_MUTUAL, privateKey: /k}}, {port: {number: 2}, tls: {mode: SIMPLE, clientCertificate: /c, insecureSkipVerify: true, caCrl: /crl}}, {port: {number: 3}, tls: {mode: MUTUAL, credentialName: x, privateKey: /k}}]}",
        &[
            "warning ConflictingFields spec.trafficPolicy.tls~plaintext",
            "error ConflictingFields spec.trafficPolicy.portLevelSettings[0].tls",
            "warning ConflictingFields spec.trafficPolicy.portLevelSettings[1].tls",
            "info Insecure spec.trafficPolicy.portLevelSettings[1].tls.insecureSkipVerify",
            "warning NotActedOn spec.trafficPolicy.portLevelSettings[1].tls.caCrl",
            "error ConflictingFields spec.trafficPolicy.portLevelSettings[2].tls",
        ],
    ),
];

const SERVICE_ENTRY: &[Case] = &[
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
        &["warning NotActedOn spec.resolution", "error ConflictingFields spec.endpoints"],
    ),
    (
        "round robin",
        "hosts: [a.com]\nresolution: DNS_ROUND_ROBIN",
        &["warning NotActedOn spec.resolution~DNS_ROUND_ROBIN"],
    ),
    (
        "dynamic",
        "hosts: ['*.a.com']\nresolution: DYNAMIC_DNS",
        &["warning NotActedOn spec.resolution~DYNAMIC_DNS"],
    ),
    (
        "a wildcard in DNS",
        "hosts: ['*.a.com']\nresolution: DNS\naddresses: [10.0.0.0/8, 10.0.0.1/32]",
        &["error InvalidHost spec.hosts", "error ConflictingFields spec.addresses[0]"],
    ),
    (
        "a selector",
        "hosts: [a.com]\nresolution: STATIC\nworkloadSelector: {labels: {a: b}}\nendpoints: [{address: 10.0.0.1}]\nsubjectAltNames: [x]",
        &[
            "warning NotActedOn spec.workloadSelector",
            "error ConflictingFields spec.endpoints",
            "warning NotActedOn spec.subjectAltNames",
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
        "hosts: [a.com]\nresolution: STATIC\nports: [{number: 80, name: a}]\nendpoints: [{}, {address: b.com}, {address: 'unix:///x'}, {address: '::1', ports: {b: 1, a: 0}, network: n, serviceAccount: s}]",
        &[
            "error InvalidAddress spec.endpoints[0].address",
            "error InvalidAddress spec.endpoints[1].address",
            "warning NotActedOn spec.endpoints[2].address",
            "error InvalidPort spec.endpoints[3].ports.a",
            "error UnknownPort spec.endpoints[3].ports.b",
            "warning NotActedOn spec.endpoints[3].network",
            "warning NotActedOn spec.endpoints[3].serviceAccount",
        ],
    ),
];

const GATEWAY: &[Case] = &[
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
            "warning NotActedOn spec.servers[1].bind",
            "warning NotActedOn spec.servers[1].defaultEndpoint",
            "warning NotActedOn spec.servers[2].port.protocol~TCP",
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
            "warning NotActedOn spec.servers[0].port.protocol",
            "warning NotActedOn spec.servers[0].tls",
            "warning NotActedOn spec.servers[1].port.protocol",
            "warning NotActedOn spec.servers[1].tls",
            "error ConflictingFields spec.servers[1].tls~MUTUAL needs a certificate",
            "warning NotActedOn spec.servers[2].port.protocol",
            "error ConflictingFields spec.servers[2].tls",
            "error ConflictingFields spec.servers[3].tls~httpsRedirect or nothing",
            "warning NotActedOn spec.servers[4].port.protocol",
            "warning NotActedOn spec.servers[4].tls",
            "warning ConflictingFields spec.servers[4].tls",
        ],
    ),
];

const KINDS: &[(&str, &[Case])] = &[
    ("VirtualService", VIRTUAL_SERVICE),
    ("DestinationRule", DESTINATION_RULE),
    ("ServiceEntry", SERVICE_ENTRY),
    ("Gateway", GATEWAY),
];

#[test]
fn virtual_services() {
    check("VirtualService", VIRTUAL_SERVICE);
}

#[test]
fn destination_rules() {
    check("DestinationRule", DESTINATION_RULE);
}

#[test]
fn service_entries() {
    check("ServiceEntry", SERVICE_ENTRY);
}

#[test]
fn gateways() {
    check("Gateway", GATEWAY);
}

#[test]
fn a_large_body() {
    let body = |bytes: usize| {
        let spec = format!(
            "hosts: [a]\nhttp:\n- directResponse: {{status: 200, body: {{string: {}}}}}",
            "x".repeat(bytes)
        );
        complaints(&object("VirtualService", &spec))
            .iter()
            .map(|d| d.to_string())
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert_eq!(body(1000), "");
    assert!(body(200 << 10).contains("warning"));
    assert!(body((1 << 20) + 1).contains("the rule is left out"));
}

/// Every code of the table is one that somebody can get, here or in the tests of reading.
#[test]
fn every_code_is_shown() {
    let reading = include_str!("parse.rs");
    let mut shown: BTreeSet<&str> = BTreeSet::new();
    for (kind, cases) in KINDS {
        for (_, spec, _) in *cases {
            shown.extend(complaints(&object(kind, spec)).iter().map(|d| d.code));
        }
    }
    for (code, meaning) in umbra_api::CODES {
        let elsewhere = reading.contains(&format!(" {code} ")) || *code == "BodyTooLarge";
        assert!(shown.contains(code) || elsewhere, "nobody shows {code}");
        assert!(meaning.ends_with('.') && !meaning.contains('\n'), "{code}");
    }
    let codes: BTreeSet<&str> = umbra_api::CODES.iter().map(|(code, _)| *code).collect();
    assert_eq!(codes.len(), umbra_api::CODES.len(), "a code twice");
}
