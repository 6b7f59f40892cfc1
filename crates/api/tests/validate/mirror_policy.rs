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
        "targetRef: {name: a}\nheaders: {remove: [host, 'a b', ok], set: {':path': /, host: x, x-a: '100%', x-b: ok}}",
        &[
            "error InvalidHeader spec.headers.remove[0]~nothing is removed",
            "error InvalidHeader spec.headers.remove[1]",
            "error InvalidHeader spec.headers.set[:path]",
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
    ("a word", "targetRef: {name: a}\nhost: {value: TARGET}", &["error WrongType spec.host.value"]),
];
