//! Rules at a gateway: who may bind what, how several rules for one host are joined, and what is nobody's.

use umbra_testkit::isolate::isolated;
use umbra_testkit::world::World;
use umbra_tests::manifests::{all, istio, service};

use super::{Probe, base, expand, probe, see};

/// Each has a VirtualService `NAME` with its rules in `default`, bound to the Gateway `infra/edge`, which takes every host
/// on port 8888.
pub(super) const ALL: &[Probe] = &[
    probe("a rule at a gateway", "- {@v1}", &[("/", "v1"), ("/ host:@host:8888", "v1")]),
    probe("a gateway knows no service without rules", "", &[("/", "404"), ("/ host:web.default.svc.cluster.local", "404")]),
    probe("no short name stands for a host", "- {@v1}", &[("/ host:@name", "404")]),
    probe("a host is compared without case", "- {@v1}", &[("/ host:@name.EXAMPLE", "v1")]),
    probe("rules for one host are joined, the first by name before the others", "- {match: [{uri: {prefix: /api}}], @v1}", &[("/api/v2", "v1"), ("/b", "v2")])
        .also(
            "
VirtualService @name-z = {hosts: ['@host'], gateways: [infra/edge], http: [{match: [{uri: {prefix: /api/v2}}, {uri: {prefix: /b}}], @v2}]}
",
        ),
    probe("rules for one host are joined, the older before the younger", "", &[("/api/v2", "v1")])
        .also(
            "
VirtualService @name-a, creationTimestamp: '2021-01-01T00:00:00Z' = {hosts: ['@host'], gateways: [infra/edge], http: [{match: [{uri: {prefix: /api/v2}}], @v2}]}
VirtualService @name-b, creationTimestamp: '2020-01-01T00:00:00Z' = {hosts: ['@host'], gateways: [infra/edge], http: [{match: [{uri: {prefix: /api}}], @v1}]}
",
        ),
    probe("catch-alls come behind all other rules of a host", "- {@v1}", &[("/z", "v2"), ("/", "v1")])
        .also(
            "
VirtualService @name-z = {hosts: ['@host'], gateways: [infra/edge], http: [{match: [{uri: {prefix: /z}}], @v2}]}
",
        ),
    probe("of two catch-alls the first counts", "- {@v1}", &[("/", "v1")])
        .also(
            "
VirtualService @name-z = {hosts: ['@host'], gateways: [infra/edge], http: [{@v2}]}
",
        ),
    probe("a catch-all ends its own rules, not those of others", "- {@v1}\n- {match: [{uri: {prefix: /b}}], @v3}", &[("/b", "v2")])
        .also(
            "
VirtualService @name-z = {hosts: ['@host'], gateways: [infra/edge], http: [{match: [{uri: {prefix: /b}}], @v2}]}
",
        ),
    probe("a closer host's rules are all that its requests have", "", &[("/a host:a.@host", "v1"), ("/b host:a.@host", "404"), ("/b host:c.@host", "v2")])
        .also(
            "
VirtualService @name-a = {hosts: ['a.@host'], gateways: [infra/edge], http: [{match: [{uri: {prefix: /a}}], @v1}]}
VirtualService @name-b = {hosts: ['*.@host'], gateways: [infra/edge], http: [{@v2}]}
",
        ),
    probe("rules of the gateway's own namespace alone come before older ones for all", "", &[("/", "v2")])
        .also(
            "
VirtualService @name-a = {hosts: ['@host'], gateways: [infra/edge], http: [{@v1}]}
VirtualService infra/@name-b = {hosts: ['@host'], gateways: [edge], exportTo: ['.'], http: [{@v2}]}
",
        ),
    probe("rules that the gateway's namespace does not see are none", "", &[("/", "404")])
        .also(
            "
VirtualService @name = {hosts: ['@host'], gateways: [infra/edge], exportTo: ['.'], http: [{@v1}]}
",
        ),
    probe("rules for the mesh are none at a gateway", "", &[("/", "404")])
        .also(
            "
VirtualService @name = {hosts: ['@host'], http: [{@v1}]}
",
        ),
    probe("rules may be for the mesh and a gateway, with matches for one of them", "", &[("/", "v2")])
        .also(
            "
VirtualService @name = {hosts: ['@host'], gateways: [mesh, infra/edge], http: [{match: [{gateways: [mesh]}], @v1}, {match: [{gateways: [infra/edge]}], @v2}]}
",
        ),
    probe("a gateway's name alone is one of the rule's own namespace", "", &[("/", "404"), ("@:8889 / host:@host", "v1")])
        .also(
            "
VirtualService @name = {hosts: ['@host'], gateways: [edge], http: [{@v1}]}
",
        ),
    probe("a dot stands for the rule's own namespace", "", &[("/", "404"), ("@:8889 / host:@host", "v1")])
        .also(
            "
VirtualService @name = {hosts: ['@host'], gateways: [./edge], http: [{@v1}]}
",
        ),
    probe("a gateway's name in the old spelling", "", &[("/", "v1"), ("/ host:long.@host", "v2")])
        .also(
            "
VirtualService @name = {hosts: ['@host'], gateways: [edge.infra], http: [{@v1}]}
VirtualService @name-long = {hosts: ['long.@host'], gateways: [edge.infra.svc.cluster.local], http: [{@v2}]}
",
        ),
    probe("a match for another gateway is none here", "- {match: [{gateways: [other]}], @v1}\n- {@v2}", &[("/", "v2")]),
    probe("a match by the server's number", "- {match: [{port: 8888}], @v1}\n- {@v2}", &[("/", "v1")]),
    probe("a match by another number is none", "- {match: [{port: 80}], @v1}\n- {@v2}", &[("/", "v2")]),
    probe("labels in a match are compared with the gateway's", "- {match: [{sourceLabels: {istio: edge}, uri: {prefix: /own}}], @v1}\n- {match: [{sourceLabels: {app: client}}], @v3}\n- {@v2}", &[("/own", "v1"), ("/", "v2")]),
    probe("a namespace in a match is compared with the gateway's", "- {match: [{sourceNamespace: infra}], @v1}\n- {@v2}", &[("/", "v1")]),
    probe("short names are of the rule's namespace", "- {route: [{destination: {host: web, subset: v1}}]}", &[("/", "v1")]),
    probe("a rule elsewhere has short names of its own", "", &[("/", "503")])
        .also(
            "
VirtualService infra/@name = {hosts: ['@host'], gateways: [edge], http: [{route: [{destination: {host: web}}]}]}
",
        ),
    probe("without a port a service's only one is meant at a gateway", "- {route: [{destination: {host: web, subset: v2}}]}", &[("/", "v2")]),
    probe("without a port, of several none is meant that is not called", "- {route: [{destination: {host: two-ports}}]}", &[("/", "503")]),
    probe("a rule that is bound to a host of its server's namespace", "", &[("@:8890 / host:own.example", "v1"), ("@:8890 / host:foreign.example", "404"), ("@:8890 / host:any.example", "v3")])
        .also(
            "
Gateway infra/hosts = {selector: {istio: edge}, servers: [{port: {number: 8890, name: http, protocol: HTTP}, hosts: [./own.example, other/foreign.example, '*/any.example']}]}
VirtualService infra/@name-own = {hosts: [own.example], gateways: [hosts], http: [{@v1}]}
VirtualService @name-foreign = {hosts: [foreign.example], gateways: [infra/hosts], http: [{@v2}]}
VirtualService @name-any = {hosts: [any.example], gateways: [infra/hosts], http: [{@v3}]}
",
        ),
    probe("host of server and rule meet in the narrower one", "", &[("@:8891 / host:a.narrow.example", "v1"), ("@:8891 / host:narrow.example", "404"), ("@:8891 / host:other.example", "404"), ("@:8891 /two host:two.narrow.example", "v2")])
        .also(
            "
Gateway infra/narrow = {selector: {istio: edge}, servers: [{port: {number: 8891, name: http, protocol: HTTP}, hosts: ['*.narrow.example']}]}
VirtualService @name-all = {hosts: ['*'], gateways: [infra/narrow], http: [{@v1}]}
VirtualService @name-two = {hosts: [two.narrow.example], gateways: [infra/narrow], http: [{match: [{uri: {prefix: /two}}], @v2}]}
",
        ),
    probe("a server may ask for https, and says so itself", "", &[("@:8892 /p host:tls.example", "301 <location=https://tls.example/p"), ("@:8892 /p host:bare.example", "301 <location=https://bare.example/p")])
        .also(
            "
Gateway infra/tls = {selector: {istio: edge}, servers: [{port: {number: 8892, name: http, protocol: HTTP}, hosts: [tls.example, bare.example], tls: {httpsRedirect: true}}]}
VirtualService @name = {hosts: [tls.example], gateways: [infra/tls], http: [{@v1}]}
",
        ),
    probe("a server's host with a namespace asks for https too", "", &[("@:8893 /p host:ns.example", "301 <location=https://ns.example/p")])
        .also(
            "
Gateway infra/tls-ns = {selector: {istio: edge}, servers: [{port: {number: 8893, name: http, protocol: HTTP}, hosts: [default/ns.example], tls: {httpsRedirect: true}}]}
",
        )
        .differs("`httpsRedirect` on a server host with a namespace"),
    probe("a server that admits a host admits its shadow, for rules that name it", "- {@v1}", &[("/ host:@host-shadow", "v3"), ("/", "v1")])
        .also(
            "
VirtualService @name-shadow = {hosts: ['@host-shadow'], gateways: [infra/edge], http: [{@v3}]}
",
        )
        .differs("also admits `host-shadow`"),
    probe("two servers for one host on one port are one", "", &[("@:8894 / host:twice.example", "v1")])
        .also(
            "
Gateway infra/twice = {selector: {istio: edge}, servers: [{port: {number: 8894, name: http-a, protocol: HTTP}, hosts: [twice.example]}, {port: {number: 8894, name: http-b, protocol: HTTP2}, hosts: [twice.example]}]}
VirtualService @name = {hosts: [twice.example], gateways: [infra/twice], http: [{@v1}]}
",
        )
        .differs("A rule that comes twice to one host of a gateway"),
    probe("a server may be bound to an address", "", &[("@127.0.0.5:8895 / host:bound.example", "v1")])
        .also(
            "
Gateway infra/bound = {selector: {istio: edge}, servers: [{bind: 127.0.0.5, port: {number: 8895, name: http, protocol: HTTP}, hosts: ['*']}]}
VirtualService @name = {hosts: [bound.example], gateways: [infra/bound], http: [{@v1}]}
",
        ),
    probe("a Gateway without a selector is for every gateway", "", &[("@:8896 / host:every.example", "v1")])
        .also(
            "
Gateway every = {servers: [{port: {number: 8896, name: http, protocol: HTTP}, hosts: ['*']}]}
VirtualService @name = {hosts: [every.example], gateways: [every], http: [{@v1}]}
",
        ),
    probe("a port whose rules are all elsewhere answers 404", "", &[("@:8897 / host:empty.example", "404")])
        .also(
            "
Gateway infra/empty = {selector: {istio: edge}, servers: [{port: {number: 8897, name: http, protocol: HTTP}, hosts: ['*']}]}
",
        ),
    probe("a redirect at a gateway may take the called port", "- {redirect: {authority: o.example, derivePort: FROM_REQUEST_PORT}}", &[("/p", "301 <location=http://o.example:8888/p")]),
    probe("a gateway copies, too", "- {mirror: {host: web, subset: v3}, @v1}", &[("/", "v1 copy.n=1 copy.host=@host-shadow")])
        .differs("The copy's Host ends in `-shadow`"),
    probe("a gateway's delegate", "- {match: [{uri: {prefix: /d}}], delegate: {name: '@name-d'}}\n- {@v1}", &[("/d", "v2"), ("/", "v1")])
        .also(
            "
VirtualService @name-d = {http: [{@v2}]}
",
        ),
];

#[test]
fn rules_at_gateways() {
    isolated(async {
        let mut world = World::new();
        base(&mut world);
        let name = |index: usize| format!("g{index}");
        let host = |index: usize| format!("g{index}.example");
        let server = |number: u16| {
            format!(
                "selector: {{istio: edge}}\nservers: [{{port: {{number: {number}, name: http, protocol: HTTP}}, hosts: ['*']}}]\n"
            )
        };
        let mut objects = vec![
            istio("Gateway", "infra", "edge", &server(8888)),
            istio("Gateway", "default", "edge", &server(8889)),
            service("infra", "nothing", &[("http", 8000, 8080)]),
        ];
        for (index, probe) in ALL.iter().enumerate() {
            if !probe.rules.is_empty() {
                let http = expand(probe.rules, &name(index), &host(index));
                let spec = format!("hosts: [{}]\ngateways: [infra/edge]\nhttp:\n{http}\n", host(index));
                objects.push(istio("VirtualService", "default", &name(index), &spec));
            }
            objects.extend(super::objects(probe.also, &name(index), &host(index)));
        }
        world.write("gateway.yaml", &all(&objects));
        world.start_umbra_with("").await;
        world.start_proxy("edge", "router/infra/istio=edge").await;
        world.wait_config("edge", "RoutesConfigDump", &host(ALL.len() - 1)).await;
        world.wait_config("edge", "RoutesConfigDump", "every.example").await;
        world.wait_share("edge", "|v3|web", 1_000_000).await;
        see(&world, ("edge", ":8888"), ALL, |index| (name(index), host(index))).await;
    });
}
