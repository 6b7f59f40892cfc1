//! A client of ADS in either variant, which keeps what it was told and checks what holds for every response.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::Streaming;
use tonic::transport::Endpoint;
use umbra_proto::envoy::config::cluster::v3::Cluster;
use umbra_proto::envoy::config::core::v3::Node;
use umbra_proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
use umbra_proto::envoy::config::listener::v3::Listener;
use umbra_proto::envoy::config::route::v3::{RouteConfiguration, VirtualHost};
use umbra_proto::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use umbra_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use umbra_proto::envoy::service::runtime::v3::Runtime;
use umbra_proto::google::protobuf::Any;
use umbra_proto::google::rpc::Status;
use umbra_testkit::wait::PATIENCE;
use umbra_xds::{ResourceType, Variant};

/// A type that nobody serves: each request for a new name of it is answered, behind everything that the requests
/// before it led to.
const FENCE: &str = "type.googleapis.com/umbra.test.Fence";

enum Stream {
    Delta(mpsc::Sender<DeltaDiscoveryRequest>, Streaming<DeltaDiscoveryResponse>),
    Sotw(mpsc::Sender<DiscoveryRequest>, Streaming<DiscoveryResponse>),
}

/// A response, alike in both variants.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) type_url: String,
    pub(crate) nonce: String,
    /// State of the world: of the whole response.
    version: String,
    /// Delta: of each resource.
    versions: BTreeMap<String, String>,
    pub(crate) resources: BTreeMap<String, Any>,
    /// In a state-of-the-world response: what the client had and a complete response leaves out.
    pub(crate) removed: BTreeSet<String>,
}

/// What to say in a request, alike in both variants.
#[derive(Clone, Debug, Default)]
pub(crate) struct Say {
    pub(crate) subscribe: Vec<String>,
    pub(crate) unsubscribe: Vec<String>,
    /// Bring the versions of what this client has.
    pub(crate) bring: bool,
    /// State of the world: `subscribe` is the list from now on.
    pub(crate) list: bool,
    pub(crate) nonce: Option<String>,
    pub(crate) error: Option<String>,
}

/// One type on a client.
#[derive(Debug, Default)]
struct Type {
    has: BTreeMap<String, Any>,
    versions: BTreeMap<String, String>,
    /// What it watches by name.
    names: Vec<String>,
    /// Responses of this stream.
    received: Vec<Received>,
    unanswered: BTreeSet<String>,
    /// What may come although the client has it.
    asked: BTreeSet<String>,
}

/// See the module.
pub(crate) struct Client {
    pub(crate) variant: Variant,
    stream: Option<Stream>,
    node: Option<Node>,
    types: BTreeMap<ResourceType, Type>,
    fences: u32,
}

impl Client {
    pub(crate) fn new(variant: Variant) -> Self {
        Self { variant, stream: None, node: None, types: BTreeMap::new(), fences: 0 }
    }

    pub(crate) fn connected(&self) -> bool {
        self.stream.is_some()
    }

    /// Opens a stream; `node` goes with the first request only.
    pub(crate) async fn connect(&mut self, server: SocketAddr, node: Node) {
        self.connect_without_node(server).await;
        self.node = Some(node);
    }

    /// Opens a stream and will not say who it is.
    pub(crate) async fn connect_without_node(&mut self, server: SocketAddr) {
        let channel = Endpoint::from_shared(format!("http://{server}")).unwrap().connect().await.unwrap();
        let mut client = AggregatedDiscoveryServiceClient::new(channel);
        for ty in self.types.values_mut() {
            // What it has it keeps, and of the rest nothing is left of the last stream.
            *ty = Type {
                has: std::mem::take(&mut ty.has),
                versions: std::mem::take(&mut ty.versions),
                ..Type::default()
            };
        }
        self.stream = Some(match self.variant {
            Variant::Delta => {
                let (send, requests) = mpsc::channel(64);
                let responses =
                    client.delta_aggregated_resources(ReceiverStream::new(requests)).await.unwrap();
                Stream::Delta(send, responses.into_inner())
            }
            Variant::Sotw => {
                let (send, requests) = mpsc::channel(64);
                let responses =
                    client.stream_aggregated_resources(ReceiverStream::new(requests)).await.unwrap();
                Stream::Sotw(send, responses.into_inner())
            }
        });
    }

    pub(crate) fn disconnect(&mut self) {
        self.stream = None;
    }

    /// The nonce of the newest response of a type, or of the one `back` before it.
    pub(crate) fn nonce(&self, ty: ResourceType, back: usize) -> String {
        let received = self.types.get(&ty).map(|ty| ty.received.as_slice()).unwrap_or_default();
        received.len().checked_sub(back + 1).map(|at| received[at].nonce.clone()).unwrap_or_default()
    }

    /// How many responses of a type came on this stream.
    pub(crate) fn count(&self, ty: ResourceType) -> usize {
        self.types.get(&ty).map_or(0, |ty| ty.received.len())
    }

    /// What it was told last under a name.
    pub(crate) fn has(&self, ty: ResourceType, name: &str) -> Option<&Any> {
        self.types.get(&ty)?.has.get(name)
    }

    /// Sends a request of a type.
    pub(crate) async fn say(&mut self, ty: ResourceType, say: Say) {
        let state = self.types.entry(ty).or_default();
        if let Some(nonce) = &say.nonce {
            match self.variant {
                Variant::Delta => drop(state.unanswered.remove(nonce)),
                // The newest answer stands for those before it.
                Variant::Sotw if state.received.last().is_some_and(|it| it.nonce == *nonce) => {
                    state.unanswered.clear();
                }
                Variant::Sotw => {}
            }
        }
        if say.list {
            let wildcard = say.subscribe.is_empty() || say.subscribe.iter().any(|name| name == "*");
            state.has.retain(|name, _| (wildcard && is_complete(ty)) || say.subscribe.contains(name));
            state.names = say.subscribe.clone();
        }
        state.asked.extend(say.subscribe.iter().cloned());
        for name in &say.unsubscribe {
            state.has.remove(name);
        }
        if self.variant == Variant::Delta {
            state.names.retain(|name| !say.unsubscribe.contains(name));
            state.names.extend(say.subscribe.iter().filter(|name| *name != "*").cloned());
            if say.unsubscribe.iter().any(|name| name == "*") {
                state.has.retain(|name, _| state.names.contains(name));
            }
            state.versions.retain(|name, _| state.has.contains_key(name));
        }
        let names = state.names.clone();
        let versions = if say.bring { state.versions.clone() } else { BTreeMap::new() };
        let last_version = state.received.last().map(|it| it.version.clone()).unwrap_or_default();
        let nonce = say.nonce.unwrap_or_default();
        let error = say.error.map(|message| Status { code: 3, message, ..Status::default() });
        self.send(ty.type_url(), names, versions, nonce, last_version, error, say.subscribe, say.unsubscribe)
            .await;
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of two messages")]
    async fn send(
        &mut self,
        type_url: &str,
        names: Vec<String>,
        initial_resource_versions: BTreeMap<String, String>,
        response_nonce: String,
        version_info: String,
        error_detail: Option<Status>,
        resource_names_subscribe: Vec<String>,
        resource_names_unsubscribe: Vec<String>,
    ) {
        let (node, type_url) = (self.node.take(), type_url.to_owned());
        match self.stream.as_ref().expect("a stream") {
            Stream::Delta(send, _) => {
                let request = DeltaDiscoveryRequest {
                    node,
                    type_url,
                    resource_names_subscribe,
                    resource_names_unsubscribe,
                    initial_resource_versions,
                    response_nonce,
                    error_detail,
                    ..Default::default()
                };
                send.send(request).await.expect("the stream is open");
            }
            Stream::Sotw(send, _) => {
                let request = DiscoveryRequest {
                    version_info,
                    node,
                    resource_names: names,
                    type_url,
                    response_nonce,
                    error_detail,
                    ..Default::default()
                };
                send.send(request).await.expect("the stream is open");
            }
        }
    }

    /// A first request of any type, served or not.
    pub(crate) async fn ask(&mut self, type_url: &str, names: &[&str]) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let (nonce, version) = (String::new(), String::new());
        self.send(type_url, names.clone(), BTreeMap::new(), nonce, version, None, names, vec![]).await;
    }

    /// Everything that comes before the answer to a question asked now.
    pub(crate) async fn fence(&mut self) -> Vec<Received> {
        self.fences += 1;
        self.ask(FENCE, &[&format!("fence-{}", self.fences)]).await;
        let mut before = Vec::new();
        loop {
            let received = self.receive().await.expect("an answer to the fence");
            if received.type_url == FENCE {
                return before;
            }
            before.push(received);
        }
    }

    /// The next response, or how the stream ended.
    pub(crate) async fn receive(&mut self) -> Result<Received, tonic::Status> {
        let ended = || tonic::Status::ok("the stream has ended");
        let next = async {
            match self.stream.as_mut().expect("a stream") {
                Stream::Delta(_, responses) => responses.message().await?.map(from_delta),
                Stream::Sotw(_, responses) => responses.message().await?.map(from_sotw),
            }
            .ok_or_else(ended)
        };
        let received = tokio::time::timeout(PATIENCE, next).await.expect("a response in time")?;
        Ok(match ResourceType::from_type_url(&received.type_url) {
            Some(ty) => self.take(ty, received),
            None => received,
        })
    }

    /// Checks a response against what may never be, and keeps what it says.
    fn take(&mut self, ty: ResourceType, mut received: Received) -> Received {
        // The assignment of a cluster that was just added or changed comes again, whatever the client has.
        let repeats = ty == ResourceType::Endpoint;
        let state = self.types.entry(ty).or_default();
        if self.variant == Variant::Sotw && is_complete(ty) {
            let gone = state.has.keys().filter(|name| !received.resources.contains_key(*name));
            received.removed = gone.cloned().collect();
        }
        let what = || format!("{ty} {:?}", received.resources.keys().collect::<Vec<_>>());
        let news = received
            .resources
            .iter()
            .any(|(name, any)| state.asked.contains(name) || state.has.get(name) != Some(any));
        let first = state.received.is_empty();
        assert!(
            news || repeats || first || !received.removed.is_empty() || received.resources.is_empty(),
            "nothing new in {}",
            what()
        );
        if self.variant == Variant::Delta && !repeats {
            for (name, any) in &received.resources {
                let again = state.asked.contains(name) || state.has.get(name) != Some(any);
                assert!(again, "{name} was not asked for and has not changed");
            }
        }
        assert!(state.unanswered.is_empty() || repeats, "{} before the answer to the one before it", what());
        assert!(received.removed.iter().all(|name| !received.resources.contains_key(name)), "{}", what());
        for name in received.resources.keys().chain(&received.removed) {
            state.asked.remove(name);
        }
        state.unanswered.insert(received.nonce.clone());
        received
    }

    /// Keeps what a response says: what it had of each resource before.
    pub(crate) fn keep(&mut self, ty: ResourceType, received: &Received) {
        let state = self.types.entry(ty).or_default();
        for (name, any) in &received.resources {
            state.has.insert(name.clone(), any.clone());
        }
        for name in &received.removed {
            state.has.remove(name);
            state.versions.remove(name);
        }
        state.versions.extend(received.versions.clone());
        state.received.push(received.clone());
    }
}

/// Of these types a state-of-the-world response leaves out what does not exist.
fn is_complete(ty: ResourceType) -> bool {
    matches!(ty, ResourceType::Cluster | ResourceType::Listener)
}

fn from_delta(response: DeltaDiscoveryResponse) -> Received {
    let count = response.resources.len();
    let mut received = Received {
        type_url: response.type_url,
        nonce: response.nonce,
        version: String::new(),
        versions: BTreeMap::new(),
        resources: BTreeMap::new(),
        removed: response.removed_resources.into_iter().collect(),
    };
    for resource in response.resources {
        let body = resource.resource.expect("a resource has a body");
        assert_eq!(name_of(&body), resource.name, "the name beside the body and the one in it");
        received.versions.insert(resource.name.clone(), resource.version);
        received.resources.insert(resource.name, body);
    }
    assert_eq!(received.resources.len(), count, "a name twice");
    received
}

fn from_sotw(response: DiscoveryResponse) -> Received {
    let count = response.resources.len();
    let resources: BTreeMap<_, _> = response.resources.into_iter().map(|any| (name_of(&any), any)).collect();
    assert_eq!(resources.len(), count, "a name twice");
    Received {
        type_url: response.type_url,
        nonce: response.nonce,
        version: response.version_info,
        versions: BTreeMap::new(),
        resources,
        removed: BTreeSet::new(),
    }
}

fn name_of(any: &Any) -> String {
    let body = any.value.clone();
    match ResourceType::from_type_url(&any.type_url).expect("a type that is served") {
        ResourceType::Cluster => Cluster::decode(body).unwrap().name,
        ResourceType::Endpoint => ClusterLoadAssignment::decode(body).unwrap().cluster_name,
        ResourceType::Listener => Listener::decode(body).unwrap().name,
        ResourceType::Route => RouteConfiguration::decode(body).unwrap().name,
        ResourceType::VirtualHost => VirtualHost::decode(body).unwrap().name,
        ResourceType::Runtime => Runtime::decode(body).unwrap().name,
        ResourceType::Secret => panic!("no script asks for secrets"),
    }
}
