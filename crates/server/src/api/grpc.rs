//! The service `umbra.v1.Umbra`.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use umbra_ir::{Kind, ObjectId};
use umbra_proto::umbra::v1::umbra_server::Umbra;
use umbra_proto::umbra::v1::{
    FindProxiesRequest, FindProxiesResponse, ListHistoryRequest, ListHistoryResponse, ListMirrorsRequest,
    ListMirrorsResponse, ListObjectsRequest, ListObjectsResponse, ListProxiesRequest, ListProxiesResponse,
    Mirror, Proxy, WatchMirrorsRequest, WatchMirrorsResponse, WatchProxiesRequest, WatchProxiesResponse,
};
use umbra_source::kubernetes::Wish;

use super::asker::Asker;
use super::watching::{self, Kept, Watched};
use super::{ASKS_OF_ONE, Api, MAX_OBJECTS, MAX_WATCHES, WATCHES_OF_ONE};
use crate::crowd::origin;
use crate::listen::InUse;
use crate::messages;
use crate::mirrors;
use crate::peers::{MAX_FOUND, PeerAnswer};
use crate::proxies::pod_of;

/// Namespaces and kinds that are asked about for one request.
const MAX_WISHES: usize = 8;
/// A list takes milliseconds; the engine may be settling a large change before it answers.
const ANSWER: Duration = Duration::from_secs(30);

type Updates<T> = ReceiverStream<Result<T, Status>>;

impl Api {
    fn check_ready(&self) -> Result<(), Status> {
        match self.ready() {
            true => Ok(()),
            false => Err(Status::unavailable("the first load is not done")),
        }
    }

    async fn watch<T: Watched>(
        &self,
        namespace: String,
        by: Asking,
    ) -> Result<Response<Updates<T::Update>>, Status> {
        let Asking { asker, in_use } = by;
        let wish = Wish::list(Kind::VirtualService, namespace.as_str());
        may(&asker, std::slice::from_ref(&wish)).await?;
        self.check_ready()?;
        let many = |count, whose| Status::resource_exhausted(format!("{count} watches are open {whose}"));
        let one = |whose| many(WATCHES_OF_ONE, whose);
        let of = match &in_use {
            Some(by) => Some(self.watches_of.take(origin(by.peer)).ok_or_else(|| one("by this address"))?),
            None => None,
        };
        let by = match asker.who().map_err(|refusal| refusal.status())?.name() {
            Some(name) => Some(self.watches_by.take(name).ok_or_else(|| one("by this ServiceAccount"))?),
            None => None,
        };
        let permit = self.watches.clone().try_acquire_owned();
        let permit = permit.map_err(|_| many(MAX_WATCHES, "already"))?;
        let hold = in_use.as_ref().and_then(InUse::keep);
        let kept = Kept { _permit: permit, _of: of, _by: by, _hold: hold };
        let (out, updates) = mpsc::channel(1);
        tokio::spawn(watching::run::<T>(self.clone(), namespace, (asker, wish), out, kept));
        Ok(Response::new(ReceiverStream::new(updates)))
    }
}

/// By whom, and by which connection.
struct Asking {
    asker: Asker,
    in_use: Option<InUse>,
}

fn asking<T>(request: &Request<T>) -> Result<Asking, Status> {
    let asker = request.extensions().get::<Asker>().cloned();
    let asker = asker.ok_or_else(|| Status::internal("nobody has found out who asks"))?;
    Ok(Asking { asker, in_use: request.extensions().get::<InUse>().cloned() })
}

async fn may(asker: &Asker, wishes: &[Wish]) -> Result<(), Status> {
    asker.may(wishes).await.map_err(|refusal| refusal.status())
}

/// What it takes to be told of these objects: to read their kinds in their namespaces, or rules everywhere.
fn wishes(which: Option<&[ObjectId]>) -> Vec<Wish> {
    let everywhere = || vec![Wish::list(Kind::VirtualService, "")];
    let Some(ids) = which else { return everywhere() };
    let mut wishes: Vec<_> = ids.iter().map(|id| Wish::list(id.kind, id.namespace.to_string())).collect();
    wishes.sort();
    wishes.dedup();
    if wishes.len() > MAX_WISHES { everywhere() } else { wishes }
}

/// Makes a list, in its turn.
async fn in_time<T>(api: &Api, by: Option<InUse>, list: impl Future<Output = T>) -> Result<T, Status> {
    in_turn(api, &api.lists, by, list).await
}

async fn in_turn<T>(
    api: &Api,
    turns: &Semaphore,
    by: Option<InUse>,
    list: impl Future<Output = T>,
) -> Result<T, Status> {
    let _portion = match by {
        Some(by) => Some(api.asks_of.take(origin(by.peer)).ok_or_else(|| {
            Status::resource_exhausted(format!(
                "{ASKS_OF_ONE} questions of this address are not answered yet"
            ))
        })?),
        None => None,
    };
    let answer = async {
        // The semaphore is never closed.
        let _turn = turns.acquire().await;
        list.await
    };
    let late = |_| Status::deadline_exceeded(format!("no answer within {ANSWER:?}"));
    tokio::time::timeout(ANSWER, answer).await.map_err(late)
}

/// What all replicas say, in its turn; those turns are the gates', which wait for other replicas too.
async fn on_all(api: &Api, by: Option<InUse>, which: Option<&[ObjectId]>) -> Result<PeerAnswer, Status> {
    in_turn(api, &api.gates, by, api.peers.ask(which)).await
}

#[tonic::async_trait]
impl Umbra for Api {
    type WatchProxiesStream = Updates<WatchProxiesResponse>;
    type WatchMirrorsStream = Updates<WatchMirrorsResponse>;

    async fn list_proxies(
        &self,
        request: Request<ListProxiesRequest>,
    ) -> Result<Response<ListProxiesResponse>, Status> {
        let Asking { asker, in_use } = asking(&request)?;
        let namespace = &request.get_ref().namespace;
        may(&asker, &[Wish::list(Kind::VirtualService, namespace)]).await?;
        self.check_ready()?;
        let proxies = in_time(self, in_use, self.list_proxies(namespace)).await?;
        Ok(Response::new(ListProxiesResponse { replica: Some(self.replica()), proxies }))
    }

    async fn watch_proxies(
        &self,
        request: Request<WatchProxiesRequest>,
    ) -> Result<Response<Self::WatchProxiesStream>, Status> {
        let by = asking(&request)?;
        self.watch::<Proxy>(request.into_inner().namespace, by).await
    }

    async fn list_mirrors(
        &self,
        request: Request<ListMirrorsRequest>,
    ) -> Result<Response<ListMirrorsResponse>, Status> {
        let Asking { asker, in_use } = asking(&request)?;
        let namespace = &request.get_ref().namespace;
        may(&asker, &[Wish::list(Kind::VirtualService, namespace)]).await?;
        self.check_ready()?;
        let mirrors = in_time(self, in_use, self.list_mirrors(namespace)).await?;
        Ok(Response::new(ListMirrorsResponse { replica: Some(self.replica()), mirrors }))
    }

    async fn watch_mirrors(
        &self,
        request: Request<WatchMirrorsRequest>,
    ) -> Result<Response<Self::WatchMirrorsStream>, Status> {
        let by = asking(&request)?;
        self.watch::<Mirror>(request.into_inner().namespace, by).await
    }

    async fn list_history(
        &self,
        request: Request<ListHistoryRequest>,
    ) -> Result<Response<ListHistoryResponse>, Status> {
        let Asking { asker, in_use } = asking(&request)?;
        let namespace = &request.get_ref().namespace;
        may(&asker, &[Wish::list(Kind::VirtualService, namespace)]).await?;
        self.check_ready()?;
        let histories = mirrors::histories(&self.live, &self.observed, namespace);
        let mirrors = in_time(self, in_use, histories).await?;
        Ok(Response::new(ListHistoryResponse { replica: Some(self.replica()), mirrors }))
    }

    async fn find_proxies(
        &self,
        request: Request<FindProxiesRequest>,
    ) -> Result<Response<FindProxiesResponse>, Status> {
        let Asking { asker, .. } = asking(&request)?;
        may(&asker, &wishes(None)).await?;
        let asked = request.into_inner().pods;
        if asked.len() > MAX_FOUND {
            let many = asked.len();
            return Err(Status::invalid_argument(format!("{many} Pods, expected at most {MAX_FOUND}")));
        }
        let here: BTreeSet<_> = self.proxies.list().iter().map(|proxy| pod_of(proxy)).collect();
        let found = asked.into_iter().filter(|pod| here.contains(&messages::pod_id(pod.clone())));
        Ok(Response::new(FindProxiesResponse { replica: Some(self.replica()), pods: found.collect() }))
    }

    async fn list_objects(
        &self,
        request: Request<ListObjectsRequest>,
    ) -> Result<Response<ListObjectsResponse>, Status> {
        let Asking { asker, in_use } = asking(&request)?;
        let ListObjectsRequest { objects: asked, all_replicas } = request.into_inner();
        if asked.len() > MAX_OBJECTS {
            let many = asked.len();
            return Err(Status::invalid_argument(format!("{many} objects, expected at most {MAX_OBJECTS}")));
        }
        // A kind that is unknown here is like an object that does not exist.
        let ids: Vec<_> = asked.iter().filter_map(messages::object_id).collect();
        let which = (!asked.is_empty()).then_some(ids.as_slice());
        may(&asker, &wishes(which)).await?;
        self.check_ready()?;
        let (found, silent) = if all_replicas {
            let answer = on_all(self, in_use, which).await?;
            (answer.objects, answer.silent)
        } else {
            (in_time(self, in_use, self.live.objects(which)).await?.objects, Vec::new())
        };
        let objects = found.iter().map(messages::liveness).collect();
        Ok(Response::new(ListObjectsResponse { replica: Some(self.replica()), objects, silent }))
    }
}
