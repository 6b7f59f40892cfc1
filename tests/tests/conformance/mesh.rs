//! A small mesh as words, and as the one file that umbra serves: each change of it is one change for umbra.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use umbra_tests::manifests::{all, istio, pod, rules, service};
use umbra_xds::ResourceType;

/// What every configuration carries besides, so that its runtime layer tells which one it is.
pub(crate) const MARKER: &str = "marker";

/// Services of one letter, each with a port of its own.
#[derive(Debug, Default)]
pub(crate) struct Mesh {
    services: BTreeMap<char, Service>,
    /// Counts the changes.
    pub(crate) number: u32,
}

#[derive(Debug)]
struct Service {
    pods: u8,
    connect_timeout: u32,
    mirror: Option<(char, String)>,
}

impl Mesh {
    /// Takes one change: `+a` a service with one pod, `-a` none, `a:2` two pods, `a~3` a connect timeout of 3 s,
    /// `a>b` everything mirrored to b, `a>b@25` 25 %, `a>` nothing.
    pub(crate) fn change(&mut self, words: &str) {
        self.number += 1;
        for word in words.split_whitespace() {
            let mut letters = word.chars();
            let (first, second) = (letters.next().unwrap(), letters.next().unwrap());
            let rest = letters.as_str();
            match (first, second) {
                ('+', name) => {
                    let new = Service { pods: 1, connect_timeout: 10, mirror: None };
                    self.services.insert(name, new);
                }
                ('-', name) => drop(self.services.remove(&name)),
                (name, verb) => {
                    let service = self.services.get_mut(&name).unwrap_or_else(|| panic!("no {name}"));
                    match verb {
                        ':' => service.pods = rest.parse().unwrap(),
                        '~' => service.connect_timeout = rest.parse().unwrap(),
                        '>' => {
                            let (to, share) = rest.split_once('@').unwrap_or((rest, "100"));
                            service.mirror = to.chars().next().map(|to| (to, share.to_owned()));
                        }
                        other => panic!("what is {other} in {word}?"),
                    }
                }
            }
        }
    }

    /// The whole of it.
    pub(crate) fn yaml(&self) -> String {
        let marked = format!("{}", f64::from(self.number) / 100.0);
        let mut objects = vec![
            service("default", MARKER, &[("http", 9999, 8080)]),
            pod("default", MARKER, "v1", "10.9.9.1", true),
            rules(MARKER, MARKER, &mirrored(MARKER, MARKER, &marked)),
        ];
        for (name, it) in &self.services {
            let (n, name) = (number(*name), name.to_string());
            objects.push(service("default", &name, &[("http", 8000 + n, 8080)]));
            for index in 1..=it.pods {
                let ip = format!("10.0.{n}.{index}");
                objects.push(pod("default", &name, &format!("v{index}"), &ip, true));
            }
            let tcp = format!("connectionPool:\n  tcp: {{connectTimeout: {}s}}", it.connect_timeout);
            let policy = format!("host: {name}\ntrafficPolicy:\n  {}", tcp.replace('\n', "\n  "));
            objects.push(istio("DestinationRule", "default", &name, &policy));
            if let Some((to, share)) = &it.mirror {
                objects.push(rules(&name, &name, &mirrored(&name, &to.to_string(), share)));
            }
        }
        all(&objects)
    }
}

fn mirrored(from: &str, to: &str, share: &str) -> String {
    let mut rule = String::new();
    let _ = writeln!(rule, "- name: main\n  route:\n  - destination: {{host: {from}}}");
    let _ = writeln!(rule, "  mirror: {{host: {to}}}\n  mirrorPercentage: {{value: {share}}}");
    rule
}

fn number(service: char) -> u16 {
    u16::from(service as u8 - b'a') + 1
}

/// The resource that a word of a script means: `a`, in CDS also `mirror:a`, `?x` the name x itself, `EMPTY` no name.
pub(crate) fn full_name(ty: ResourceType, word: &str) -> String {
    if let Some(literal) = word.strip_prefix('?') {
        return literal.to_owned();
    }
    let (role, service) = word.split_once(':').unwrap_or(("outbound", word));
    let port = || 8000 + number(service.chars().next().unwrap());
    match (word, ty) {
        ("EMPTY", _) => String::new(),
        ("*", _) | (_, ResourceType::Runtime | ResourceType::Secret) => word.to_owned(),
        (_, ResourceType::Listener) => format!("127.0.0.1_{}", port()),
        (_, ResourceType::Route) => port().to_string(),
        (_, ResourceType::VirtualHost) => {
            format!("hosts/{0}/{service}.default.svc.cluster.local:{0}", port())
        }
        (_, ResourceType::Cluster | ResourceType::Endpoint) => {
            format!("{role}|{}||{service}.default.svc.cluster.local", port())
        }
    }
}

/// The word for a resource; `None` for what belongs to the marker.
pub(crate) fn short_name(ty: ResourceType, name: &str) -> Option<String> {
    if name.contains("9999") {
        return None;
    }
    let service = |port: &str| {
        Some(char::from(b'a' + u8::try_from(port.parse::<u16>().ok()?.checked_sub(8001)?).ok()?))
    };
    let known = match ty {
        ResourceType::Cluster | ResourceType::Endpoint => {
            let mut parts = name.split('|');
            let role = if parts.next() == Some("mirror") { "mirror:" } else { "" };
            parts.next().and_then(service).map(|it| format!("{role}{it}"))
        }
        ResourceType::Listener => name.rsplit('_').next().and_then(service).map(String::from),
        ResourceType::Route => service(name).map(String::from),
        ResourceType::VirtualHost => name.rsplit(':').next().and_then(service).map(String::from),
        ResourceType::Runtime | ResourceType::Secret => Some(name.to_owned()),
    };
    Some(known.unwrap_or_else(|| format!("?{name}")))
}
