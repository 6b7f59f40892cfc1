//! Conversations as text: `>` lines are what happens, `<` lines are all that the client is told because of it.
//!
//! What happens:
//! - `mesh +a b~3 a>b`: one change of the mesh ([`crate::mesh::Mesh::change`]); before the first request it is what
//!   umbra starts with
//! - `sub cds a b`: delta subscribe; `bring eds a`: the same with the versions of what the client has; `unsub eds a`
//! - `names eds a b`: the whole list of state of the world, with the newest nonce; `names eds^1 a` with the one
//!   before it
//! - `ack eds`, `nack eds why`: answers the newest response of a type, `ack eds^1` the one before it
//! - `everything`: a client of the mesh `+a +b` asks for all there is and takes it, see [`EVERYTHING`]
//! - `away`: the stream ends; the next request opens another
//! - `shown cds`: what `/debug/proxies` and `/metrics` say of refusals
//! - `live`: whether the proxy counts as having taken everything
//! - `many`: the client divides the runtime into 64 layers; said before it connects
//! - `plain`: the client does not ask for the runtime layer; what it is told comes out at the next `await rds`: one
//!   response, and what is behind it; once it asks with `sub rtds umbra` it is like the others
//!
//! What it is told: `cds +a ~b =c -d`: a is new to it, b has changed, c is what it has, d is gone (in state of the
//! world: left out of a complete response). `rtds a>b=250000` are the shares of a million that changed.
//!
//! Every client but a plain one asks for the runtime layer first. Each change of the mesh changes a share of the
//! marker; when that arrives, so has all that the change leads to, since the runtime layer comes last.

use std::collections::BTreeMap;

use serde_json::Value;
use tempfile::TempDir;
use umbra_envoy::{BootstrapOptions, RuntimeLayer};
use umbra_proto::envoy::service::runtime::v3::Runtime;
use umbra_proto::google::protobuf::value::Kind;
use umbra_server::serve::{self, Running, Setup};
use umbra_testkit::client::{Ask, Client as Http};
use umbra_testkit::net::Net;
use umbra_testkit::{umbra, wait};
use umbra_xds::{ResourceType, Variant};

use crate::client::{Client, Received, Say};
use crate::mesh::{MARKER, Mesh, full_name, short_name};

/// The runtime's one layer, as the bootstraps of before name it; a client of many asks for 64.
const LAYER: &str = "umbra";

/// How a client of the mesh `+a +b` comes to have everything, type by type as Envoy does; ASK is the variant's verb.
const EVERYTHING: &str = "> ASK cds
    < cds +a +b
    > ASK eds a b
    < eds +a +b
    > ack eds
    > ack cds
    > ASK lds
    < lds +a +b
    > ack lds
    > ASK rds a b
    < rds +a +b
    > ack rds";

struct Conversation {
    client: Client,
    mesh: Mesh,
    folder: TempDir,
    running: Option<Running>,
    plain: bool,
    /// It divides the runtime into 64 layers.
    many: bool,
    /// Runtime layers that came since the first on this stream, and how many there should be.
    layers: (usize, usize),
    shares: BTreeMap<String, u32>,
    /// The same by the layer that says them.
    by_layer: BTreeMap<String, BTreeMap<String, u32>>,
    said: Vec<String>,
}

/// Plays a conversation in one variant and compares every answer.
pub(crate) fn check(variant: Variant, script: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(play(variant, script));
}

async fn play(variant: Variant, script: &str) {
    let mut conversation = Conversation {
        client: Client::new(variant),
        mesh: Mesh::default(),
        folder: tempfile::tempdir().unwrap(),
        running: None,
        plain: false,
        many: false,
        layers: (0, 0),
        shares: BTreeMap::new(),
        by_layer: BTreeMap::new(),
        said: Vec::new(),
    };
    let verb = match variant {
        Variant::Sotw => "names",
        Variant::Delta => "sub",
    };
    let script = script.replace("> everything", &EVERYTHING.replace("ASK", verb));
    let (mut played, mut expected) = (Vec::new(), Vec::new());
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        println!("{line}");
        expected.push(line.to_owned());
        if let Some(input) = line.strip_prefix("> ") {
            played.push(line.to_owned());
            conversation.input(input).await;
            played.extend(conversation.said.drain(..).map(|said| format!("< {said}")));
        }
    }
    assert_eq!(played, expected, "{variant:?}, played:\n{}\n", played.join("\n"));
    conversation.check_counts().await;
}

impl Conversation {
    async fn input(&mut self, line: &str) {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb {
            "mesh" => self.change(rest).await,
            "away" => {
                self.check_counts().await;
                self.client.disconnect();
            }
            "plain" => self.plain = true,
            "many" => self.many = true,
            "await" => {
                let received = self.client.receive().await.expect("a response");
                self.take(received).await;
                self.fence().await;
            }
            "shown" => self.show(rest).await,
            "live" => {
                let view = self.proxy().await;
                let live = view["ackedGeneration"] == view["generation"];
                self.said.push(format!("live {}", if live { "yes" } else { "no" }));
            }
            _ => self.request(verb, rest).await,
        }
    }

    async fn change(&mut self, words: &str) {
        self.mesh.change(words);
        umbra::write(self.folder.path(), "mesh.yaml", &self.mesh.yaml()).unwrap();
        if self.client.connected() && !self.plain {
            self.layers.1 += 1;
            self.until_marked().await;
        }
    }

    /// Takes responses until the runtime layer of the present mesh is there, and what comes behind it.
    async fn until_marked(&mut self) {
        while self.shares.get(&format!("{MARKER}>{MARKER}")) != Some(&(self.mesh.number * 100)) {
            let received = self.client.receive().await.expect("a response");
            self.take(received).await;
        }
        self.fence().await;
    }

    async fn fence(&mut self) {
        for received in self.client.fence().await {
            self.take(received).await;
        }
    }

    async fn request(&mut self, verb: &str, rest: &str) {
        if !self.client.connected() {
            self.connect().await;
        }
        let mut words = rest.split_whitespace();
        let (ty, back) =
            words.next().unwrap().split_once('^').unwrap_or((rest.split(' ').next().unwrap(), "0"));
        let ty = ResourceType::ALL.into_iter().find(|it| it.short_name() == ty).unwrap();
        let nonce = Some(self.client.nonce(ty, back.parse().unwrap()));
        if ty == ResourceType::Runtime {
            // A plain client asks for the layer after all: one is the answer.
            self.plain = false;
            self.layers.1 += 1;
        }
        let names = || rest.split_whitespace().skip(1).map(|word| full_name(ty, word)).collect();
        let say = match verb {
            "sub" => Say { subscribe: names(), ..Say::default() },
            "bring" => Say { subscribe: names(), bring: true, ..Say::default() },
            "unsub" => Say { unsubscribe: names(), ..Say::default() },
            "names" => Say { subscribe: names(), nonce, list: true, ..Say::default() },
            "ack" => Say { nonce, ..Say::default() },
            "nack" => Say { nonce, error: Some(words.collect::<Vec<_>>().join(" ")), ..Say::default() },
            other => panic!("what is {other}?"),
        };
        self.client.say(ty, say).await;
        // Nothing tells a plain client whether umbra has its snapshot yet.
        if !self.plain {
            self.fence().await;
        }
    }

    async fn connect(&mut self) {
        if self.running.is_none() {
            let running = serve::start(Setup::local(self.folder.path())).await.expect("umbra starts");
            running.ready().await;
            self.running = Some(running);
        }
        let options = BootstrapOptions { node_id: Some("client".to_owned()), ..BootstrapOptions::default() };
        let node = umbra_envoy::build_bootstrap(&options).node.expect("a node");
        self.client.connect(self.running().xds, node).await;
        self.shares = BTreeMap::new();
        self.by_layer = BTreeMap::new();
        if !self.plain {
            let subscribe = match self.many {
                true => RuntimeLayer::all(2).map(|layer| layer.to_string()).collect(),
                false => vec![LAYER.to_owned()],
            };
            let say = Say { subscribe, list: true, ..Say::default() };
            self.client.say(ResourceType::Runtime, say).await;
            self.until_marked().await;
            self.said.clear();
            self.layers = (0, 0);
        }
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("umbra runs")
    }

    /// Notes a response. The runtime layer's are acknowledged here.
    async fn take(&mut self, received: Received) {
        let Some(ty) = ResourceType::from_type_url(&received.type_url) else { return };
        let mut words = vec![ty.to_string()];
        for (name, body) in &received.resources {
            let sign = match self.client.has(ty, name) {
                None => '+',
                Some(had) if had == body => '=',
                Some(_) => '~',
            };
            words.extend(short_name(ty, name).map(|name| format!("{sign}{name}")));
        }
        words.extend(
            received.removed.iter().filter_map(|name| short_name(ty, name)).map(|name| format!("-{name}")),
        );
        self.client.keep(ty, &received);
        if ty != ResourceType::Runtime {
            return self.said.push(words.join(" "));
        }
        self.layers.0 += 1;
        for (name, body) in &received.resources {
            self.by_layer.insert(name.clone(), shares(&body.value));
        }
        received.removed.iter().for_each(|name| drop(self.by_layer.remove(name)));
        if self.layers.0 > 1 && self.many {
            // Those of the mirror and of the marker that tells changes apart.
            assert!(received.resources.len() <= 2, "{} layers for one change", received.resources.len());
        }
        let new: BTreeMap<String, u32> =
            self.by_layer.values().flatten().map(|(k, v)| (k.clone(), *v)).collect();
        let changed = new.iter().filter(|(key, share)| self.shares.get(*key) != Some(share));
        let gone = self.shares.keys().filter(|key| !new.contains_key(*key)).map(|key| format!("-{key}"));
        let words: Vec<_> = changed.map(|(key, share)| format!("{key}={share}")).chain(gone).collect();
        let words: Vec<_> = words.into_iter().filter(|word| !word.starts_with(MARKER)).collect();
        if !words.is_empty() {
            self.said.push(format!("rtds {}", words.join(" ")));
        }
        self.shares = new;
        let nonce = Some(received.nonce);
        self.client.say(ty, Say { nonce, ..Say::default() }).await;
    }

    async fn http(&self, path: &str) -> String {
        let mut client = Http::new(&Net::here(), self.running().admin);
        client.ask(&Ask::get("localhost", path)).await.expect("an answer").text()
    }

    /// The client's entry in `/debug/proxies`, when only one stream is left.
    async fn proxy(&self) -> Value {
        let one = wait::until(wait::PATIENCE, || async {
            let all: Value = serde_json::from_str(&self.http("/debug/proxies").await).unwrap();
            let list = all["proxies"].as_array().unwrap();
            (list.len() == 1).then(|| list[0].clone())
        });
        one.await.expect("one proxy in /debug/proxies")
    }

    async fn show(&mut self, ty: &str) {
        let view = self.proxy().await;
        let kind = ResourceType::ALL.into_iter().find(|it| it.short_name() == ty).unwrap();
        let shown = &view["types"][ty];
        let names = |list: &Value| {
            let names = list.as_array().into_iter().flatten().filter_map(Value::as_str);
            names.filter_map(|name| short_name(kind, name)).collect::<Vec<_>>().join(" ")
        };
        let metric = format!("umbra_xds_nacks_total{{type=\"{ty}\"}} ");
        let metrics = self.http("/metrics").await;
        let count = metrics.lines().find_map(|line| line.strip_prefix(&metric)).unwrap_or("0");
        let (nack, state) = (&shown["lastNack"], shown["state"].as_str().unwrap());
        let (message, all) = (nack["message"].as_str().unwrap_or_default(), names(&nack["resources"]));
        self.said.push(format!(
            "{} {state} [{}] {message:?} [{all}] {count}",
            view["node"].as_str().unwrap(),
            names(&shown["rejected"])
        ));
    }

    /// The server has sent just what has come, and one layer for each change.
    async fn check_counts(&mut self) {
        if !self.client.connected() {
            return;
        }
        self.fence().await;
        assert_eq!(self.layers.0, self.layers.1, "one layer for each change of the mesh");
        assert!(self.said.is_empty(), "told for no reason: {:?}", self.said);
        let view = self.proxy().await;
        for ty in ResourceType::ALL {
            let sent = view["types"][ty.short_name()]["pushes"].as_u64().unwrap_or_default();
            assert_eq!(sent, self.client.count(ty) as u64, "{ty} responses sent, and received");
        }
    }
}

/// The shares of a layer, with `a>b` for the mirror of a to b.
fn shares(layer: &[u8]) -> BTreeMap<String, u32> {
    let layer: Runtime = prost::Message::decode(layer).unwrap();
    let fields = layer.layer.expect("a layer").fields.into_iter();
    let share = |value: Option<Kind>| match value {
        Some(Kind::StructValue(share)) => match share.fields["numerator"].kind {
            Some(Kind::NumberValue(number)) => number as u32,
            _ => panic!("a numerator is a number"),
        },
        other => panic!("a share is a struct: {other:?}"),
    };
    fields
        .map(|(key, value)| {
            let parts: Vec<_> = key.split('/').collect();
            let host = parts[4].rsplit('|').next().unwrap().split('.').next().unwrap();
            (format!("{}>{host}", parts[2]), share(value.kind))
        })
        .collect()
}
