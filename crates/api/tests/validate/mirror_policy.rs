//! Cases of MirrorPolicy.

use super::Case;

pub(crate) const MIRROR_POLICY: &[Case] = &[
    ("plain", "targetRef: {name: a}", &[]),
    (
        "everything",
        "targetRef: {group: networking.istio.io, kind: VirtualService, name: a, rule: r, mirror: {host: b, port: {number: 80}}}\nmethods: [GET, M-SEARCH]\nheaders: {remove: [], set: {x-a: '%REQ(x-b)%'}}\nhost: {value: target, suffix: false}",
        &[],
    ),
    ("no target", "methods: ['*']", &["error InvalidTarget spec.targetRef~no effect"]),
    ("no name", "targetRef: {}", &["error InvalidTarget spec.targetRef.name"]),
    ("a group", "targetRef: {group: x, name: a}", &["error InvalidTarget spec.targetRef.group"]),
    ("a kind", "targetRef: {kind: Service, name: a}", &["error InvalidTarget spec.targetRef.kind"]),
    (
        "a port",
        "targetRef: {name: a, mirror: {port: {number: 0}}}",
        &["error InvalidPort spec.targetRef.mirror.port.number"],
    ),
    ("no methods", "targetRef: {name: a}\nmethods: []", &["warning EmptyBlock spec.methods"]),
    (
        "methods",
        "targetRef: {name: a}\nmethods: ['*', GET, get, 'G T', CONNECT]",
        &[
            "warning ConflictingFields spec.methods[0]",
            "warning InvalidMethod spec.methods[2]~case",
            "error InvalidMethod spec.methods[3]~no method",
            "warning InvalidMethod spec.methods[4]~CONNECT",
        ],
    ),
    (
        "headers",
        "targetRef: {name: a}\nheaders: {remove: [host, 'a b', ok, x-request-id], set: {':path': /, X-Request-ID: y, host: x, x-a: '100%', x-b: ok}}",
        &[
            "error InvalidHeader spec.headers.remove[0]~nothing is removed",
            "error InvalidHeader spec.headers.remove[1]",
            "error InvalidHeader spec.headers.remove[3]~found by it",
            "error InvalidHeader spec.headers.set[:path]",
            "error InvalidHeader spec.headers.set[X-Request-ID]~found by it",
            "error InvalidHeader spec.headers.set[host]~the field host",
            "error InvalidHeader spec.headers.set[x-a]~not given",
        ],
    ),
    (
        "limits",
        "targetRef: {name: a}\nlimits: {maxConnections: 0, maxPendingRequests: 1, maxRequests: 0, maxStreamDuration: 0s}",
        &[
            "error OutOfRange spec.limits.maxConnections",
            "error OutOfRange spec.limits.maxRequests",
            "error InvalidDuration spec.limits.maxStreamDuration~umbra.yaml",
        ],
    ),
    (
        "verdicts and limits at which it stops",
        "targetRef: {name: a}\nverdicts: {rate: 5}\nabort: {shadowErrors: {percent: 5, window: 30s, minimum: 50}, primaryLatency: {percent: 300}, verdict: different}\nsample: nested\nmaxRequestsPerSecond: 50\nramp: {steps: [{percent: 1, time: 10m}, {percent: 10, time: 1h, requests: 5000}], verdict: same}",
        &[],
    ),
    ("what is shown", "targetRef: {name: a}\nverdicts: {contents: true, queries: true, values: true}", &[]),
    (
        "values of nothing",
        "targetRef: {name: a}\nverdicts: {values: true, queries: true}",
        &["warning InvalidExamples spec.verdicts.values~not compared"],
    ),
    (
        "no such verdicts and limits",
        "targetRef: {name: a}\nverdicts: {rate: 1001}\nabort: {shadowErrors: {percent: 101}, copiesLost: {percent: 1, window: 1s}, primaryErrors: {minimum: 0}}",
        &[
            "warning InvalidVerdicts spec.verdicts.rate~nothing is judged",
            "warning InvalidAbort spec.abort.shadowErrors.percent",
            "warning InvalidAbort spec.abort.copiesLost.window~stops none",
            "warning InvalidAbort spec.abort.primaryErrors.minimum",
        ],
    ),
    (
        "what goes by counts",
        "targetRef: {name: a}\nobserve: false\nabort: {verdict: different}\nmaxRequestsPerSecond: 0\nsample: independent",
        &[
            "error OutOfRange spec.maxRequestsPerSecond",
            "error SamplesNested spec.sample",
            "error ConflictingFields spec.observe~all the same",
        ],
    ),
    ("not counted", "targetRef: {name: a}\nobserve: false", &[]),
    ("no ramp", "targetRef: {name: a}\nramp: {}", &["error InvalidRamp spec.ramp.steps~nothing is copied"]),
    (
        "steps",
        "targetRef: {name: a}\nramp: {steps: [{percent: 5, time: 1m}, {percent: 5, time: 1m}, {percent: 6}, {percent: 101, time: 1m}, {percent: 7, time: 1s}]}",
        &[
            "error InvalidRamp spec.ramp.steps[1]~above",
            "error InvalidRamp spec.ramp.steps[2]~time",
            "error InvalidRamp spec.ramp.steps[3]",
        ],
    ),
    ("a word", "targetRef: {name: a}\nhost: {value: TARGET}", &["error WrongType spec.host.value"]),
];
