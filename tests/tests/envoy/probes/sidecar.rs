//! Hosts in the mesh: whose rules count for which name, and what a name leads to.

use umbra_testkit::isolate::isolated;
use umbra_testkit::world::World;
use umbra_tests::manifests::{all, istio, service};

use super::{Probe, base, expand, probe, see};

/// Each has a Service of its own name, whose rules are those of a VirtualService `NAME`, in `default`.
pub(super) const ALL: &[Probe] = &[
    probe("a service without rules is served at all its names", "", &[
        ("/", "v2"),
        ("/ host:@host.default", "v2"),
        ("/ host:@host.default.svc", "v2"),
        ("/ host:@host.default.svc.cluster.local", "v2"),
        ("/ host:@host.default.svc.cluster.local.", "v2"),
        ("/ host:@host.", "404"),
    ]),
    probe("a host is compared without its port and without case", "", &[("/ host:@host:8000", "v2"), ("/ host:@host:1", "v2"), ("/ host:Two-Ports.DEFAULT", "v3")]),
    probe("another namespace's service has no short name here", "", &[
        ("/ host:only-there", "404"),
        ("/ host:only-there.other", "v3"),
        ("/ host:only-there.other.svc", "v3"),
    ])
    .also(
            "
Service other/only-there = {ports: [{name: http, port: 8000, targetPort: 8080}], selector: {app: there}}
Pod other/there, labels: {app: there} = {podIP: 127.0.1.3}
",
        ),
    probe("what nobody defines is 404", "", &[("/ host:nobody.example", "404")])
        .differs("An unknown host on a sidecar's listener is a 404"),
    probe("a service is also called by its address", "", &[("/ host:10.96.0.77", "v2"), ("/ host:10.96.0.77:8000", "v2")])
        .also(
            "
Service @name-ip = {clusterIP: 10.96.0.77, ports: [{name: http, port: 8000, targetPort: 8080}], selector: {app: two-ports}}
",
        ),
    probe("of two rules for one host the first by name counts, and nothing of the other", "- {match: [{uri: {prefix: /a}}], @v1}", &[("/a", "v1"), ("/b", "404")])
        .also(
            "
VirtualService @name-z = {hosts: ['@host'], http: [{@v3}]}
",
        ),
    probe("of two rules for one host the older counts", "", &[("/", "v3")])
        .also(
            "
VirtualService @name-z, creationTimestamp: '2020-01-01T00:00:00Z' = {hosts: ['@host'], http: [{@v3}]}
VirtualService @name-a, creationTimestamp: '2021-01-01T00:00:00Z' = {hosts: ['@host'], http: [{@v1}]}
",
        ),
    probe("rules for the own namespace alone come before older ones for all", "", &[("/", "v3")])
        .also(
            "
VirtualService @name-a = {hosts: ['@host'], http: [{@v1}]}
VirtualService @name-b = {hosts: ['@host'], exportTo: ['.'], http: [{@v3}]}
",
        ),
    probe("rules exported to this namespace by name come before those for all", "", &[("/", "v3")])
        .also(
            "
VirtualService @name-a = {hosts: ['@host'], http: [{@v1}]}
VirtualService other/@name-b = {hosts: [@host.default.svc.cluster.local], exportTo: [default], http: [{@v3}]}
",
        ),
    probe("rules that are exported elsewhere do not count", "", &[("/", "v2")])
        .also(
            "
VirtualService @name = {hosts: ['@host'], exportTo: [other], http: [{@v3}]}
",
        ),
    probe("rules that are exported to nobody do not count", "", &[("/", "v2")])
        .also(
            "
VirtualService @name = {hosts: ['@host'], exportTo: ['~'], http: [{@v3}]}
",
        ),
    probe("rules of another namespace count where they are exported", "", &[("/", "v3")])
        .also(
            "
VirtualService other/@name = {hosts: [@host.default.svc.cluster.local], http: [{@v3}]}
",
        ),
    probe("a short host in another namespace's rules is another service", "", &[("/", "v2")])
        .also(
            "
VirtualService other/@name = {hosts: ['@host'], http: [{@v3}]}
",
        ),
    probe("a host with one dot is no short name", "", &[("/", "v2"), ("/ host:@host.default", "v2")])
        .also(
            "
VirtualService @name = {hosts: ['@host.default'], http: [{@v3}]}
",
        ),
    probe("an exact host beats a wildcard", "", &[("/ host:a.exact.example", "v1"), ("/ host:b.exact.example", "v3")])
        .also(
            "
ServiceEntry @name = {hosts: [a.exact.example, b.exact.example], resolution: STATIC, ports: [{number: 8000, name: http, protocol: HTTP, targetPort: 8080}], endpoints: [{address: 127.0.1.2}]}
VirtualService @name-a = {hosts: ['*.exact.example'], http: [{@v3}]}
VirtualService @name-b = {hosts: [a.exact.example], http: [{@v1}]}
",
        ),
    probe("a longer wildcard beats a shorter one", "", &[("/ host:a.b.wild.example", "v3"), ("/ host:c.wild.example", "v1"), ("/ host:wild.example", "404")])
        .also(
            "
ServiceEntry @name = {hosts: [a.b.wild.example, c.wild.example], resolution: STATIC, ports: [{number: 8000, name: http, protocol: HTTP, targetPort: 8080}], endpoints: [{address: 127.0.1.2}]}
VirtualService @name-a = {hosts: ['*.wild.example'], http: [{@v1}]}
VirtualService @name-b = {hosts: ['*.b.wild.example'], http: [{@v3}]}
",
        ),
    probe("a host that is no service is served on the ports of the rule's services", "", &[("/", "v3"), ("/ host:outer.example", "v3")])
        .also(
            "
VirtualService @name = {hosts: ['@host', outer.example], http: [{@v3}]}
",
        ),
    probe("rules that name no service are served on port 80 alone", "", &[("/ host:lone.example", "404"), ("@:80 / host:lone.example", "v3")])
        .also(
            "
VirtualService @name = {hosts: [lone.example], http: [{@v3}]}
Service @name-80 = {ports: [{name: http, port: 80, targetPort: 8080}], selector: {app: two-ports}}
",
        ),
    probe("on port 80 rules are served at the full names of services without that port too", "", &[
        ("/ host:@host", "v3"),
        ("@:80 / host:@host.default.svc.cluster.local", "v3"),
        ("@:80 / host:@host", "404"),
        ("@:80 / host:outer.at80.example", "v3"),
    ])
    .also(
        "
VirtualService @name = {hosts: ['@host', outer.at80.example], http: [{@v3}]}
Service @name-80 = {ports: [{name: http, port: 80, targetPort: 8080}], selector: {app: two-ports}}
",
    ),
    probe("a namespace's own ServiceEntry comes before another's Kubernetes Service, for its own calls", "", &[("/ host:squat.other", "v3"), ("/ host:squat.other.svc.cluster.local", "v3")])
        .also(
            "
Service other/squat = {ports: [{name: http, port: 8000, targetPort: 8080}], selector: {app: there}}
ServiceEntry @name = {hosts: [squat.other.svc.cluster.local], resolution: STATIC, ports: [{number: 8000, name: http, protocol: HTTP, targetPort: 8080}], endpoints: [{address: 127.0.1.3}]}
",
        ),
    probe("rules for a gateway are none in the mesh", "", &[("/", "v2")])
        .also(
            "
VirtualService @name = {hosts: ['@host'], gateways: [gw], http: [{@v3}]}
",
        ),
    probe("rules may be for the mesh and a gateway", "", &[("/", "v3")])
        .also(
            "
VirtualService @name = {hosts: ['@host'], gateways: [gw, mesh], http: [{@v3}]}
",
        ),
    probe("rules count on every port of a service", "", &[("@:8000 / host:two-ports", "v3"), ("@:8001 / host:two-ports", "v3")])
        .also(
            "
VirtualService @name = {hosts: [two-ports], http: [{@v3}]}
",
        ),
    probe("a port that does not say what it speaks carries HTTP", "", &[("@:8002 / host:unnamed", "v2")])
        .also(
            "
Service unnamed = {ports: [{name: web, port: 8002, targetPort: 8080}], selector: {app: two-ports}}
",
        ),
    probe("what a port speaks is what appProtocol says, before its name", "", &[("@:8003 / host:app-protocol", "v2")])
        .also(
            "
Service app-protocol = {ports: [{name: tcp-web, port: 8003, targetPort: 8080, appProtocol: http}], selector: {app: two-ports}}
",
        ),
    probe("an ExternalName Service is the host that it names", "", &[("/ host:alias", "v2")])
        .also(
            "
Service alias = {type: ExternalName, externalName: '@host.default.svc.cluster.local', ports: [{name: http, port: 8000}]}
",
        ),
    probe("rules for an ExternalName Service count for calls by its name", "", &[("/ host:alias-ruled", "v3"), ("/", "v2")])
        .also(
            "
Service alias-ruled = {type: ExternalName, externalName: '@host.default.svc.cluster.local', ports: [{name: http, port: 8000}]}
VirtualService @name = {hosts: [alias-ruled], http: [{@v3}]}
",
        ),
    probe("a headless Service is balanced over its Pods", "", &[("/ host:headless", "v2")])
        .also(
            "
Service headless = {clusterIP: None, ports: [{name: http, port: 8000, targetPort: 8080}], selector: {app: two-ports}}
",
        )
        .differs("A headless Service is EDS everywhere"),
    probe("a copy reaches a headless Service", "", &[("/ host:headless-mirror", "v1 copy.n=1")])
        .also(
            "
Service headless-mirror = {clusterIP: None, ports: [{name: http, port: 8000, targetPort: 8080}], selector: {app: web, version: v3}}
VirtualService @name = {hosts: [headless-mirror], http: [{mirror: {host: headless-mirror}, @v1}]}
",
        )
        .differs("an original-destination cluster on sidecars"),
    probe("a Service that is exported to another namespace is unknown here", "", &[("/ host:hidden", "404")])
        .also(
            "
Service hidden, annotations: {networking.istio.io/exportTo: other} = {ports: [{name: http, port: 8000, targetPort: 8080}], selector: {app: two-ports}}
",
        ),
    probe("a Pod that is not ready gets nothing", "", &[("/ host:half", "v2"), ("/ host:half", "v2"), ("/ host:half", "v2")])
        .also(
            "
Service half = {ports: [{name: http, port: 8000, targetPort: 8080}], selector: {half: 'yes'}}
Pod half-a, labels: {half: 'yes'} = {podIP: 127.0.1.2}
Pod half-b, labels: {half: 'yes'} = {podIP: 127.0.1.3, conditions: [{type: Ready, status: 'False'}]}
",
        ),
];

#[test]
fn hosts_of_sidecars() {
    isolated(async {
        let mut world = World::new();
        base(&mut world);
        let name = |index: usize| format!("h{index}");
        let mut objects = Vec::new();
        for (index, probe) in ALL.iter().enumerate() {
            let name = name(index);
            let own = service("default", &name, &[("http", 8000, 8080)]);
            objects.push(own.replace(&format!("app: {name}"), "app: two-ports"));
            if !probe.rules.is_empty() {
                let http = expand(probe.rules, &name, &name);
                objects.push(istio(
                    "VirtualService",
                    "default",
                    &name,
                    &format!("hosts: [{name}]\nhttp:\n{http}\n"),
                ));
            }
            objects.extend(super::objects(probe.also, &name, &name));
        }
        world.write("hosts.yaml", &all(&objects));
        world.start_umbra_with("").await;
        world.start_proxy("client", "sidecar/default/app=client").await;
        world.wait_config("client", "RoutesConfigDump", "outer.example").await;
        world.wait_share("client", "headless-mirror", 1_000_000).await;
        see(&world, ("client", ":8000"), ALL, |index| (name(index), name(index))).await;
    });
}
