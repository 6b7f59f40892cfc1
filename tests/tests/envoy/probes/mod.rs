//! What each rule of Istio's comes to on the wire: a table of statements, each with objects, requests and what becomes of
//! them. One world holds all statements about one sort of proxy, each with a host of its own, so that a hundred of them
//! cost one start of an Envoy.
//!
//! A statement is as Istio has it, unless it says where docs/compatibility.md declares that it differs.

mod gateway;
mod known;
mod mirrors;
mod policies;
mod rules;
mod sidecar;

use std::fmt::Write as _;

use umbra_testkit::client::Ask;
use umbra_testkit::paths::workspace;
use umbra_testkit::world::World;
use umbra_tests::manifests::{pod, service, web};

/// A statement and how to see it.
#[derive(Clone, Copy)]
struct Probe {
    /// What holds, in one sentence.
    says: &'static str,
    /// Rules (`spec.http`) for the statement's own host; empty: no VirtualService of it.
    rules: &'static str,
    /// Further objects, one in a line: see [`objects`].
    also: &'static str,
    /// Requests, and what becomes of each: see [`request`] and [`wrong`].
    asks: &'static [(&'static str, &'static str)],
    /// What the compatibility page says of it, where Istio does otherwise.
    differs: Option<&'static str>,
}

const fn probe(
    says: &'static str,
    rules: &'static str,
    asks: &'static [(&'static str, &'static str)],
) -> Probe {
    Probe { says, rules, also: "", asks, differs: None }
}

impl Probe {
    const fn also(self, also: &'static str) -> Self {
        Probe { also, ..self }
    }

    const fn differs(self, words: &'static str) -> Self {
        Probe { differs: Some(words), ..self }
    }
}

/// In rules and objects: `@v1` is the action "to v1 of `web`", `@host` and `@name` the statement's own host and its name.
fn expand(text: &str, name: &str, host: &str) -> String {
    let mut text = text.to_owned();
    for version in ["v1", "v2", "v3"] {
        let route =
            format!("route: [{{destination: {{host: web.default.svc.cluster.local, subset: {version}}}}}]");
        text = text.replace(&format!("@{version}"), &route);
    }
    text.replace("@host", host).replace("@name", name)
}

/// Objects written as `KIND [NAMESPACE/]NAME[, further metadata] = {spec}` (of a Pod: status), one in a line.
fn objects(text: &str, name: &str, host: &str) -> Vec<String> {
    let object = |line: &str| {
        let (head, body) = line.split_once(" = ").unwrap_or_else(|| panic!("an odd line: {line}"));
        let (kind, meta) = head.split_once(' ').expect("kind and name");
        let (id, further) = meta.split_once(", ").unwrap_or((meta, ""));
        let (namespace, id) = id.split_once('/').unwrap_or(("default", id));
        let group = if ["Service", "Pod"].contains(&kind) { "v1" } else { "networking.istio.io/v1" };
        let part = if kind == "Pod" { "status" } else { "spec" };
        let meta = format!("{{name: '{id}', namespace: {namespace}, {further}}}");
        format!("apiVersion: {group}\nkind: {kind}\nmetadata: {meta}\n{part}: {body}\n")
    };
    expand(text, name, host).lines().filter(|line| !line.is_empty()).map(object).collect()
}

/// `[METHOD] PATH [name:value]…`; the header `host` is the statement's own host unless it is given.
fn request(text: &str, host: &str) -> Ask {
    let mut words = text.split(' ').peekable();
    let method = words.next_if(|word| !word.starts_with('/')).unwrap_or("GET");
    let mut ask = Ask::get(host, words.next().expect("a path"));
    ask.method = method.parse().expect("a method");
    for word in words {
        let (name, value) = word.split_once(':').expect("name:value");
        match name {
            "host" => ask.host = value.to_owned(),
            _ => ask = ask.header(name, value),
        }
    }
    ask
}

/// What of an expectation does not hold; empty: all does. Its first word is who answers (`v1`), or the status of an answer
/// by somebody else; then, each optional, `<name=value` a header of the answer, `body=text`; `name=value` a header that the
/// service got, or `path`, `host`, `n` (how many requests it got); the same of a copy at v3 behind `copy.`. Where no word
/// begins with `copy`, no other service got a request.
async fn wrong(world: &World, at: &str, ask: &Ask, expected: &str) -> String {
    world.forget().await;
    let answer = world.ask(at, ask).await;
    world.settle().await;
    let mut wrong = String::new();
    let mut words = expected.split(' ');
    let by = match answer.served_by() {
        "" => answer.status.as_u16().to_string(),
        name => name.to_owned(),
    };
    let wanted = words.next().unwrap_or_default();
    if by != wanted {
        let _ = write!(wrong, "{by} instead of {wanted}; ");
    }
    let words: Vec<&str> = words.collect();
    let server = if answer.served_by().is_empty() { "v1" } else { answer.served_by() };
    for word in &words {
        let (name, value) = word.split_once('=').expect("name=value");
        let seen = match name.strip_prefix('<') {
            Some(name) => answer.headers.get(name).map_or("", |v| v.to_str().unwrap_or("?")).to_owned(),
            None if name == "body" => answer.text(),
            None => match name.strip_prefix("copy.") {
                Some(name) => recorded(world, "v3", name),
                None => recorded(world, server, name),
            },
        };
        if seen != value {
            let _ = write!(wrong, "{name} is {seen:?} instead of {value:?}; ");
        }
    }
    if !words.iter().any(|word| word.starts_with("copy")) {
        let others = world.counts().into_iter().filter(|(name, count)| *name != server && *count > 0);
        for (name, count) in others {
            let _ = write!(wrong, "{count} copies at {name}; ");
        }
    }
    wrong
}

/// What a service got last.
fn recorded(world: &World, service: &str, name: &str) -> String {
    let records = world.echo(service).records();
    if name == "n" {
        return records.len().to_string();
    }
    let Some(record) = records.last() else { return "nothing".to_owned() };
    match name {
        "path" => record.path.clone(),
        "host" => record.host.clone(),
        _ => {
            let all = record.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
            all.collect::<Vec<_>>().join(",")
        }
    }
}

/// Services, Pods and echo services that statements send to: `web` with its versions, and `lonely` without any Pod.
fn base(world: &mut World) {
    for n in 1..=3 {
        world.start_echo(&format!("v{n}"), &format!("127.0.1.{n}:8080"));
    }
    world.write("web.yaml", &web());
    world.write("lonely.yaml", &service("default", "lonely", &[("http", 8000, 8080)]));
    let two = [("http-a", 8000, 8080), ("http-b", 8001, 8080)];
    world.write("two.yaml", &service("default", "two-ports", &two));
    world.write("two-pod.yaml", &pod("default", "two-ports", "a", "127.0.1.2", true));
}

/// Sees every statement of a table, by its name and host; all that is wrong is told at once.
async fn see(
    world: &World,
    (proxy, at): (&str, &str),
    table: &[Probe],
    names: impl Fn(usize) -> (String, String),
) {
    let page = std::fs::read_to_string(workspace().join("docs/compatibility.md")).expect("the page");
    let mut failed = String::new();
    for (index, probe) in table.iter().enumerate() {
        let (name, host) = names(index);
        if let Some(words) = probe.differs
            && !page.contains(words)
        {
            let _ = writeln!(failed, "{}: docs/compatibility.md does not say {words:?}", probe.says);
        }
        for (ask, expected) in probe.asks {
            // `@:9000 /path` asks another port, `@127.0.0.5:80 /path` another address.
            let (at, ask) = match ask.strip_prefix('@').and_then(|rest| rest.split_once(' ')) {
                Some((other, ask)) => (other, ask),
                None => (at, *ask),
            };
            let (ask, expected) = (expand(ask, &name, &host), expand(expected, &name, &host));
            let wrong = wrong(world, at, &request(&ask, &host), &expected).await;
            if !wrong.is_empty() {
                let _ = writeln!(failed, "{} ({host}): {ask}: {wrong}", probe.says);
            }
        }
    }
    assert!(failed.is_empty(), "{failed}");
    // Some statements are about clusters that are none.
    let mut wrongs = world.proxy(proxy).wrongs().await.expect("statistics");
    wrongs.retain(|statistic, _| !statistic.ends_with(".no_cluster"));
    assert!(wrongs.is_empty(), "{wrongs:?}");
}

/// So many statements there are at least, here and in the tests that `known` lists.
#[test]
fn there_are_enough_statements() {
    let tables = [rules::ALL, mirrors::ALL, sidecar::ALL, gateway::ALL, policies::ALL];
    let here: Vec<&Probe> = tables.into_iter().flatten().collect();
    let elsewhere = known::count();
    assert!(here.len() + elsewhere >= 170, "{} here, {elsewhere} elsewhere", here.len());
    let mut names: Vec<&str> = here.iter().map(|probe| probe.says).collect();
    names.sort_unstable();
    let twice: Vec<_> = names.windows(2).filter(|pair| pair[0] == pair[1]).collect();
    assert!(twice.is_empty(), "{twice:?}");
}
