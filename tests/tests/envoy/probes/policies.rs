//! DestinationRules and ServiceEntries: which one counts for whom, and which endpoints a host has.

use umbra_testkit::isolate::isolated;
use umbra_testkit::world::World;
use umbra_tests::manifests::{all, pod, rules, service};

use super::{Probe, base, expand, probe, see};

/// Each has a Service of its own name over the three versions, and a VirtualService with its rules.
pub(super) const ALL: &[Probe] = &[
    // DestinationRules.
    probe("a subset is the Pods with its labels", "- {route: [{destination: {host: '@host', subset: s}}]}", &[("/", "v2")])
        .also(
            "
DestinationRule @name = {host: '@host', subsets: [{name: s, labels: {version: v2}}]}
",
        ),
    probe("a subset without labels is all", "- {route: [{destination: {host: one-pod, subset: s}}]}", &[("/", "v2")])
        .also(
            "
DestinationRule @name = {host: one-pod, subsets: [{name: s}]}
Service one-pod = {ports: [{name: http, port: 8000, targetPort: 8080}], selector: {app: two-ports}}
",
        ),
    probe("a subset that no Pod fits answers 503", "- {route: [{destination: {host: '@host', subset: s}}]}", &[("/", "503")])
        .also(
            "
DestinationRule @name = {host: '@host', subsets: [{name: s, labels: {version: v9}}]}
",
        ),
    probe("a mirror to a subset that no Pod fits costs nothing", "- {mirror: {host: '@host', subset: s}, @v1}", &[("/", "v1")])
        .also(
            "
DestinationRule @name = {host: '@host', subsets: [{name: s, labels: {version: v9}}]}
",
        ),
    probe("rules of one namespace for one host are one", "- {match: [{uri: {prefix: /b}}], route: [{destination: {host: '@host', subset: b}}]}\n- {route: [{destination: {host: '@host', subset: a}}]}", &[("/", "v1"), ("/b", "v2")])
        .also(
            "
DestinationRule @name-a = {host: '@host', subsets: [{name: a, labels: {version: v1}}]}
DestinationRule @name-b = {host: '@host', subsets: [{name: b, labels: {version: v2}}]}
",
        ),
    probe("of a subset that is defined twice the older definition counts", "- {route: [{destination: {host: '@host', subset: s}}]}", &[("/", "v2")])
        .also(
            "
DestinationRule @name-a, creationTimestamp: '2021-01-01T00:00:00Z' = {host: '@host', subsets: [{name: s, labels: {version: v1}}]}
DestinationRule @name-b, creationTimestamp: '2020-01-01T00:00:00Z' = {host: '@host', subsets: [{name: s, labels: {version: v2}}]}
",
        ),
    probe("rules that differ in whom they are for are one here", "- {match: [{uri: {prefix: /b}}], route: [{destination: {host: '@host', subset: b}}]}\n- {route: [{destination: {host: '@host', subset: a}}]}", &[("/", "v1"), ("/b", "v2")])
        .also(
            "
DestinationRule @name-a = {host: '@host', exportTo: [default], subsets: [{name: a, labels: {version: v1}}]}
DestinationRule @name-b = {host: '@host', exportTo: ['*'], subsets: [{name: b, labels: {version: v2}}]}
",
        )
        .differs("all visible rules of that host are merged"),
    probe("a wider exportTo is not lost in a narrower one of an older rule", "- {route: [{destination: {host: '@host', subset: b}}]}", &[("/", "v2")])
        .also(
            "
DestinationRule @name-a = {host: '@host', exportTo: [other], subsets: [{name: a, labels: {version: v1}}]}
DestinationRule @name-b = {host: '@host', exportTo: [other, default], subsets: [{name: b, labels: {version: v2}}]}
",
        )
        .differs("all visible rules of that host are merged"),
    probe("a rule for some clients takes in none for everybody", "- {route: [{destination: {host: '@host', subset: b}}]}", &[("/", "v2")])
        .also(
            "
DestinationRule @name-a = {host: '@host', workloadSelector: {matchLabels: {app: nobody}}, subsets: [{name: a, labels: {version: v1}}]}
DestinationRule @name-b = {host: '@host', exportTo: ['.'], subsets: [{name: b, labels: {version: v2}}]}
",
        )
        .differs("it may hide a rule for a wider host from them, or take in a rule for everybody"),
    probe("any rule of the client's namespace hides those of the service's", "- {route: [{destination: {host: hider.other.svc.cluster.local, subset: s}}]}", &[("/", "503")])
        .also(
            "
Service other/hider = {ports: [{name: http, port: 8000, targetPort: 8080}], selector: {app: web}}
DestinationRule other/hider = {host: hider, subsets: [{name: s, labels: {version: v2}}]}
DestinationRule @name = {host: 'hider.other.svc.cluster.local', trafficPolicy: {loadBalancer: {simple: RANDOM}}}
",
        ),
    probe("rules of the service's namespace count where the client's has none", "- {route: [{destination: {host: shown.other.svc.cluster.local, subset: s}}]}", &[("/", "v2")])
        .also(
            "
Service other/shown = {ports: [{name: http, port: 8000, targetPort: 8080}], selector: {app: there}}
DestinationRule other/shown = {host: shown, subsets: [{name: s, labels: {version: v2}}]}
",
        ),
    probe("rules of the service's namespace that are not exported do not count", "- {route: [{destination: {host: kept.other.svc.cluster.local, subset: s}}]}", &[("/", "503")])
        .also(
            "
Service other/kept = {ports: [{name: http, port: 8000, targetPort: 8080}], selector: {app: there}}
DestinationRule other/kept = {host: kept, exportTo: ['.'], subsets: [{name: s, labels: {version: v2}}]}
",
        ),
    probe("a rule that the client cannot see hides none that it can", "- {route: [{destination: {host: seen.second.svc.cluster.local, subset: s}}]}", &[("/", "v2")])
        .also(
            "
Service second/seen = {ports: [{name: http, port: 8000, targetPort: 8080}], selector: {app: there}}
DestinationRule second/seen = {host: seen, exportTo: ['.'], subsets: [{name: none, labels: {version: v2}}]}
DestinationRule second/seen-star = {host: '*.second.svc.cluster.local', exportTo: ['*'], subsets: [{name: s, labels: {version: v2}}]}
Pod second/there, labels: {app: there, version: v2} = {podIP: 127.0.1.2}
",
        )
        .differs("DestinationRules that the client cannot see are passed over"),
    probe("rules of the root namespace count where nobody else has any", "- {route: [{destination: {host: '@host', subset: s}}]}", &[("/", "v3")])
        .also(
            "
DestinationRule istio-system/@name = {host: '@host.default.svc.cluster.local', subsets: [{name: s, labels: {version: v3}}]}
",
        ),
    probe("a short host in a DestinationRule is of its own namespace", "- {route: [{destination: {host: '@host', subset: s}}]}", &[("/", "503")])
        .also(
            "
DestinationRule istio-system/@name = {host: '@host', subsets: [{name: s, labels: {version: v3}}]}
",
        ),
    probe("the closest host of a namespace's rules counts", "- {route: [{destination: {host: x.close.example, subset: s}}]}", &[("/", "v2")])
        .also(
            "
ServiceEntry @name = {hosts: [x.close.example], resolution: STATIC, ports: [{number: 8000, name: http, protocol: HTTP, targetPort: 8080}], endpoints: [{address: 127.0.1.1, labels: {version: v1}}, {address: 127.0.1.2, labels: {version: v2}}]}
DestinationRule @name-a = {host: '*.close.example', subsets: [{name: s, labels: {version: v1}}]}
DestinationRule @name = {host: x.close.example, subsets: [{name: s, labels: {version: v2}}]}
",
        ),
    probe("a rule may be for clients with some labels", "- {match: [{uri: {prefix: /mine}}], route: [{destination: {host: mine, subset: s}}]}\n- {route: [{destination: {host: theirs, subset: s}}]}", &[("/mine", "v2"), ("/", "503")])
        .also(
            "
Service mine = {ports: [{name: http, port: 8000, targetPort: 8080}], selector: {app: web}}
Service theirs = {ports: [{name: http, port: 8000, targetPort: 8080}], selector: {app: web}}
DestinationRule mine = {host: mine, workloadSelector: {matchLabels: {app: client}}, subsets: [{name: s, labels: {version: v2}}]}
DestinationRule theirs = {host: theirs, workloadSelector: {matchLabels: {app: nobody}}, subsets: [{name: s, labels: {version: v2}}]}
",
        ),
    probe("a mirror has its subset from the same rule as a destination", "- {mirror: {host: '@host', subset: s}, @v1}", &[("/", "v1 copy.n=1")])
        .also(
            "
DestinationRule @name = {host: '@host', subsets: [{name: s, labels: {version: v3}}]}
",
        ),
    // ServiceEntries.
    probe("an endpoint's port is its own, else the targetPort, else the number", "", &[("@:8000 / host:own.entry.example", "v1"), ("@:8000 / host:target.entry.example", "v2"), ("@:8080 / host:number.entry.example", "v3")])
        .also(
            "
ServiceEntry @name-own = {hosts: [own.entry.example], resolution: STATIC, ports: [{number: 8000, name: http, protocol: HTTP, targetPort: 1}], endpoints: [{address: 127.0.1.1, ports: {http: 8080}}]}
ServiceEntry @name-target = {hosts: [target.entry.example], resolution: STATIC, ports: [{number: 8000, name: http, protocol: HTTP, targetPort: 8080}], endpoints: [{address: 127.0.1.2}]}
ServiceEntry @name-number = {hosts: [number.entry.example], resolution: STATIC, ports: [{number: 8080, name: http, protocol: HTTP}], endpoints: [{address: 127.0.1.3}]}
",
        ),
    probe("an entry's host is taken as it is written", "", &[("/ host:plain-entry", "v2"), ("/ host:plain-entry.default", "404")])
        .also(
            "
ServiceEntry @name = {hosts: [plain-entry], resolution: STATIC, ports: [{number: 8000, name: http, protocol: HTTP, targetPort: 8080}], endpoints: [{address: 127.0.1.2}]}
",
        ),
    probe("a Service comes before an entry of the same name", "", &[("/ host:both.default.svc.cluster.local", "v2")])
        .also(
            "
Service both = {ports: [{name: http, port: 8000, targetPort: 8080}], selector: {app: two-ports}}
ServiceEntry @name = {hosts: [both.default.svc.cluster.local], resolution: STATIC, ports: [{number: 8000, name: http, protocol: HTTP, targetPort: 8080}], endpoints: [{address: 127.0.1.1}]}
",
        ),
    probe("two entries of one namespace for one host are one", "", &[("@:8000 / host:merged.example", "v1"), ("@:8001 / host:merged.example", "v3")])
        .also(
            "
ServiceEntry @name-a = {hosts: [merged.example], resolution: STATIC, ports: [{number: 8000, name: http-a, protocol: HTTP, targetPort: 8080}], endpoints: [{address: 127.0.1.1}]}
ServiceEntry @name-b = {hosts: [merged.example], resolution: STATIC, ports: [{number: 8001, name: http-b, protocol: HTTP, targetPort: 8080}], endpoints: [{address: 127.0.1.3}]}
",
        ),
    probe("of two namespaces' entries for one host the client's own counts", "", &[("/ host:mine-first.example", "v2")])
        .also(
            "
ServiceEntry aaa/@name = {hosts: [mine-first.example], resolution: STATIC, ports: [{number: 8000, name: http, protocol: HTTP, targetPort: 8080}], endpoints: [{address: 127.0.1.1}]}
ServiceEntry @name = {hosts: [mine-first.example], resolution: STATIC, ports: [{number: 8000, name: http, protocol: HTTP, targetPort: 8080}], endpoints: [{address: 127.0.1.2}]}
",
        ),
    probe("an entry that is exported elsewhere is unknown here", "", &[("/ host:elsewhere.example", "404")])
        .also(
            "
ServiceEntry other/@name = {hosts: [elsewhere.example], exportTo: ['.'], resolution: STATIC, ports: [{number: 8000, name: http, protocol: HTTP, targetPort: 8080}], endpoints: [{address: 127.0.1.1}]}
",
        ),
    probe("a destination of the own namespace is taken though its entry is exported elsewhere", "- {route: [{destination: {host: unseen.example}}]}", &[("/", "v2"), ("/ host:unseen.example", "404")])
        .also(
            "
ServiceEntry @name = {hosts: [unseen.example], exportTo: [other], resolution: STATIC, ports: [{number: 8000, name: http, protocol: HTTP, targetPort: 8080}], endpoints: [{address: 127.0.1.2}]}
",
        ),
    probe("an entry that is exported to nobody is no destination", "- {route: [{destination: {host: nobodys.example}}]}", &[("/", "503")])
        .also(
            "
ServiceEntry @name = {hosts: [nobodys.example], exportTo: ['~'], resolution: STATIC, ports: [{number: 8000, name: http, protocol: HTTP, targetPort: 8080}], endpoints: [{address: 127.0.1.2}]}
",
        ),
    probe("an entry may be for every name of a domain", "", &[("/ host:a.wide.example", "v2"), ("/ host:a.b.wide.example", "v2"), ("/ host:wide.example", "404")])
        .also(
            "
ServiceEntry @name = {hosts: ['*.wide.example'], resolution: STATIC, ports: [{number: 8000, name: http, protocol: HTTP, targetPort: 8080}], endpoints: [{address: 127.0.1.2}]}
",
        ),
    probe("an entry's endpoints may be Pods of its namespace", "", &[("/ host:selected.example", "v2")])
        .also(
            "
ServiceEntry @name = {hosts: [selected.example], workloadSelector: {labels: {app: two-ports}}, resolution: STATIC, ports: [{number: 8000, name: http, protocol: HTTP, targetPort: 8080}]}
",
        ),
    probe("an entry's endpoints may be WorkloadEntries", "", &[("/ host:workloads.example", "v3")])
        .also(
            "
ServiceEntry @name = {hosts: [workloads.example], workloadSelector: {labels: {vm: 'yes'}}, resolution: STATIC, ports: [{number: 8000, name: http, protocol: HTTP, targetPort: 8080}]}
WorkloadEntry @name = {address: 127.0.1.3, labels: {vm: 'yes'}}
",
        ),
    probe("an entry's subset is its endpoints with the labels", "- {route: [{destination: {host: sub.example, subset: s}}]}", &[("/", "v2")])
        .also(
            "
ServiceEntry @name = {hosts: [sub.example], resolution: STATIC, ports: [{number: 8000, name: http, protocol: HTTP, targetPort: 8080}], endpoints: [{address: 127.0.1.1, labels: {version: v1}}, {address: 127.0.1.2, labels: {version: v2}}]}
DestinationRule @name = {host: sub.example, subsets: [{name: s, labels: {version: v2}}]}
",
        ),
    probe("an address that was called is not known without capture", "", &[("/ host:none.example", "503")])
        .also(
            "
ServiceEntry @name = {hosts: [none.example], ports: [{number: 8000, name: http, protocol: HTTP}]}
",
        ),
    probe("a copy to a service outside the mesh has its host, and the port where it is not the scheme's", "- {mirror: {host: out.example}, @v1}", &[("/", "v1 copy.host=out.example-shadow:8000")])
        .also(
            "
ServiceEntry @name = {hosts: [out.example], location: MESH_EXTERNAL, resolution: STATIC, ports: [{number: 8000, name: http, protocol: HTTP, targetPort: 8080}], endpoints: [{address: 127.0.1.3}]}
",
        )
        .differs("A copy that leaves the mesh"),
    probe("a copy to a service inside keeps the caller's host", "- {mirror: {host: in.example}, @v1}", &[("/", "v1 copy.host=@host-shadow")])
        .also(
            "
ServiceEntry @name = {hosts: [in.example], location: MESH_INTERNAL, resolution: STATIC, ports: [{number: 8000, name: http, protocol: HTTP, targetPort: 8080}], endpoints: [{address: 127.0.1.3}]}
",
        ),
    probe("a mirror to an address that is not known copies nothing", "- {mirror: {host: none-mirror.example}, @v1}", &[("/", "v1")])
        .also(
            "
ServiceEntry @name = {hosts: [none-mirror.example], ports: [{number: 8000, name: http, protocol: HTTP}]}
",
        ),
    probe("of several ports of an entry the called one is meant", "- {route: [{destination: {host: ports.example}}]}", &[("/", "v2")])
        .also(
            "
ServiceEntry @name = {hosts: [ports.example], resolution: STATIC, ports: [{number: 8000, name: http, protocol: HTTP, targetPort: 8080}, {number: 8001, name: http-b, protocol: HTTP, targetPort: 1}], endpoints: [{address: 127.0.1.2}]}
",
        ),
    probe("an entry without endpoints answers 503", "", &[("/ host:hollow.example", "503")])
        .also(
            "
ServiceEntry @name = {hosts: [hollow.example], resolution: STATIC, ports: [{number: 8000, name: http, protocol: HTTP}]}
",
        ),
];

#[test]
fn policies_and_entries() {
    isolated(async {
        let mut world = World::new();
        base(&mut world);
        let name = |index: usize| format!("p{index}");
        let mut objects = vec![pod("other", "there", "v2", "127.0.1.2", true)];
        for (index, probe) in ALL.iter().enumerate() {
            let name = name(index);
            let own = service("default", &name, &[("http", 8000, 8080)]);
            objects.push(own.replace(&format!("app: {name}"), "app: web"));
            if !probe.rules.is_empty() {
                objects.push(rules(&name, &name, &expand(probe.rules, &name, &name)));
            }
            objects.extend(super::objects(probe.also, &name, &name));
        }
        world.write("policies.yaml", &all(&objects));
        world.start_umbra_with("").await;
        world.start_proxy("client", "sidecar/default/app=client").await;
        world.wait_config("client", "RoutesConfigDump", "ports.example").await;
        world.wait_share("client", "out.example", 1_000_000).await;
        see(&world, ("client", ":8000"), ALL, |index| (name(index), name(index))).await;
    });
}
