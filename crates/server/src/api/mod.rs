//! `umbra.v1` over gRPC, `/v1/live`, `/v1/stop` and `/v1/resume` over HTTP, on one port: what tools and other replicas ask. All but
//! stops read alone. Who asks is found out before anything else, and what that caller may be told where it is known what is
//! asked for.

mod asker;
mod gate;
mod grpc;
mod origin;
mod plain;
mod stop;
mod watching;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use axum::http::StatusCode;
use axum::routing::{any_service, get, post};
use axum::{Router, middleware};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use umbra_engine::ClassReach;
use umbra_ir::ProxyClass;
use umbra_proto::umbra::v1::umbra_server::UmbraServer;
use umbra_proto::umbra::v1::{Mirror, Proxy, Replica};

use crate::crowd::Portions;
use crate::engine_task::EngineHandle;
use crate::identity::Callers;
use crate::live::Live;
use crate::messages;
use crate::mirrors;
use crate::observe::Observed;
use crate::peers::Peers;
use crate::proxies::Proxies;
use crate::replica::Identity;
use crate::stop::Stops;

/// A request larger than this is refused: it holds a namespace, or the names of [`MAX_OBJECTS`] objects.
const MAX_REQUEST_BYTES: usize = 1 << 20;
/// Objects that one request may name.
const MAX_OBJECTS: usize = 1000;
/// Watches at once, of proxies and of mirrors together.
const MAX_WATCHES: usize = 32;
/// Of these, those of one address, and those of one ServiceAccount.
const WATCHES_OF_ONE: usize = 8;
/// Questions of one address that are not answered yet.
const ASKS_OF_ONE: usize = 128;

/// Lists that are made at once, and gates that are looked at; more wait. They are counted apart, since a gate waits for
/// the lists of other replicas.
const MAX_ASKS: usize = 16;

/// Orders to stop or let go on, each of which may wait for proxies for half a minute: in all, and of one caller. A gate waits for none
/// of them.
const MAX_STOPS: usize = 32;
/// See [`MAX_STOPS`].
const STOPS_OF_ONE: usize = 4;

pub(crate) use asker::Asker;

/// What the API shows.
#[derive(Clone, Debug)]
pub struct Api {
    /// Who answers.
    pub identity: Arc<Identity>,
    /// Generations, and whether the first load is done.
    pub engine: EngineHandle,
    /// Connected proxies.
    pub proxies: Arc<Proxies>,
    /// How far objects have come on them.
    pub live: Live,
    /// The same on all replicas.
    pub peers: Arc<Peers>,
    /// What the proxies of this replica counted.
    pub observed: Observed,
    /// Cancelled when the process should end: watches end by themselves.
    pub shutdown: CancellationToken,
    stops: Stops,
    /// Only this machine reaches it.
    from_here: bool,
    callers: Callers,
    watches: Arc<Semaphore>,
    watches_of: Portions<IpAddr>,
    watches_by: Portions<String>,
    asks_of: Portions<IpAddr>,
    lists: Arc<Semaphore>,
    gates: Arc<Semaphore>,
    orders: Arc<Semaphore>,
    orders_by: Portions<String>,
}

impl Api {
    /// Shows what these know, to whoever reaches it.
    pub(crate) fn new(
        engine: EngineHandle,
        proxies: Arc<Proxies>,
        live: Live,
        peers: Arc<Peers>,
        observed: Observed,
        stops: Stops,
        shutdown: CancellationToken,
    ) -> Self {
        let most = |permits| Arc::new(Semaphore::new(permits));
        let (watches, lists, gates) = (most(MAX_WATCHES), most(MAX_ASKS), most(MAX_ASKS));
        let (orders, orders_by) = (most(MAX_STOPS), Portions::new(STOPS_OF_ONE));
        let (watches_of, asks_of) = (Portions::new(WATCHES_OF_ONE), Portions::new(ASKS_OF_ONE));
        let watches_by = Portions::new(WATCHES_OF_ONE);
        let identity = peers.identity();
        Api {
            identity,
            engine,
            proxies,
            live,
            peers,
            observed,
            shutdown,
            stops,
            from_here: false,
            callers: Callers::Open,
            watches,
            watches_of,
            watches_by,
            asks_of,
            lists,
            gates,
            orders,
            orders_by,
        }
    }

    /// The same for these callers alone.
    pub fn asking(self, callers: Callers) -> Self {
        Api { callers, ..self }
    }

    /// The same where only this machine reaches it, or (`false`) others too.
    pub fn reached(self, from_here: bool) -> Self {
        Api { from_here, ..self }
    }

    /// The paths of the API, to be served beside others.
    pub fn routes(self) -> Router {
        let callers = self.callers.clone();
        let grpc = UmbraServer::new(self.clone()).max_decoding_message_size(MAX_REQUEST_BYTES);
        Router::new()
            .route("/umbra.v1.Umbra/{method}", any_service(grpc))
            .route("/v1/live/{kind}/{namespace}/{name}", get(gate::live).post(gate::live))
            .route("/v1/stop", post(stop::stop))
            .route("/v1/resume", post(stop::resume))
            .with_state(self)
            .layer(middleware::from_fn_with_state(callers, asker::find))
    }

    /// Whether only this machine reaches it.
    pub(crate) fn is_only_here(&self) -> bool {
        self.from_here
    }

    /// Paths of somebody else, whose requests say who asks ([`Asker`]) as those of the API do.
    pub(crate) fn knowing(&self, router: Router) -> Router {
        router.layer(middleware::from_fn_with_state(self.callers.clone(), asker::find))
    }

    /// The API with other paths `beside` it.
    pub(crate) fn router(self, beside: Router) -> Router {
        let nothing = "not here; there are /v1/live/KIND/NAMESPACE/NAME, /v1/stop, /v1/resume and gRPC umbra.v1.Umbra\n";
        self.routes().merge(beside).fallback(async move || (StatusCode::NOT_FOUND, nothing))
    }

    pub(crate) fn ready(&self) -> bool {
        self.engine.published().ready
    }

    fn replica(&self) -> Replica {
        Replica {
            name: self.identity.name.clone(),
            id: self.identity.id.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            generation: self.engine.published().generation,
        }
    }

    /// Every proxy of a namespace (empty: of all), in the order of connecting.
    async fn list_proxies(&self, namespace: &str) -> Vec<Proxy> {
        let outcome = self.engine.outcome().await;
        let of = |class: &'_ ClassReach| class.proxies.iter().map(|id| (id.0, class.class.clone())).collect();
        let classes: BTreeMap<u64, ProxyClass> = outcome.classes.iter().flat_map::<Vec<_>, _>(of).collect();
        let all = self.proxies.list();
        let wanted = all.iter().filter(|it| namespace.is_empty() || *it.node.namespace == *namespace);
        wanted.map(|proxy| messages::proxy(proxy, classes.get(&proxy.id), &self.identity)).collect()
    }

    /// Every mirror of a namespace (empty: of all), in the order of namespace, name and place.
    async fn list_mirrors(&self, namespace: &str) -> Vec<Mirror> {
        mirrors::list(&self.live, &self.observed, namespace).await
    }
}
