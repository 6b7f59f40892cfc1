//! Mirrors of a rule, and rules that delegate.

use super::{Probe, probe};

/// Seen in the world of [`rules`](super::rules).
pub(super) const ALL: &[Probe] = &[
    probe(
        "a mirror without a share copies everything",
        "- {mirror: {host: web, subset: v3}, @v1}",
        &[("/", "v1 copy.n=1")],
    ),
    probe(
        "a share of 0 copies nothing",
        "- {mirror: {host: web, subset: v3}, mirrorPercentage: {value: 0}, @v1}",
        &[("/", "v1")],
    ),
    probe(
        "an empty share is 0",
        "- {mirror: {host: web, subset: v3}, mirrorPercentage: {}, @v1}",
        &[("/", "v1")],
    ),
    probe(
        "the old whole percentage",
        "- {mirror: {host: web, subset: v3}, mirrorPercent: 100, @v1}",
        &[("/", "v1 copy.n=1")],
    ),
    probe(
        "the old percentage may be 0",
        "- {mirror: {host: web, subset: v3}, mirrorPercent: 0, @v1}",
        &[("/", "v1")],
    ),
    probe(
        "the new percentage beats the old",
        "- {mirror: {host: web, subset: v3}, mirrorPercent: 100, mirrorPercentage: {value: 0}, @v1}",
        &[("/", "v1")],
    ),
    probe(
        "a share for mirror is none for mirrors",
        "- {mirrors: [{destination: {host: web, subset: v3}}], mirrorPercentage: {value: 0}, @v1}",
        &[("/", "v1 copy.n=1")],
    ),
    probe(
        "an entry of mirrors has a share of its own",
        "- {mirrors: [{destination: {host: web, subset: v3}, percentage: {value: 100}}, {destination: {host: web, subset: v2}, percentage: {value: 0}}], @v1}",
        &[("/", "v1 copy.n=1")],
    ),
    probe(
        "mirror and mirrors copy both",
        "- {mirror: {host: web, subset: v3}, mirrors: [{destination: {host: web, subset: v3}}], @v1}",
        &[("/", "v1 copy.n=2")],
    )
    .differs("`mirror` beside `mirrors`, `*` as a host of the mesh: served, with a diagnostic"),
    probe(
        "a redirect is not copied",
        "- {mirror: {host: web, subset: v3}, redirect: {uri: /new}}",
        &[("/", "301")],
    ),
    probe(
        "a fixed answer is not copied",
        "- {mirror: {host: web, subset: v3}, directResponse: {status: 200}}",
        &[("/", "200")],
    ),
    probe("a mirror to nobody costs the request nothing", "- {mirror: {host: nobody}, @v1}", &[("/", "v1")])
        .differs("A mirror whose host, subset or port does not exist is left out"),
    probe(
        "a mirror to a subset that is none costs nothing",
        "- {mirror: {host: web, subset: v9}, @v1}",
        &[("/", "v1")],
    ),
    probe(
        "a mirror to a port that is none costs nothing",
        "- {mirror: {host: web, subset: v3, port: {number: 9}}, @v1}",
        &[("/", "v1")],
    ),
    probe(
        "beside a broken mirror another one copies",
        "- {mirrors: [{destination: {host: nobody}}, {destination: {host: web, subset: v3}}], @v1}",
        &[("/", "v1 copy.n=1")],
    ),
    probe(
        "a share that is none leaves that mirror out",
        "- {mirror: {host: web, subset: v3}, mirrorPercentage: {value: 101}, @v1}",
        &[("/", "v1")],
    )
    .differs("is an error, and that mirror is left out"),
    probe(
        "a copy's host ends in a suffix, before the port",
        "- {mirror: {host: web, subset: v3}, @v1}",
        &[
            ("/", "v1 host=@host copy.host=@host-shadow"),
            ("/ host:@host:8000", "v1 copy.host=@host-shadow:8000"),
        ],
    )
    .differs("The copy's Host ends in `-shadow`"),
    probe(
        "a copy has the rewritten path and host",
        "- {match: [{uri: {prefix: /old}}], rewrite: {uri: /new, authority: in.example}, mirror: {host: web, subset: v3}, @v1}",
        &[("/old/a", "v1 path=/new/a copy.path=/new/a copy.host=in.example-shadow")],
    ),
    probe(
        "a copy has the rule's headers",
        "- {headers: {request: {set: {x-a: set}, remove: [x-b]}}, mirror: {host: web, subset: v3}, @v1}",
        &[("/ x-a:1 x-b:1", "v1 x-a=set copy.x-a=set copy.x-b=")],
    ),
    probe(
        "a copy has the headers of the arm that its original took",
        "- {mirror: {host: web, subset: v3}, route: [{destination: {host: web, subset: v1}, weight: 9, headers: {request: {set: {x-a: arm}}}}, {destination: {host: web, subset: v2}}]}",
        &[("/", "v1 copy.x-a=arm")],
    ),
    probe(
        "a copy says that it comes from inside",
        "- {mirror: {host: web, subset: v3}, @v1}",
        &[("/", "v1 copy.x-envoy-internal=true")],
    ),
    probe(
        "a request that nobody could serve is not copied",
        "- {mirror: {host: web, subset: v3}, route: [{destination: {host: lonely}}]}",
        &[("/", "503")],
    ),
    probe(
        "a request to a cluster that is none is not copied",
        "- {mirror: {host: web, subset: v3}, route: [{destination: {host: nobody}}]}",
        &[("/", "503")],
    ),
    probe(
        "a request that is sent again is copied once",
        "- {retries: {attempts: 2, retryOn: 5xx}, mirror: {host: web, subset: v3}, @v1}",
        &[("/status/500", "v1 n=3 copy.n=1")],
    ),
    probe(
        "an aborted request is not copied",
        "- {fault: {abort: {httpStatus: 418, percentage: {value: 100}}}, mirror: {host: web, subset: v3}, @v1}",
        &[("/", "418")],
    ),
    probe(
        "an abort without a share never happens",
        "- {fault: {abort: {httpStatus: 418}}, mirror: {host: web, subset: v3}, @v1}",
        &[("/", "v1 copy.n=1")],
    ),
    probe(
        "a mirror is its rule's alone",
        "- {match: [{uri: {prefix: /m}}], mirror: {host: web, subset: v3}, @v1}\n- {@v2}",
        &[("/m", "v1 copy.n=1"), ("/", "v2")],
    ),
    probe(
        "a mirror is on every match of its rule",
        "- {match: [{uri: {prefix: /m}}, {headers: {x-a: {}}}], mirror: {host: web, subset: v3}, @v1}\n- {@v2}",
        &[("/m", "v1 copy.n=1"), ("/ x-a:1", "v1 copy.n=1"), ("/", "v2")],
    ),
    probe(
        "a mirror may be where the request goes",
        "- {mirror: {host: web, subset: v3}, @v3}",
        &[("/", "v3 copy.n=2")],
    ),
    // Delegates.
    probe(
        "a delegate's names are of its own namespace",
        "- {delegate: {name: '@name-d', namespace: other}}",
        &[("/", "v2")],
    )
    .also(
        "
VirtualService other/@name-d = {http: [{route: [{destination: {host: there}}]}]}
",
    ),
    probe(
        "a delegate's mirror has the root's share",
        "- {delegate: {name: '@name-d'}, mirrorPercentage: {value: 0}}",
        &[("/", "v1")],
    )
    .also(
        "
VirtualService @name-d = {http: [{mirror: {host: web, subset: v3}, @v1}]}
",
    ),
    probe(
        "a delegate's mirror and the root's mirrors are both copied to",
        "- {delegate: {name: '@name-d'}, mirrors: [{destination: {host: web, subset: v3}}]}",
        &[("/", "v1 copy.n=2")],
    )
    .also(
        "
VirtualService @name-d = {http: [{mirror: {host: web, subset: v3}, @v1}]}
",
    ),
    probe(
        "a delegate that is not exported here leaves its rule out",
        "- {delegate: {name: '@name-d', namespace: other}}\n- {@v1}",
        &[("/", "v1")],
    )
    .also(
        "
VirtualService other/@name-d = {exportTo: ['.'], http: [{@v2}]}
",
    ),
    probe(
        "a delegate's match must be narrower than the root's",
        "- {match: [{uri: {prefix: /a}}], delegate: {name: '@name-d'}}\n- {@v1}",
        &[("/a/b", "v2"), ("/c", "v1"), ("/a", "v1")],
    )
    .also(
        "
VirtualService @name-d = {http: [{match: [{uri: {prefix: /a/}}], @v2}, {match: [{uri: {prefix: /c}}], @v3}]}
",
    ),
    probe(
        "an unmatched rule of a delegate has the root's match",
        "- {match: [{uri: {prefix: /a}}], delegate: {name: '@name-d'}}\n- {@v1}",
        &[("/a", "v2"), ("/b", "v1")],
    )
    .also(
        "
VirtualService @name-d = {http: [{@v2}]}
",
    ),
    probe("delegation goes one level deep", "- {delegate: {name: '@name-d'}}\n- {@v1}", &[("/", "v1")]).also(
        "
VirtualService @name-d = {http: [{delegate: {name: '@name-e'}}]}
VirtualService @name-e = {http: [{@v2}]}
",
    ),
];
