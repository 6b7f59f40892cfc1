//! `umbra.v1` and `/v1/live` over a real socket, both on one port.

use std::net::SocketAddr;

use serde_json::Value;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use umbra_envoy::BootstrapOptions;
use umbra_proto::umbra::v1::type_status::State;
use umbra_proto::umbra::v1::umbra_client::UmbraClient;
use umbra_proto::umbra::v1::{
    ListMirrorsRequest, ListObjectsRequest, ListProxiesRequest, Mirror, ObjectReference, Proxy,
    WatchMirrorsRequest, WatchProxiesRequest,
};
use umbra_server::config::Options;
use umbra_server::serve::{self, Running, Setup};
use umbra_testkit::client::{Ask, Client as Http};
use umbra_testkit::net::Net;
use umbra_testkit::ports::Port;
use umbra_testkit::umbra::write;
use umbra_testkit::wait::PATIENCE;
use umbra_xds::{ResourceType, Variant};

use crate::client::{Client, Received, Say};
use crate::mesh::Mesh;

/// One umbra whose mesh is that of `words`.
struct World {
    mesh: Mesh,
    folder: tempfile::TempDir,
    running: Running,
}

impl World {
    async fn start(words: &str) -> Self {
        Self::start_with(words, |_| ()).await
    }

    async fn start_with(words: &str, change: impl FnOnce(&mut Options)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut mesh = Mesh::default();
        mesh.change(words);
        write(folder.path(), "mesh.yaml", &mesh.yaml()).expect("manifests");
        let mut setup = Setup::local(folder.path());
        setup.options.api = Some("127.0.0.1:0".to_owned());
        change(&mut setup.options);
        let running = serve::start(setup).await.expect("umbra starts");
        running.ready().await;
        World { mesh, folder, running }
    }

    fn change(&mut self, words: &str) {
        self.mesh.change(words);
        write(self.folder.path(), "mesh.yaml", &self.mesh.yaml()).expect("manifests");
    }

    fn api(&self) -> SocketAddr {
        self.running.api.expect("--api")
    }

    async fn grpc(&self) -> UmbraClient<Channel> {
        grpc(self.api()).await
    }

    /// What the gate says: the status and the body.
    async fn gate(&self, path: &str) -> (u16, Value) {
        gate(self.api(), &Ask::get("localhost", path)).await
    }

    /// A proxy that has taken everything but routes; these it is only sent.
    async fn proxy(&self, name: &str) -> (Client, Received) {
        let mut client = Client::new(Variant::Delta);
        let options = BootstrapOptions { node_id: Some(name.to_owned()), ..BootstrapOptions::default() };
        let node = umbra_envoy::build_bootstrap(&options).node.expect("a node");
        client.connect(self.running.xds, node).await;
        for (ty, what) in
            [(ResourceType::Runtime, "umbra"), (ResourceType::Cluster, "*"), (ResourceType::Listener, "*")]
        {
            client.say(ty, Say { subscribe: vec![what.to_owned()], ..Say::default() }).await;
            // The layer comes again when the class with one is known.
            for received in client.fence().await {
                answer(&mut client, received, None).await;
            }
        }
        let routes: Vec<String> = vec!["8001".to_owned(), "9999".to_owned()];
        client.say(ResourceType::Route, Say { subscribe: routes, ..Say::default() }).await;
        loop {
            let received = client.receive().await.expect("routes");
            match received.type_url == ResourceType::Route.type_url() {
                true => return (client, received),
                false => answer(&mut client, received, None).await,
            }
        }
    }
}

async fn grpc(address: SocketAddr) -> UmbraClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    UmbraClient::new(endpoint.connect().await.expect("a connection"))
}

async fn gate(address: SocketAddr, ask: &Ask) -> (u16, Value) {
    let answer = Http::new(&Net::here(), address).ask(ask).await.expect("an answer");
    (answer.status.as_u16(), serde_json::from_str(&answer.text()).unwrap_or_default())
}

/// Takes a response, or rejects it with these words.
async fn answer(client: &mut Client, received: Received, words: Option<&str>) {
    let ty = ResourceType::from_type_url(&received.type_url).expect("a type");
    client.keep(ty, &received);
    let (nonce, error) = (Some(received.nonce), words.map(str::to_owned));
    client.say(ty, Say { nonce, error, ..Say::default() }).await;
}

/// What a message says: whether it is complete, what changed, what went.
type Opened<T> = (bool, Vec<T>, Vec<String>);

/// A watch as its reader sees it: the list that the messages make up.
struct Watch<T, M> {
    updates: tonic::Streaming<M>,
    open: fn(M) -> Opened<T>,
    id: fn(&T) -> &str,
    list: Vec<T>,
}

impl<T, M> Watch<T, M> {
    /// Reads until the list is as wanted.
    async fn until(&mut self, what: &str, wanted: impl Fn(&[T]) -> bool) -> &[T] {
        let read = async {
            loop {
                let update = self.updates.message().await.expect("an update").expect("no end");
                let (complete, changed, removed) = (self.open)(update);
                self.list.retain(|it| !removed.iter().any(|id| id == (self.id)(it)));
                for new in changed {
                    let at = self.list.iter().position(|it| (self.id)(it) == (self.id)(&new));
                    match at {
                        Some(at) => self.list[at] = new,
                        None => self.list.push(new),
                    }
                }
                if complete && wanted(&self.list) {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, read).await.unwrap_or_else(|_| panic!("waited for {what}"));
        &self.list
    }
}

fn routes(proxy: &Proxy) -> Option<State> {
    proxy.types.iter().find(|it| it.r#type == "rds").map(|it| it.state())
}

#[tokio::test]
async fn proxies_are_listed_and_watched() {
    let world = World::start("+a +b a>b@25").await;
    let mut api = world.grpc().await;
    let updates = api.watch_proxies(WatchProxiesRequest::default()).await.expect("a watch").into_inner();
    let mut watch = Watch {
        updates,
        open: |update| (update.complete, update.changed, update.removed),
        id: |proxy: &Proxy| &proxy.id,
        list: Vec::new(),
    };
    watch.until("nobody", <[_]>::is_empty).await;
    let (mut client, received) = world.proxy("web-1").await;
    watch.until("routes to be sent", |all| all.len() == 1 && routes(&all[0]) == Some(State::Sent)).await;
    answer(&mut client, received, Some("bad\nroute")).await;
    let seen = watch.until("a rejection", |all| routes(&all[0]) == Some(State::Rejected)).await;
    let rejected = seen[0].types.iter().find(|it| it.r#type == "rds").expect("routes");
    assert_eq!(rejected.nack_message, "bad route");
    assert!(rejected.nacked_generation > 0 && rejected.nacked.is_some(), "{rejected:?}");
    assert_eq!(rejected.rejected, ["8001", "9999"]);

    let listed = api.list_proxies(ListProxiesRequest::default()).await.expect("a list").into_inner();
    assert_eq!(listed.proxies, watch.list);
    let (proxy, replica) = (&listed.proxies[0], listed.replica.expect("a replica"));
    assert_eq!((proxy.node_id.as_str(), proxy.namespace.as_str()), ("web-1", "default"));
    assert_eq!(proxy.replica, replica.name);
    assert!(proxy.peer.starts_with("127.0.0.1:") && proxy.id.starts_with(&replica.id), "{proxy:?}");
    assert!(proxy.class.as_ref().is_some_and(|class| class.rtds), "{proxy:?}");
    let other = ListProxiesRequest { namespace: "other".to_owned() };
    assert!(api.list_proxies(other).await.expect("a list").into_inner().proxies.is_empty());

    client.disconnect();
    watch.until("nobody any more", <[_]>::is_empty).await;
    world.running.stop();
    let end = tokio::time::timeout(PATIENCE, watch.updates.message()).await.expect("an end in time");
    assert_eq!(end.expect_err("no more updates").code(), Code::Unavailable);
}

#[tokio::test]
async fn mirrors_are_listed_and_watched() {
    let mut world = World::start("+a +b a>b@25").await;
    let mut api = world.grpc().await;
    let updates = api.watch_mirrors(WatchMirrorsRequest::default()).await.expect("a watch").into_inner();
    let mut watch = Watch {
        updates,
        open: |update| (update.complete, update.changed, update.removed),
        id: |mirror: &Mirror| &mirror.id,
        list: Vec::new(),
    };
    let of_a = |all: &[Mirror]| all.iter().find(|it| it.id == "default/a/spec.http[0].mirror").cloned();
    watch.until("the mirror", |all| of_a(all).is_some_and(|it| (it.live, it.total) == (0, 0))).await;
    let (mut client, received) = world.proxy("web-1").await;
    watch.until("a proxy", |all| of_a(all).is_some_and(|it| (it.live, it.total) == (0, 1))).await;
    answer(&mut client, received, None).await;
    watch.until("it to be live", |all| of_a(all).is_some_and(|it| (it.live, it.total) == (1, 1))).await;

    let listed = api.list_mirrors(ListMirrorsRequest::default()).await.expect("a list").into_inner();
    assert_eq!(listed.mirrors, watch.list);
    let mirror = of_a(&listed.mirrors).expect("the mirror");
    let rule = ObjectReference {
        group: "networking.istio.io".to_owned(),
        kind: "VirtualService".to_owned(),
        namespace: "default".to_owned(),
        name: "a".to_owned(),
    };
    assert_eq!(mirror.rule, Some(rule));
    assert_eq!((mirror.route.as_str(), mirror.target.as_str()), ("main", "b"));
    assert_eq!(mirror.hosts, ["a"]);
    assert_eq!(mirror.parts_per_million, Some(250_000));
    assert_eq!(mirror.runtime_key, "mirror/default/a/main/||b.default.svc.cluster.local");
    assert_eq!(mirror.clusters.len(), 1, "{mirror:?}");
    assert_eq!(mirror.clusters[0].name, "mirror|8002||b.default.svc.cluster.local");
    assert_eq!(mirror.clusters[0].ready_endpoints, 1);
    assert_eq!(mirror.problem, None);

    world.change("b:0");
    let idle = watch.until("no endpoints", |all| of_a(all).is_some_and(|it| it.problem.is_some())).await;
    let idle = of_a(idle).and_then(|it| it.problem).expect("a problem");
    assert_eq!((idle.code.as_str(), idle.severity.as_str()), ("NoEndpoints", "warning"));
    world.change("a>");
    watch.until("no mirror", |all| of_a(all).is_none()).await;
}

#[tokio::test]
async fn the_gate_opens_when_every_proxy_has_taken_the_object() {
    const PATH: &str = "/v1/live/VirtualService/default/a";
    let mut world = World::start("+a +b a>b@25").await;
    let (status, body) = world.gate(PATH).await;
    assert_eq!(status, 409, "{body}");
    assert_eq!(body["message"], "no connected proxy gets anything of it");
    let (mut client, received) = world.proxy("web-1").await;
    let (status, body) = world.gate(PATH).await;
    assert_eq!(status, 409, "{body}");
    assert_eq!(body["message"], "live on 0 of 1 proxies: web-1 has not taken rds/8001 yet");
    answer(&mut client, received, Some("bad route")).await;
    client.fence().await;
    let (status, body) = world.gate(PATH).await;
    assert_eq!(status, 409, "{body}");
    assert_eq!(body["message"], "live on 0 of 1 proxies: web-1 rejected rds/8001: bad route");
    // What comes next mends it.
    world.change("+c a>c@25");
    loop {
        let received = client.receive().await.expect("the next configuration");
        let routes = received.resources.contains_key("8001");
        answer(&mut client, received, None).await;
        if routes {
            break;
        }
    }
    client.fence().await;
    for ask in [
        Ask::get("localhost", PATH),
        Ask::get("localhost", "/v1/live/vs/default/a"),
        Ask::get("localhost", "/v1/live/virtualservices/default/a"),
        Ask::post(
            "umbra",
            PATH,
            r#"{"name": "a", "namespace": "default", "phase": "Progressing", "metadata": {}}"#,
        ),
    ] {
        let (status, body) = gate(world.api(), &ask).await;
        assert_eq!((status, &body["message"]), (200, &"live on 1 of 1 proxies".into()), "{body}");
        assert_eq!((&body["live"], &body["total"]), (&1.into(), &1.into()), "{body}");
        assert_eq!(body["object"]["name"], "a");
    }
    let mut cleartext = Http::new(&Net::here(), world.api()).http2();
    assert_eq!(cleartext.ask(&Ask::get("localhost", PATH)).await.expect("an answer").status, 200);
    // Everything that --api serves, --admin does too.
    let (status, body) = gate(world.running.admin, &Ask::get("localhost", PATH)).await;
    assert_eq!(status, 200, "{body}");
    let admin = grpc(world.running.admin).await.list_proxies(ListProxiesRequest::default()).await;
    assert_eq!(admin.expect("a list").into_inner().proxies.len(), 1);

    for (path, wanted, part) in [
        ("/v1/live/VirtualService/default/nobody", 409, "umbra knows no VirtualService default/nobody"),
        ("/v1/live/Pod/default/a", 400, "VirtualService (vs)"),
        ("/v1/live/vs/default/a?generation=x", 400, "metadata.generation"),
        ("/v1/live/vs/default/a?generation=1", 409, "comes from a file"),
    ] {
        let (status, body) = world.gate(path).await;
        let message = body["message"].as_str().unwrap_or_default();
        assert!(status == wanted && message.contains(part), "{path}: {status} {body}");
    }
}

#[tokio::test]
async fn limits_hold() {
    let world = World::start("+a").await;
    let mut api = world.grpc().await;
    let mut open = Vec::new();
    for _ in 0..8 {
        open.push(api.watch_mirrors(WatchMirrorsRequest::default()).await.expect("a watch").into_inner());
    }
    let refused = api.watch_proxies(WatchProxiesRequest::default()).await.expect_err("one too many");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    open.clear();
    let again = async {
        while api.watch_proxies(WatchProxiesRequest::default()).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.expect("room again");
    let many = ListObjectsRequest {
        objects: vec![ObjectReference::default(); 1001],
        ..ListObjectsRequest::default()
    };
    assert_eq!(api.list_objects(many).await.expect_err("too many").code(), Code::InvalidArgument);
    let namespace = "x".repeat(2 << 20);
    let large = api.list_proxies(ListProxiesRequest { namespace }).await.expect_err("too large");
    assert_eq!(large.code(), Code::OutOfRange, "{large}");
    for (length, wanted) in [(1 << 10, 409), (1 << 20, 413)] {
        let ask = Ask::post("umbra", "/v1/live/vs/default/marker", vec![b' '; length]);
        let (status, body) = gate(world.api(), &ask).await;
        assert_eq!(status, wanted, "{length}: {body}");
    }
}

#[tokio::test]
async fn replicas_are_asked_and_a_silent_one_keeps_the_gate_shut() {
    const PATH: &str = "/v1/live/vs/default/marker";
    let other = World::start("+a").await;
    // A port that nobody listens on, and the second replica's own.
    let (nobody, ours) = (Port::free().expect("a port"), Port::free().expect("a port"));
    let (closed, own) = (nobody.local(), ours.local());
    let start = |peers: Vec<String>| {
        World::start_with("+a", move |options| {
            (options.api, options.peers) = (Some(own.to_string()), Some(peers));
        })
    };
    let world = start(vec![other.api().to_string(), own.to_string()]).await;
    let (mut here, received) = world.proxy("here").await;
    answer(&mut here, received, None).await;
    here.fence().await;
    let (status, body) = world.gate(PATH).await;
    assert_eq!((status, &body["total"]), (200, &1.into()), "itself counts once: {body}");
    let (mut there, received) = other.proxy("there").await;
    let (status, body) = world.gate(PATH).await;
    assert_eq!((status, &body["live"], &body["total"]), (409, &1.into(), &2.into()), "{body}");
    assert!(body["message"].as_str().is_some_and(|it| it.contains("there has not taken")), "{body}");
    answer(&mut there, received, None).await;
    there.fence().await;
    let (status, body) = world.gate(PATH).await;
    assert_eq!((status, &body["live"], &body["total"]), (200, &2.into(), &2.into()), "{body}");
    world.running.stop();
    world.running.wait().await.expect("an end");

    let world = start(vec![other.api().to_string(), closed.to_string()]).await;
    let (status, body) = world.gate(PATH).await;
    assert_eq!(status, 409, "{body}");
    let message = body["message"].as_str().unwrap_or_default();
    assert!(
        message.starts_with("not every replica answers") && message.contains(&closed.to_string()),
        "{body}"
    );
    assert_eq!(body["silent"].as_array().map(Vec::len), Some(1), "{body}");
}

/// A gate waits for the lists of the others, which must not wait for gates.
#[tokio::test]
async fn replicas_that_ask_each_other_at_once_all_answer() {
    let (first, second) = (Port::free().expect("a port"), Port::free().expect("a port"));
    let (one, two) = (first.local(), second.local());
    let peers = vec![one.to_string(), two.to_string()];
    let start = async |api: SocketAddr| {
        let peers = peers.clone();
        World::start_with("+a", |options| {
            (options.api, options.peers) = (Some(api.to_string()), Some(peers));
        })
        .await
    };
    let worlds = [start(one).await, start(two).await];
    let mut proxies = Vec::new();
    for world in &worlds {
        let (mut client, received) = world.proxy("web").await;
        answer(&mut client, received, None).await;
        client.fence().await;
        proxies.push(client);
    }
    let asked = (0..64).flat_map(|_| &worlds).map(|world| world.gate("/v1/live/vs/default/marker"));
    for (status, body) in futures::future::join_all(asked).await {
        assert_eq!((status, &body["live"]), (200, &2.into()), "{body}");
    }
}
