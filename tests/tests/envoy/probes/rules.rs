//! Rules of a VirtualService: which of them counts, and what becomes of the request.

use umbra_testkit::isolate::isolated;
use umbra_testkit::world::World;
use umbra_tests::manifests::{all, rules, service};

use super::{Probe, base, expand, mirrors, probe, see};

/// The order of rules, matches, actions and destinations.
pub(super) const ALL: &[Probe] = &[
    // The order of rules.
    probe("a rule without a match ends the list", "- {@v2}\n- {match: [{uri: {prefix: /x}}], @v1}", &[("/x", "v2")]),
    probe(
        "an empty match is one for everything",
        "- {match: [{}], @v2}\n- {match: [{uri: {prefix: /x}}], @v1}",
        &[("/x", "v2")],
    ),
    probe(
        "a match that has a name alone is one for everything",
        "- {match: [{name: m}], @v2}\n- {match: [{uri: {prefix: /x}}], @v1}",
        &[("/x", "v2")],
    ),
    probe(
        "a match by the called port alone is one for everything",
        "- {match: [{port: 8000}], @v2}\n- {match: [{uri: {prefix: /x}}], @v1}",
        &[("/x", "v2")],
    ),
    probe("a match by another port is none", "- {match: [{port: 9999}], @v2}\n- {@v1}", &[("/", "v1")]),
    probe(
        "a match by the client's own labels alone is one for everything",
        "- {match: [{sourceLabels: {app: client}}], @v2}\n- {match: [{uri: {prefix: /x}}], @v1}",
        &[("/x", "v2")],
    ),
    probe(
        "a match by labels that the client has not all of is none",
        "- {match: [{sourceLabels: {app: client, tier: front}}], @v2}\n- {@v1}",
        &[("/", "v1")],
    ),
    probe(
        "a match by the client's namespace",
        "- {match: [{sourceNamespace: default}], @v2}\n- {@v1}",
        &[("/", "v2")],
    ),
    probe("a match by another namespace is none", "- {match: [{sourceNamespace: other}], @v2}\n- {@v1}", &[("/", "v1")]),
    probe("a match for the mesh", "- {match: [{gateways: [mesh]}], @v2}\n- {@v1}", &[("/", "v2")]),
    probe("a match for a gateway is none in the mesh", "- {match: [{gateways: [gw]}], @v2}\n- {@v1}", &[("/", "v1")]),
    probe(
        "beside gateways nobody looks at labels and namespace",
        "- {match: [{gateways: [mesh], sourceLabels: {app: nobody}, sourceNamespace: nowhere}], @v2}\n- {@v1}",
        &[("/", "v2")],
    ),
    probe(
        "a rule none of whose matches is for this client is passed over",
        "- {match: [{port: 1}, {sourceNamespace: other}], @v2}\n- {@v1}",
        &[("/", "v1")],
    ),
    probe(
        "a match for everything among others hides what comes behind it",
        "- {match: [{uri: {exact: /a}}, {uri: {prefix: /}}, {uri: {exact: /b}}], @v2}\n- {match: [{uri: {exact: /b}}], @v1}",
        &[("/a", "v2"), ("/b", "v2")],
    ),
    probe(
        "a pattern that takes every path ends the list",
        "- {match: [{uri: {regex: '.*'}}], @v2}\n- {match: [{uri: {exact: /b}}], @v1}",
        &[("/b", "v2")],
    ),
    probe(
        "every path with a condition beside it is not for everything",
        "- {match: [{uri: {prefix: /}, headers: {x-a: {exact: '1'}}}], @v2}\n- {@v1}",
        &[("/ x-a:1", "v2"), ("/", "v1")],
    ),
    probe(
        "sidecars keep the order in which rules are written",
        "- {match: [{uri: {prefix: /api}}], @v2}\n- {match: [{uri: {prefix: /api/v2}}], @v3}\n- {@v1}",
        &[("/api/v2", "v2"), ("/", "v1")],
    ),
    probe("where no rule takes it, nobody answers", "- {match: [{uri: {exact: /a}}], @v1}", &[("/a", "v1"), ("/b", "404")]),
    // Paths.
    probe(
        "a prefix is text and knows no segments",
        "- {match: [{uri: {prefix: /foo}}], @v2}\n- {@v1}",
        &[("/foobar", "v2"), ("/foo/bar", "v2"), ("/fo", "v1")],
    ),
    probe(
        "a prefix that ends in a slash leaves the name itself out",
        "- {match: [{uri: {prefix: /foo/}}], @v2}\n- {@v1}",
        &[("/foo/", "v2"), ("/foo", "v1")],
    ),
    probe(
        "an exact path is compared without its query",
        "- {match: [{uri: {exact: /a}}], @v2}\n- {@v1}",
        &[("/a?b=c", "v2"), ("/a/", "v1")],
    ),
    probe(
        "a pattern must take the whole path, without its query",
        "- {match: [{uri: {regex: '/[0-9]+'}}], @v2}\n- {@v1}",
        &[("/42", "v2"), ("/42?x", "v2"), ("/42/a", "v1"), ("/a42", "v1")],
    ),
    probe("paths are compared with case", "- {match: [{uri: {prefix: /Foo}}], @v2}\n- {@v1}", &[("/Foo", "v2"), ("/foo", "v1")]),
    probe(
        "ignoreUriCase counts for prefixes and exact paths",
        "- {match: [{uri: {prefix: /Foo}, ignoreUriCase: true}, {uri: {exact: /Bar}, ignoreUriCase: true}], @v2}\n- {@v1}",
        &[("/fOO/x", "v2"), ("/bAR", "v2"), ("/bAR/", "v1")],
    ),
    probe(
        "ignoreUriCase means nothing to a pattern",
        "- {match: [{uri: {regex: '/a+'}, ignoreUriCase: true}], @v2}\n- {@v1}",
        &[("/aa", "v2"), ("/AA", "v1")],
    ),
    // Other conditions.
    probe(
        "the authority is compared with its port, as the client sends it",
        "- {match: [{authority: {exact: '@host:8000'}}], @v2}\n- {@v1}",
        &[("/ host:@host:8000", "v2"), ("/", "v1")],
    ),
    probe(
        "the authority by prefix",
        "- {match: [{authority: {prefix: '@host'}}], @v2}\n- {@v1}",
        &[("/ host:@host:8000", "v2"), ("/", "v2"), ("/ host:@host.default", "v2")],
    ),
    probe(
        "the authority by pattern",
        "- {match: [{authority: {regex: '.*:[0-9]+'}}], @v2}\n- {@v1}",
        &[("/ host:@host:8000", "v2"), ("/", "v1")],
    ),
    probe(
        "the method by pattern",
        "- {match: [{method: {regex: 'P.*'}}], @v2}\n- {@v1}",
        &[("POST /", "v2"), ("PUT /", "v2"), ("/", "v1")],
    ),
    probe("the method is compared with case", "- {match: [{method: {exact: get}}], @v2}\n- {@v1}", &[("/", "v1")]),
    probe(
        "the scheme",
        "- {match: [{scheme: {exact: https}}], @v2}\n- {match: [{scheme: {exact: http}}], @v3}\n- {@v1}",
        &[("/", "v3")],
    ),
    probe(
        "a header by prefix and by pattern",
        "- {match: [{headers: {x-a: {prefix: ab}}}, {headers: {x-a: {regex: '[0-9]+'}}}], @v2}\n- {@v1}",
        &[("/ x-a:abc", "v2"), ("/ x-a:17", "v2"), ("/ x-a:17a", "v1"), ("/ x-a:cab", "v1"), ("/", "v1")],
    ),
    probe(
        "a header without a condition must be there",
        "- {match: [{headers: {x-a: {}}}], @v2}\n- {@v1}",
        &[("/ x-a:1", "v2"), ("/", "v1")],
    ),
    probe(
        "the old spelling of presence, a star for a pattern",
        "- {match: [{headers: {x-a: {regex: '*'}}}], @v2}\n- {@v1}",
        &[("/ x-a:anything", "v2"), ("/", "v1")],
    ),
    probe(
        "a header's name is compared without case",
        "- {match: [{headers: {X-A: {exact: '1'}}}], @v2}\n- {@v1}",
        &[("/ x-a:1", "v2")],
    ),
    probe(
        "who has not the header passes a condition against its value",
        "- {match: [{withoutHeaders: {x-a: {exact: '1'}}}], @v2}\n- {@v1}",
        &[("/", "v2"), ("/ x-a:2", "v2"), ("/ x-a:1", "v1")],
    ),
    probe(
        "a condition against presence",
        "- {match: [{withoutHeaders: {x-a: {}}}], @v2}\n- {@v1}",
        &[("/", "v2"), ("/ x-a:2", "v1")],
    ),
    probe(
        "against a pattern, a header that is missing counts as empty",
        "- {match: [{withoutHeaders: {x-a: {regex: '[a-z]*'}}}], @v2}\n- {@v1}",
        &[("/", "v1"), ("/ x-a:1", "v2"), ("/ x-a:abc", "v1")],
    ),
    probe(
        "one header may be asked for and another against",
        "- {match: [{headers: {x-a: {exact: '1'}}, withoutHeaders: {x-b: {exact: '1'}}}], @v2}\n- {@v1}",
        &[("/ x-a:1", "v2"), ("/ x-a:1 x-b:1", "v1"), ("/ x-b:2", "v1")],
    ),
    probe(
        "query parameters by value, prefix, pattern and presence",
        "- match: [{queryParams: {a: {exact: '1'}}}, {queryParams: {b: {prefix: x}}}, {queryParams: {c: {regex: '[0-9]+'}}}, {queryParams: {d: {}}}]\n  @v2\n- {@v1}",
        &[("/?a=1", "v2"), ("/?a=2", "v1"), ("/?b=xy", "v2"), ("/?c=7", "v2"), ("/?c=7a", "v1"), ("/?d", "v2"), ("/", "v1")],
    ),
    probe(
        "all conditions of one match must hold",
        "- {match: [{uri: {prefix: /a}, method: {exact: POST}, queryParams: {q: {}}}], @v2}\n- {@v1}",
        &[("POST /a?q=1", "v2"), ("/a?q=1", "v1"), ("POST /a", "v1"), ("POST /b?q=1", "v1")],
    ),
    // Rewrites.
    probe(
        "a rewrite of a prefix joins two slashes",
        "- {match: [{uri: {prefix: /foo}}], rewrite: {uri: /}, @v1}",
        &[("/foo/bar", "v1 path=//bar"), ("/foobar", "v1 path=/bar")],
    ),
    probe(
        "a prefix with a slash at its end is rewritten without",
        "- {match: [{uri: {prefix: /foo/}}], rewrite: {uri: /}, @v1}",
        &[("/foo/bar?q=1", "v1 path=/bar?q=1")],
    ),
    probe(
        "a rewrite of an exact path, or of a pattern's, replaces all of it",
        "- {match: [{uri: {exact: /a}}], rewrite: {uri: /b}, @v1}\n- {match: [{uri: {regex: '/r/.*'}}], rewrite: {uri: /s}, @v1}",
        &[("/a?q=1", "v1 path=/b?q=1"), ("/r/more", "v1 path=/s")],
    ),
    probe(
        "a rewrite by pattern takes parts of the path over",
        "- {rewrite: {uriRegexRewrite: {match: '^/user/([^/]+)/(.*)$', rewrite: '/\\2/of/\\1'}}, @v1}",
        &[("/user/anna/mail", "v1 path=/mail/of/anna"), ("/else", "v1 path=/else")],
    ),
    probe(
        "a rewritten authority is the host that the service sees",
        "- {rewrite: {authority: inner.example}, @v1}",
        &[("/", "v1 host=inner.example")],
    ),
    probe(
        "a rewritten authority beats the header",
        "- {rewrite: {authority: a.example}, headers: {request: {set: {host: b.example}}}, @v1}",
        &[("/", "v1 host=a.example")],
    ),
    probe(
        "the host may be set as a header, under both of its names",
        "- {match: [{uri: {prefix: /h}}], headers: {request: {set: {Host: b.example}}}, @v1}\n- {headers: {request: {set: {':authority': c.example}}}, @v1}",
        &[("/h", "v1 host=b.example"), ("/", "v1 host=c.example")],
    ),
    probe(
        "of the host, set beats add",
        "- {headers: {request: {add: {host: added.example}, set: {host: set.example}}}, @v1}",
        &[("/", "v1 host=set.example")],
    ),
    // Redirects and fixed answers.
    probe(
        "a redirect is 301 and keeps the query",
        "- {redirect: {uri: /new}}",
        &[("/old?q=1", "301 <location=http://@host/new?q=1")],
    ),
    probe("a redirect's status", "- {redirect: {uri: /new, redirectCode: 308}}", &[("/old", "308 <location=http://@host/new")]),
    probe(
        "a redirect to another host keeps the path",
        "- {redirect: {authority: other.example}}",
        &[("/p?q=1", "301 <location=http://other.example/p?q=1")],
    ),
    probe(
        "a redirect of a prefix keeps the rest",
        "- {match: [{uri: {prefix: /old}}], redirect: {prefixRewrite: /new}}",
        &[("/old/a", "301 <location=http://@host/new/a")],
    ),
    probe(
        "a redirect to https",
        "- {redirect: {scheme: https}}",
        &[("/p", "301 <location=https://@host/p")],
    ),
    probe(
        "a redirect to another port",
        "- {redirect: {port: 8443, scheme: https}}",
        &[("/p", "301 <location=https://@host:8443/p")],
    ),
    probe(
        "the port of the scheme itself is not written",
        "- {match: [{uri: {prefix: /s}}], redirect: {port: 443, scheme: https}}\n- {redirect: {port: 80, authority: o.example}}",
        &[("/s", "301 <location=https://@host/s"), ("/p", "301 <location=http://o.example/p")],
    ),
    probe(
        "a redirect may take the called port",
        "- {redirect: {authority: o.example, derivePort: FROM_REQUEST_PORT}}",
        &[("/p", "301 <location=http://o.example:8000/p")],
    ),
    probe(
        "a redirect beats a route beside it",
        "- {redirect: {uri: /new}, @v1}",
        &[("/", "301 <location=http://@host/new")],
    ),
    probe(
        "a redirect beats a fixed answer beside it",
        "- {redirect: {uri: /new}, directResponse: {status: 418}}",
        &[("/", "301")],
    ),
    probe(
        "a fixed answer with its body",
        "- {directResponse: {status: 418, body: {string: tea}}}",
        &[("/", "418 body=tea")],
    ),
    probe(
        "a fixed answer's body may be bytes",
        "- {directResponse: {status: 200, body: {bytes: dGVh}}}",
        &[("/", "200 body=tea")],
    ),
    probe("a fixed answer beats a route beside it", "- {directResponse: {status: 418}, @v1}", &[("/", "418")]),
    probe(
        "headers of a rule go with redirects and fixed answers",
        "- {match: [{uri: {prefix: /r}}], redirect: {uri: /new}, headers: {response: {set: {x-a: r}}}}\n- {directResponse: {status: 200}, headers: {response: {add: {x-a: d}}}}",
        &[("/r", "301 <x-a=r"), ("/", "200 <x-a=d")],
    ),
    // Headers.
    probe(
        "set replaces and add appends",
        "- {headers: {request: {set: {x-s: new}, add: {x-b: new}}}, @v1}",
        &[("/ x-s:old x-b:old", "v1 x-s=new x-b=old,new"), ("/", "v1 x-s=new x-b=new")],
    ),
    probe(
        "of one header, set comes before add",
        "- {headers: {request: {add: {x-a: added}, set: {x-a: set}}}, @v1}",
        &[("/ x-a:old", "v1 x-a=set,added")],
    ),
    probe(
        "what is removed is gone",
        "- {headers: {request: {remove: [x-a, X-B]}, response: {remove: [content-type]}}, @v1}",
        &[("/ x-a:1 x-b:2", "v1 x-a= x-b= <content-type=")],
    ),
    probe(
        "a lone destination's headers are applied too, before the rule's",
        "- headers: {request: {add: {x-a: rule}}}\n  route: [{destination: {host: web, subset: v1}, headers: {request: {add: {x-a: destination}}}}]",
        &[("/", "v1 x-a=rule,destination")],
    ),
    probe(
        "the rule's host beats a lone destination's",
        "- headers: {request: {set: {host: rule.example}}}\n  route: [{destination: {host: web, subset: v1}, headers: {request: {set: {host: destination.example}}}}]",
        &[("/", "v1 host=rule.example")],
    ),
    probe(
        "a lone destination's host counts where the rule has none",
        "- route: [{destination: {host: web, subset: v1}, headers: {request: {set: {host: destination.example}}}}]",
        &[("/", "v1 host=destination.example")],
    ),
    probe(
        "a weighted destination has headers of its own",
        "- route: [{destination: {host: web, subset: v1}, weight: 1, headers: {request: {set: {x-a: one}}, response: {set: {x-b: one}}}}, {destination: {host: web, subset: v2}, weight: 0}]",
        &[("/", "v1 x-a=one <x-b=one")],
    ),
    probe(
        "values may have substitutions, and a doubled percent sign is one",
        "- {headers: {request: {set: {x-a: '%REQ(x-b)%-100%%'}}}, @v1}",
        &[("/ x-b:b", "v1 x-a=b-100%")],
    ),
    // Destinations.
    probe(
        "a lone destination gets everything, whatever its weight",
        "- route: [{destination: {host: web, subset: v1}, weight: 0}]",
        &[("/", "v1")],
    ),
    probe(
        "of several, one without a weight gets nothing",
        "- route: [{destination: {host: web, subset: v2}}, {destination: {host: web, subset: v1}, weight: 3}]",
        &[("/", "v1"), ("/", "v1"), ("/", "v1"), ("/", "v1")],
    ),
    probe(
        "a rule without any weight is left out",
        "- route: [{destination: {host: web, subset: v2}, weight: 0}, {destination: {host: web, subset: v3}, weight: 0}]\n- {@v1}",
        &[("/", "v1")],
    )
    .differs("No weight at all: the rule is left out"),
    probe("an unknown host answers 503", "- route: [{destination: {host: nobody}}]", &[("/", "503")]),
    probe("an unknown subset answers 503", "- route: [{destination: {host: web, subset: v9}}]", &[("/", "503")]),
    probe(
        "a port that the service does not have answers 503",
        "- route: [{destination: {host: web, port: {number: 9}}}]",
        &[("/", "503")],
    ),
    probe(
        "a name with one dot is taken as it is, and is nobody",
        "- route: [{destination: {host: web.default, subset: v1}}]",
        &[("/", "503")],
    ),
    probe("a service without Pods answers 503", "- route: [{destination: {host: lonely}}]", &[("/", "503")]),
    probe(
        "a subset of a service on another port",
        "- route: [{destination: {host: web, subset: v2, port: {number: 8000}}}]",
        &[("/", "v2")],
    ),
    probe(
        "without a port the called one is meant, if the service has it",
        "- route: [{destination: {host: two-ports}}]",
        &[("/", "v2")],
    ),
    probe(
        "without a port a service's only one is meant",
        "- route: [{destination: {host: one-port}}]",
        &[("/", "v2")],
    )
    .also(
            "
Service one-port = {selector: {app: two-ports}, ports: [{name: http, port: 9000, targetPort: 8080}]}
",
        )
    .differs("A destination without a port means the service's only port"),
    // Retries.
    probe("an answer of 503 is not asked for again", "- {@v1}", &[("/status/503", "v1 n=1")]),
    probe(
        "attempts come on top of the first request",
        "- {retries: {attempts: 2, retryOn: 5xx}, @v1}",
        &[("/status/500", "v1 n=3"), ("/", "v1 n=1")],
    ),
    probe("no attempts, no retries", "- {retries: {attempts: 0}, @v1}", &[("/status/503", "v1 n=1")]),
    probe(
        "statuses may stand among the conditions, with blanks",
        "- {retries: {attempts: 1, retryOn: 'connect-failure, 418'}, @v1}",
        &[("/status/418", "v1 n=2"), ("/status/503", "v1 n=1")],
    ),
];

#[test]
fn rules_of_sidecars() {
    isolated(async {
        let mut world = World::new();
        base(&mut world);
        let there = "apiVersion: v1\nkind: Service\nmetadata: {name: there, namespace: other}\nspec: {ports: [{name: http, port: 8000, targetPort: 8080}], selector: {app: there}}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: there, namespace: other, labels: {app: there}}\nstatus: {podIP: 127.0.1.2}\n";
        world.write("there.yaml", there);
        let name = |index: usize| format!("s{index}");
        let table = [ALL, mirrors::ALL].concat();
        let mut objects = Vec::new();
        for (index, probe) in table.iter().enumerate() {
            let name = name(index);
            objects.push(service("default", &name, &[("http", 8000, 8080)]));
            objects.push(rules(&name, &name, &expand(probe.rules, &name, &name)));
            objects.extend(super::objects(probe.also, &name, &name));
        }
        world.write("rules.yaml", &all(&objects));
        world.start_umbra_with("").await;
        world.start_proxy("client", "sidecar/default/app=client").await;
        world.wait_config("client", "RoutesConfigDump", &name(table.len() - 1)).await;
        world.wait_share("client", "|v3|web", 1_000_000).await;
        see(&world, ("client", ":8000"), &table, |index| (name(index), name(index))).await;
    });
}
