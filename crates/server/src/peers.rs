//! All replicas as one: what is live on the proxies of every replica, and which replica did not say.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use rustls::pki_types::{DnsName, ServerName};
use tonic::transport::Channel;
use tonic::{Code, Status};
use umbra_ir::{ObjectId, RuntimeKey};
use umbra_proto::umbra::v1::umbra_client::UmbraClient;
use umbra_proto::umbra::v1::{
    FindProxiesRequest, History, ListHistoryRequest, ListMirrorsRequest, ListObjectsRequest,
    ListObjectsResponse, Minute, Mirror, PodReference,
};

use crate::channel::{self, Secure, resolve};
use crate::engine_task::EngineHandle;
use crate::live::{Laggard, Live, MirrorLive, Mirrors, ObjectLive, ObjectsLive, cap, cap_away};
use crate::messages;
use crate::mirrors;
use crate::observe::Observed;
use crate::replica::Identity;
use crate::tls;

/// How long a replica may take to be reached, and to answer.
const CONNECT: Duration = Duration::from_secs(2);
const ANSWER: Duration = Duration::from_secs(5);
/// An answer about ten thousand objects has a few megabytes.
const MAX_ANSWER_BYTES: usize = 64 << 20;
/// Pods that are looked for at once.
pub(crate) const MAX_FOUND: usize = 10_000;

/// How far objects have come on the proxies of all replicas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerAnswer {
    /// Each object that some replica knows, sorted; its counts are those of all replicas. A replica that has not seen
    /// the newest version counts as one where it is live on no proxy.
    pub objects: Vec<ObjectLive>,
    /// Replicas that did not answer, with why: their proxies are not counted. Sorted.
    pub silent: Vec<String>,
    /// How many replicas there are, those that did not answer included.
    pub replicas: usize,
    /// All mirrors, as this replica has them.
    pub mirrors: Mirrors,
}

/// The replicas, this one included.
#[derive(Debug)]
pub struct Peers {
    identity: Arc<Identity>,
    engine: EngineHandle,
    live: Live,
    observed: Observed,
    /// `HOST:PORT`s, which together have the addresses of all replicas; empty: there is this one only.
    names: Vec<String>,
    /// What replicas show each other; `None`: nothing, and they are asked in plaintext.
    certificate: Option<tls::Identity>,
    channels: Mutex<BTreeMap<SocketAddr, UmbraClient<Channel>>>,
}

/// What one replica said.
struct Answer {
    replica: String,
    objects: Vec<ObjectLive>,
}

impl Peers {
    /// This replica and those behind `names` (`HOST:PORT`), which know each other by a `certificate` if there is one.
    pub fn new(
        names: Vec<String>,
        certificate: Option<tls::Identity>,
        identity: Identity,
        engine: EngineHandle,
        live: Live,
        observed: Observed,
    ) -> Self {
        let channels = Mutex::default();
        Peers { identity: Arc::new(identity), engine, live, observed, names, certificate, channels }
    }

    /// Who this replica is.
    pub fn identity(&self) -> Arc<Identity> {
        self.identity.clone()
    }

    /// How far every Istio object has come on all replicas.
    pub async fn objects(&self) -> PeerAnswer {
        self.ask(None).await
    }

    /// How far one has come.
    pub async fn object(&self, id: &ObjectId) -> PeerAnswer {
        self.ask(Some(std::slice::from_ref(id))).await
    }

    /// Every mirror, with what the proxies of all replicas that answer counted of it.
    pub(crate) async fn mirrors(&self) -> Vec<Mirror> {
        self.mirrors_of_all().await.0
    }

    /// Of this replica's proxies, of how many that one is of which a mirror's requests are counted; nothing where all are, or none.
    pub(crate) async fn uncounted(&self) -> BTreeMap<RuntimeKey, f64> {
        let all = self.live.mirrors().await;
        let some = all.into_iter().filter(|it| 0 < it.uncounted && it.uncounted < it.total);
        let factor = |it: &MirrorLive| it.total as f64 / (it.total - it.uncounted) as f64;
        some.map(|it| (it.state.key.clone(), factor(&it))).collect()
    }

    /// The verdicts by what all replicas know, by runtime key; `None`: one of them is silent.
    pub(crate) async fn verdicts(&self) -> Option<BTreeMap<String, String>> {
        let (all, complete) = self.mirrors_of_all().await;
        let each = all.into_iter().filter_map(|it| Some((it.runtime_key, it.verdict?.verdict)));
        complete.then(|| each.collect())
    }

    /// Every mirror, and whether all replicas answered.
    async fn mirrors_of_all(&self) -> (Vec<Mirror>, bool) {
        let (addresses, silent) = self.addresses().await;
        let others = join_all(addresses.iter().map(|address| self.ask_for_mirrors(*address)));
        let (own, others) = tokio::join!(mirrors::list(&self.live, &self.observed, ""), others);
        let complete = silent.is_empty() && others.iter().all(Result::is_ok);
        let mut answers: BTreeMap<String, Vec<Mirror>> = others.into_iter().flatten().collect();
        answers.insert(self.identity.id.clone(), own.clone());
        let mut all: BTreeMap<String, Mirror> = BTreeMap::new();
        for mirror in answers.into_values().flatten() {
            match all.get_mut(&mirror.id) {
                Some(known) => mirrors::add(known, &mirror),
                None => drop(all.insert(mirror.id.clone(), mirror)),
            }
        }
        // What this replica does not have is old, or not to be judged yet.
        (own.into_iter().filter_map(|mirror| all.remove(&mirror.id)).collect(), complete)
    }

    /// What the proxies of all replicas that answer counted of mirrors in the last hour, by runtime key.
    pub(crate) async fn histories(&self) -> BTreeMap<String, Vec<Minute>> {
        let (addresses, _) = self.addresses().await;
        let others = join_all(addresses.iter().map(|address| self.ask_for_histories(*address)));
        let (own, others) = tokio::join!(mirrors::histories(&self.live, &self.observed, ""), others);
        let mut answers: BTreeMap<String, Vec<History>> = others.into_iter().flatten().collect();
        answers.insert(self.identity.id.clone(), own);
        let mut all: BTreeMap<String, Vec<Minute>> = BTreeMap::new();
        for History { runtime_key, minutes } in answers.into_values().flatten() {
            mirrors::add_history(all.entry(runtime_key).or_default(), minutes);
        }
        all
    }

    /// The id of the replica at an address, and its histories.
    async fn ask_for_histories(&self, address: SocketAddr) -> Result<(String, Vec<History>), Status> {
        let mut client = self.client(address)?;
        let asked = client.list_history(ListHistoryRequest::default());
        let answer = tokio::time::timeout(ANSWER, asked).await.map_err(late)??.into_inner();
        Ok((answer.replica.unwrap_or_default().id, answer.mirrors))
    }

    /// Whether the settings say that nothing is to be counted.
    pub(crate) fn observes_nothing(&self) -> bool {
        self.observed.is_off()
    }

    /// The id of the replica at an address, and its mirrors.
    async fn ask_for_mirrors(&self, address: SocketAddr) -> Result<(String, Vec<Mirror>), Status> {
        let mut client = self.client(address)?;
        let asked = client.list_mirrors(ListMirrorsRequest::default());
        let answer = tokio::time::timeout(ANSWER, asked).await.map_err(late)??.into_inner();
        Ok((answer.replica.unwrap_or_default().id, answer.mirrors))
    }

    /// Those of these Pods whose proxies are connected to other replicas, as far as those answer.
    pub(crate) async fn find(&self, pods: Vec<ObjectId>) -> BTreeSet<ObjectId> {
        if self.names.is_empty() || pods.is_empty() {
            return BTreeSet::new();
        }
        let (addresses, _) = self.addresses().await;
        let pods: Vec<PodReference> = pods.iter().take(MAX_FOUND).map(messages::pod).collect();
        let asked = addresses.iter().map(async |address| {
            let request = FindProxiesRequest { pods: pods.clone() };
            let mut client = self.client(*address).ok()?;
            let asked = client.find_proxies(request);
            let answer = tokio::time::timeout(ANSWER, asked).await.ok()?.ok()?.into_inner();
            let own = answer.replica.is_some_and(|replica| replica.id == self.identity.id);
            (!own).then_some(answer.pods)
        });
        join_all(asked).await.into_iter().flatten().flatten().map(messages::pod_id).collect()
    }

    /// How many replicas there are, as far as their names tell; this one counts.
    pub(crate) async fn count(&self) -> usize {
        self.addresses().await.0.len().max(1)
    }

    /// Where the replicas are, and which name does not say so, and why.
    async fn addresses(&self) -> (Vec<SocketAddr>, Vec<String>) {
        let mut silent = Vec::new();
        let mut addresses = Vec::new();
        for (name, found) in self.names.iter().zip(join_all(self.names.iter().map(|it| resolve(it))).await) {
            match found {
                Ok(found) => addresses.extend(found),
                Err(why) => silent.push(format!("{name} ({why})")),
            }
        }
        addresses.sort();
        addresses.dedup();
        (addresses, silent)
    }

    /// How far these have come; `None`: all.
    pub(crate) async fn ask(&self, which: Option<&[ObjectId]>) -> PeerAnswer {
        let (addresses, mut silent) = self.addresses().await;
        let others = addresses.iter().map(|address| self.ask_one(*address, which));
        let (own, others) = tokio::join!(self.own(which), join_all(others));
        self.forget_all_but(&addresses);
        let (mut answers, mut mirrors) = (BTreeMap::new(), Mirrors::new());
        let mut all = Vec::new();
        match own {
            Some(own) => {
                all.push(Answer { replica: self.identity.name.clone(), objects: own.objects });
                mirrors = own.mirrors;
            }
            None => silent.push(format!("{} (its first load is not done)", self.identity.name)),
        }
        for (address, answer) in addresses.iter().zip(others) {
            match answer {
                Ok((id, _)) if id == self.identity.id => {}
                // A replica with several addresses is one.
                Ok((id, answer)) => drop(answers.insert(id, answer)),
                Err(status) => silent.push(format!("{address} ({})", told(&status))),
            }
        }
        silent.sort();
        all.extend(answers.into_values());
        let (replicas, objects) = (all.len() + silent.len(), merge(&all));
        PeerAnswer { objects, silent, replicas, mirrors }
    }

    /// `None` before the first load.
    async fn own(&self, which: Option<&[ObjectId]>) -> Option<ObjectsLive> {
        if !self.engine.published().ready {
            return None;
        }
        Some(self.live.objects(which).await)
    }

    /// The id of the replica at an address, and what it says.
    async fn ask_one(
        &self,
        address: SocketAddr,
        which: Option<&[ObjectId]>,
    ) -> Result<(String, Answer), Status> {
        let objects = which.into_iter().flatten().map(messages::reference).collect();
        let request = ListObjectsRequest { objects, all_replicas: false };
        let asked = async {
            let mut client = self.client(address)?;
            match client.list_objects(request.clone()).await {
                // A connection that has rested may be closed by the other side at just this moment.
                Err(status) if status.code() != Code::Ok && was_cut(&status) => {
                    client.list_objects(request).await
                }
                answer => answer,
            }
        };
        let answer = tokio::time::timeout(ANSWER, asked).await.map_err(late)??;
        let ListObjectsResponse { replica, objects, .. } = answer.into_inner();
        let replica = replica.unwrap_or_default();
        let objects = objects.into_iter().filter_map(messages::object_live).collect();
        Ok((replica.id, Answer { replica: replica.name, objects }))
    }

    fn client(&self, address: SocketAddr) -> Result<UmbraClient<Channel>, Status> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = channels.get(&address) {
            return Ok(client.clone());
        }
        let endpoint = channel::endpoint(address, CONNECT)?;
        let channel = match self.certificate.clone() {
            None => endpoint.connect_lazy(),
            Some(certificate) => channel::over_tls(&endpoint, address, move || {
                // Replicas know each other by what they show, not by a name.
                let name = ServerName::DnsName(DnsName::try_from("umbra").ok()?);
                Some(Secure { config: certificate.replicas()?.client, name })
            }),
        };
        let client = UmbraClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES);
        channels.insert(address, client.clone());
        Ok(client)
    }

    fn forget_all_but(&self, addresses: &[SocketAddr]) {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        channels.retain(|address, _| addresses.contains(address));
    }
}

fn late<T>(_: T) -> Status {
    Status::deadline_exceeded(format!("no answer within {ANSWER:?}"))
}

/// The connection broke; nothing is known about the request.
fn was_cut(status: &Status) -> bool {
    matches!(status.code(), Code::Unknown | Code::Cancelled)
}

/// Why a call failed, with the cause that the transport hides.
pub(crate) fn told(status: &Status) -> String {
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(status);
    let mut last = status.message().to_owned();
    while let Some(error) = cause {
        last = error.to_string();
        cause = error.source();
    }
    if last.is_empty() { format!("{:?}", status.code()) } else { last }
}

/// Adds up what replicas say; which mirrors are stopped is the first one's word.
fn merge(answers: &[Answer]) -> Vec<ObjectLive> {
    let mut all: BTreeMap<&ObjectId, ObjectLive> = BTreeMap::new();
    for object in answers.iter().flat_map(|answer| &answer.objects) {
        let merged = all.entry(&object.object).or_insert_with(|| ObjectLive {
            object: object.object.clone(),
            generation: 0,
            newest: 0,
            total: 0,
            live: 0,
            laggards: Vec::new(),
            stopped: Vec::new(),
            excused: Vec::new(),
            away: Vec::new(),
            total_away: 0,
        });
        merged.generation = merged.generation.max(object.generation);
        merged.newest = merged.newest.max(object.newest);
    }
    for (id, merged) in &mut all {
        let mut stopped: Option<&Vec<RuntimeKey>> = None;
        for answer in answers {
            let Ok(at) = answer.objects.binary_search_by(|object| object.object.cmp(id)) else {
                let words = Some("it has not seen the object yet".to_owned());
                merged.laggards.push(behind(answer, words));
                continue;
            };
            let object = &answer.objects[at];
            merged.total += object.total;
            merged.excused.extend(object.excused.iter().cloned());
            merged.total_away += object.total_away;
            merged.away.extend(object.away.iter().cloned());
            let same = object.generation == merged.generation;
            if same && *stopped.get_or_insert(&object.stopped) != &object.stopped {
                if object.total > 0 {
                    let words = "other mirrors are stopped there".to_owned();
                    merged.laggards.push(behind(answer, Some(words)));
                }
            } else if same {
                merged.live += object.live;
                merged.laggards.extend(object.laggards.iter().cloned());
            } else if object.total > 0 {
                let words = format!("it has generation {} in force", object.generation);
                merged.laggards.push(behind(answer, Some(words)));
            }
        }
        merged.stopped = stopped.cloned().unwrap_or_default();
        cap(&mut merged.laggards);
        cap(&mut merged.excused);
        cap_away(&mut merged.away);
    }
    all.into_values().collect()
}

/// Every proxy of a replica that lags itself.
fn behind(answer: &Answer, words: Option<String>) -> Laggard {
    Laggard { proxy: format!("every proxy of replica {}", answer.replica), resource: String::new(), words }
}

#[cfg(test)]
mod tests {
    use umbra_ir::Kind;

    use super::*;

    /// Objects as `NAME GENERATION LIVE/TOTAL`, or so with the key that is stopped behind it, after the replica's name.
    fn answer((replica, objects): &(&str, &[&str])) -> Answer {
        let one = |words: &&str| {
            let parts: Vec<&str> = words.split([' ', '/']).collect();
            let number = |at: usize| parts[at].parse::<usize>().unwrap();
            let (live, total) = (number(2), number(3));
            let laggard =
                |n| Laggard { proxy: format!("{replica}-{n}"), resource: "rds/80".to_owned(), words: None };
            let generation = i64::try_from(number(1)).unwrap();
            ObjectLive {
                object: ObjectId::new(Kind::VirtualService, "shop", parts[0]),
                generation,
                newest: generation,
                total,
                live,
                laggards: (live..total).map(laggard).collect(),
                stopped: parts.get(4).map(|key| RuntimeKey::new(*key)).into_iter().collect(),
                excused: Vec::new(),
                away: Vec::new(),
                total_away: 0,
            }
        };
        Answer { replica: (*replica).to_owned(), objects: objects.iter().map(one).collect() }
    }

    /// Merged objects as `NAME GENERATION LIVE/TOTAL: LAGGARDS`.
    #[track_caller]
    fn check(answers: &[(&str, &[&str])], want: &[&str]) {
        let answers: Vec<_> = answers.iter().map(answer).collect();
        let merged = merge(&answers).into_iter().map(|it| {
            let laggards: Vec<_> = it.laggards.iter().map(|laggard| laggard.proxy.as_str()).collect();
            let counts = format!("{} {} {}/{}", it.object.name, it.generation, it.live, it.total);
            format!("{counts}: {}", laggards.join(", "))
        });
        assert_eq!(merged.collect::<Vec<_>>(), want);
    }

    #[test]
    fn replicas_add_up() {
        check(&[], &[]);
        check(&[("a", &["x 1 1/2"])], &["x 1 1/2: a-1"]);
        check(
            &[("a", &["x 3 2/2", "y 1 0/0"]), ("b", &["x 3 1/2", "y 1 1/1"])],
            &["x 3 3/4: b-1", "y 1 1/1: "],
        );
        // One that has not seen the newest version yet is live nowhere, if it has proxies.
        check(
            &[("a", &["x 4 2/2"]), ("b", &["x 3 2/2"]), ("c", &["x 3 0/0"])],
            &["x 4 2/4: every proxy of replica b"],
        );
        // Nor is one where other mirrors are stopped; which should be, the first one says.
        check(
            &[("a", &["x 4 2/2 key"]), ("b", &["x 4 2/2"]), ("c", &["x 4 1/1 key"]), ("d", &["x 4 0/0"])],
            &["x 4 3/5: every proxy of replica b"],
        );
        // One that does not know the object may have proxies that it will reach.
        check(&[("a", &["x 1 1/1"]), ("b", &[])], &["x 1 1/1: every proxy of replica b"]);
        let many: Vec<String> = (0..3).map(|n| format!("r{n}")).collect();
        let many: Vec<(&str, &[&str])> = many.iter().map(|name| (name.as_str(), &["x 1 0/5"][..])).collect();
        let answers: Vec<_> = many.iter().map(answer).collect();
        assert_eq!(merge(&answers)[0].laggards.len(), 8);
    }
}
