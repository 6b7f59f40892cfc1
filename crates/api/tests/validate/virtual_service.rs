//! Cases of VirtualService.

use super::Case;

/// An `http` rule that sends somewhere, and more fields of it.
macro_rules! rule {
    ($more:literal) => {
        concat!("hosts: [a]\nhttp:\n- route: [{destination: {host: a}}]\n  ", $more)
    };
}

pub(crate) const VIRTUAL_SERVICE: &[Case] = &[
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
    ("a delegate", "http:\n- route: [{destination: {host: a}}]\n  mirrorPercentage: {value: 5}", &[]),
    (
        "a delegate that delegates",
        "http:\n- delegate: {name: x}",
        &["error NestedDelegate spec.http[0].delegate~one level"],
    ),
    (
        "a delegate with gateways",
        "gateways: [x]\nhttp:\n- route: [{destination: {host: a}}]",
        &["error ConflictingFields spec.gateways"],
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
        &["error NoAction spec.tls[0].route"],
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
        "a negative share in the old field",
        rule!("mirror: {host: b}\n  mirrorPercent: -1"),
        &[
            "error InvalidPercentage spec.http[0].mirrorPercent~-1 is no percentage (0 to 100); the mirror is left out",
            "info Deprecated spec.http[0].mirrorPercent",
        ],
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
        "a mirror of itself",
        "hosts: [a]\nhttp:\n- route: [{destination: {host: a}}]\n  mirror: {host: a}",
        &["info MirrorOfItself spec.http[0].mirror~serves its copy, too"],
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
        &["warning MirrorIgnored spec.http[0].mirrors[0]"],
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
    ("delegate", "hosts: [a]\nhttp:\n- delegate: {name: x}", &[]),
    ("delegate and route", rule!("delegate: {name: x}"), &["error ConflictingFields spec.http[0].route"]),
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
            "error InvalidFault spec.http[0].fault.delay.percentage.value",
            "warning FaultWithoutPercentage spec.http[0].fault.abort",
            "warning InvalidFault spec.http[0].fault.abort",
        ],
    ),
    (
        "CORS",
        rule!(
            "corsPolicy: {allowOrigins: [{prefix: ''}, {exact: '*'}], allowMethods: ['a b'], maxAge: 1.5s, allowCredentials: true, allowOrigin: [x]}"
        ),
        &[
            "warning ConflictingFields spec.http[0].corsPolicy.allowOrigin",
            "error InvalidCors spec.http[0].corsPolicy.allowOrigins[0]",
            "error InvalidCors spec.http[0].corsPolicy.allowMethods[0]",
            "warning InvalidCors spec.http[0].corsPolicy.maxAge~whole seconds",
            "warning Insecure spec.http[0].corsPolicy.allowCredentials",
        ],
    ),
    ("an empty fault", rule!("fault: {}"), &["error EmptyBlock spec.http[0].fault"]),
];
