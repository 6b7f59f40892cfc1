//! Conversations as text: `>` lines are inputs, `<` lines are what the session must answer, nothing more or less.
//!
//! Inputs:
//! - `put cds/a=1:e rds/r=1:a,b -eds/e`: the next snapshot; body after `=`, what it requires after `:`, `-` removes
//! - `other cds/a=1`: a snapshot of another lineage with just this
//! - `sub eds x y init x=1`: delta subscribe, with versions of these bodies as the initial ones; `unsub eds x`
//!   (`EMPTY` is the empty name)
//! - `names eds x y`: state-of-the-world list with the last nonce received, `names #1 eds x` with nonce 1
//! - `ack cds`, `nack cds why`: answers the newest response of the type; `ack #1 cds` one nonce
//! - `wait 5s`: time passes; `acked`: prints the acknowledged generation; `due`: seconds to the next deadline
//! - `rtds/l=1~300s`: a layer that lives for 300 s
//! - `rds/t=1:@`: a route configuration whose hosts are resources of their own, `vhds/t/a=1!x:c` such a host, with what
//!   is its alone after `!`; `init t=@` brings the version that was sent; `lose`: the stream is lost, and the next begins
//!
//! Outputs: `cds#1 +a=1 -b` (delta), `cds#1 a=1 b=1` (state-of-the-world), `nack rds r: why`,
//! `lag rds r for a b`, `acked 3`, `due 5s`; `+t/~` is a marker with the version of its route configuration, `+t/~!` one with
//! another; `^l` in delta says that `l` lives on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use umbra_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use umbra_proto::google::rpc::Status;
use umbra_xds::{
    Change, Decoded, Output, Request, Requirement, Resource, ResourceType, Session, SessionEvent, Snapshot,
    Variant,
};

pub(crate) fn ty(name: &str) -> ResourceType {
    ResourceType::ALL
        .into_iter()
        .find(|ty| ty.short_name() == name)
        .unwrap_or_else(|| panic!("no type {name}"))
}

/// Names, split by commas, of the type that one of `resource_type` requires.
pub(crate) fn required(resource_type: ResourceType, names: &str) -> Vec<Requirement> {
    let names = names.split(',').filter(|name| !name.is_empty());
    names.map(|name| Requirement::new(resource_type.requires()[0], name)).collect()
}

/// `cds/a=1:e,f`
fn resource(text: &str) -> (ResourceType, Resource) {
    let (head, body) = text.split_once('=').unwrap();
    let (kind, name) = head.split_once('/').unwrap();
    let (body, requires) = body.split_once(':').unwrap_or((body, ""));
    let requires = match requires {
        "@" => vec![Requirement::new(ResourceType::VirtualHost, format!("{name}/~"))],
        _ => required(ty(kind), requires),
    };
    let (body, ttl) = body.split_once('~').unwrap_or((body, ""));
    let exclusive = body.split_once('!').map_or(0, |(_, own)| own.bytes().map(u64::from).sum());
    let resource = Resource::new(ty(kind), name, body, requires).with_exclusive(exclusive);
    match ttl.strip_suffix('s').map(|seconds| Duration::from_secs(seconds.parse().unwrap())) {
        Some(ttl) => (ty(kind), resource.with_ttl(ty(kind), ttl)),
        None => (ty(kind), resource),
    }
}

fn change(text: &str) -> Change {
    if let Some(gone) = text.strip_prefix('-') {
        let (kind, name) = gone.split_once('/').unwrap();
        return Change::remove(ty(kind), name);
    }
    let (ty, resource) = resource(text);
    Change::put(ty, resource)
}

struct Conversation {
    session: Session,
    now: Duration,
    snapshot: Snapshot,
    names: BTreeMap<ResourceType, Vec<String>>,
    last: BTreeMap<ResourceType, String>,
    said: Vec<String>,
    /// Versions as they were sent, by type and name.
    wire: BTreeMap<(ResourceType, String), String>,
}

impl Conversation {
    fn input(&mut self, line: &str) {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let words: Vec<&str> = rest.split_whitespace().collect();
        let output = match verb {
            "put" | "other" => {
                let generation = self.snapshot.generation() + 1;
                if verb == "other" {
                    self.snapshot = Snapshot::empty(self.snapshot.lineage() + 1, generation - 1);
                }
                self.snapshot = self.snapshot.next(generation, words.into_iter().map(change));
                self.session.on_snapshot(Arc::new(self.snapshot.clone()), self.now)
            }
            "lose" => {
                self.session = Session::seeded(self.session.variant(), self.now.as_secs());
                self.last.clear();
                self.now += Duration::from_secs(1);
                self.session.on_snapshot(Arc::new(self.snapshot.clone()), self.now)
            }
            "wait" => {
                self.now += Duration::from_secs(rest.strip_suffix('s').unwrap().parse().unwrap());
                self.session.on_timer(self.now)
            }
            "acked" => {
                self.said.push(format!("acked {}", self.session.acked_generation()));
                return;
            }
            "due" => {
                let due = self.session.next_deadline();
                self.said
                    .push(due.map_or("never".to_owned(), |at| format!("due {}s", (at - self.now).as_secs())));
                return;
            }
            _ => {
                let request = self.request(verb, &words);
                self.session.on_request(request, self.now).unwrap()
            }
        };
        self.output(output);
    }

    fn request(&mut self, verb: &str, words: &[&str]) -> Request {
        let (nonce, words) = match words[0].strip_prefix('#') {
            Some(nonce) => (Some(nonce.to_owned()), &words[1..]),
            None => (None, words),
        };
        let ty = ty(words[0]);
        let strings = |words: &[&str]| words.iter().map(|word| word.replace("EMPTY", "")).collect::<Vec<_>>();
        let rest = &words[1..];
        let answers = matches!(verb, "ack" | "nack");
        let error_detail =
            (verb == "nack").then(|| Status { code: 3, message: rest.join(" "), ..Default::default() });
        let last = || self.last.get(&ty).cloned().unwrap_or_default();
        if self.session.variant() == Variant::Delta {
            let split = rest.iter().position(|word| *word == "init").unwrap_or(rest.len());
            let initial = rest.get(split + 1..).unwrap_or_default().iter().map(|pair| {
                let (name, body) = pair.split_once('=').unwrap();
                let sent = || self.wire.get(&(ty, name.to_owned())).cloned().unwrap_or_default();
                let version =
                    if body == "@" { sent() } else { umbra_xds::version(body.as_bytes()).to_string() };
                (name.to_owned(), version)
            });
            let request = DeltaDiscoveryRequest {
                type_url: ty.type_url().to_owned(),
                response_nonce: if answers { nonce.unwrap_or_else(last) } else { String::new() },
                initial_resource_versions: initial.collect(),
                error_detail,
                ..Default::default()
            };
            return Request::Delta(match verb {
                "sub" => {
                    DeltaDiscoveryRequest { resource_names_subscribe: strings(&rest[..split]), ..request }
                }
                "unsub" => DeltaDiscoveryRequest { resource_names_unsubscribe: strings(rest), ..request },
                _ => request,
            });
        }
        let response_nonce = nonce.unwrap_or_else(last);
        if !answers {
            self.names.insert(ty, strings(rest));
        }
        Request::Sotw(DiscoveryRequest {
            type_url: ty.type_url().to_owned(),
            resource_names: self.names.get(&ty).cloned().unwrap_or_default(),
            response_nonce,
            error_detail,
            ..Default::default()
        })
    }

    fn output(&mut self, output: Output) {
        for response in output.responses {
            let ty = ResourceType::from_type_url(response.type_url()).unwrap();
            self.last.insert(ty, response.nonce());
            let body = |any: &[u8]| String::from_utf8(any.to_vec()).unwrap();
            let mut words = vec![format!("{ty}#{}", response.nonce())];
            match response.decode().unwrap() {
                Decoded::Delta(response) => {
                    for resource in &response.resources {
                        self.wire.insert((ty, resource.name.clone()), resource.version.clone());
                        words.push(match resource.name.strip_suffix("/~") {
                            Some(table) => {
                                let of = self.wire.get(&(ResourceType::Route, table.to_owned()));
                                let other = if of == Some(&resource.version) { "" } else { "!" };
                                format!("+{}{other}", resource.name)
                            }
                            None => match &resource.resource {
                                Some(any) => format!("+{}={}", resource.name, body(&any.value)),
                                None => format!("^{}", resource.name),
                            },
                        });
                    }
                    words.extend(response.removed_resources.iter().map(|name| format!("-{name}")));
                }
                Decoded::Sotw(response) => {
                    // The protocol carries the name inside the message; here the name stands in the snapshots.
                    words.extend(response.resources.iter().map(|any| body(&any.value)));
                }
            }
            self.said.push(words.join(" "));
        }
        for event in output.events {
            match event {
                SessionEvent::Nack { resource_type, message, names, .. } => {
                    self.said.push(format!("nack {resource_type} {}: {message}", names.join(" ")));
                }
                SessionEvent::Lag { resource_type, names, waiting_for } => {
                    let mut line = format!("lag {resource_type} {}", names.join(" "));
                    if !waiting_for.is_empty() {
                        line += &format!(" for {}", waiting_for.join(" "));
                    }
                    self.said.push(line);
                }
                SessionEvent::Push { .. } | SessionEvent::Ack { .. } => {}
            }
        }
    }
}

/// Plays a conversation and compares every answer.
pub(crate) fn check(variant: Variant, title: &str, script: &str) {
    let mut conversation = Conversation {
        session: Session::seeded(variant, 1),
        now: Duration::from_secs(1000),
        snapshot: Snapshot::empty(1, 0),
        names: BTreeMap::new(),
        last: BTreeMap::new(),
        said: Vec::new(),
        wire: BTreeMap::new(),
    };
    let mut played = Vec::new();
    let mut expected = Vec::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        expected.push(line.to_owned());
        if let Some(input) = line.strip_prefix("> ") {
            played.push(line.to_owned());
            conversation.input(input);
            played.extend(conversation.said.drain(..).map(|said| format!("< {said}")));
        }
    }
    assert_eq!(played, expected, "{title} ({variant:?})\nplayed:\n{}\n", played.join("\n"));
}
