//! How far each object has come: which proxies of this replica it reaches (they are served something that comes of it),
//! and on which of them it is live (they have taken all of that). What statuses, `umbra.v1` and `/v1/live` say.

mod laggard;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use umbra_engine::{ClassReach, Resources};
use umbra_envoy::RuntimeLayer;
use umbra_ir::{Diagnostic, MirrorState, ObjectId, RuntimeForms, RuntimeFraction, RuntimeKey};
use umbra_source::Work;
use umbra_xds::{ResourceType, Session, Standing};

use crate::engine_task::{EngineHandle, Outcome};
use crate::proxies::{Absent, Proxies, Proxy};
use crate::supervise::blocking;
use crate::words::one_line;

pub use laggard::Laggard;
use laggard::MAX_LAGGARDS;
pub(crate) use laggard::cap;

/// Mirrors of which is told what a proxy that is away does.
const MAX_TOLD: usize = 8;

/// How far one object has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectLive {
    /// Which.
    pub object: ObjectId,
    /// The version (`metadata.generation`) that is in force; 0: none, or one from a file, which has none.
    pub generation: i64,
    /// The newest version that was seen; above `generation` when it was not understood.
    pub newest: i64,
    /// How many proxies it reaches.
    pub total: usize,
    /// How many of them have taken every resource that comes from it in its present version.
    pub live: usize,
    /// Some of the others: those that refused it first, then by name.
    pub laggards: Vec<Laggard>,
    /// Some that have left it unanswered for longer than `--laggard-patience`: they are in no count.
    pub excused: Vec<Laggard>,
    /// Those of its mirrors that are stopped, sorted. An annotation says so, which no version counts.
    pub stopped: Vec<RuntimeKey>,
    /// Some of those that are away, which are counted as all others: the longest first.
    pub away: Vec<AwayProxy>,
    /// How many of them there are.
    pub total_away: usize,
}

/// A proxy whose stream has ended and whose Pod is there: it goes on with what it was told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AwayProxy {
    /// Since when.
    pub since: Timestamp,
    /// `POD.NAMESPACE`.
    pub proxy: String,
    /// What share it was told last of each of the object's mirrors, such as `v2 25%`.
    pub told: String,
}

/// One mirror, and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorLive {
    /// The VirtualService that it stands in.
    pub rule: ObjectId,
    /// What has become of it.
    pub state: MirrorState,
    /// How many proxies its VirtualService reaches.
    pub total: usize,
    /// How many of them mirror by it, or would at a share above 0; none when it is broken.
    pub live: usize,
    /// How many of them are away.
    pub away: usize,
    /// How many of `total` do not say that they tell what they count.
    pub uncounted: usize,
}

impl MirrorLive {
    /// Its fraction; `None`: not a percentage.
    pub fn share(&self) -> Option<RuntimeFraction> {
        self.state.share
    }

    /// The names of its clusters, with the number of ready endpoints of each.
    pub fn clusters(&self) -> impl Iterator<Item = (Arc<str>, usize)> {
        self.state
            .clusters
            .iter()
            .map(|(cluster, endpoints)| (umbra_envoy::cluster_name(cluster), *endpoints))
    }

    /// The worst that is to be said about it.
    pub fn problem(&self) -> Option<&Diagnostic> {
        self.state.problem.as_ref()
    }
}

/// How far objects have come, and what is known about their mirrors, both of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectsLive {
    /// Sorted.
    pub objects: Vec<ObjectLive>,
    /// What has become of every mirror, by VirtualService, in the order in which they are written.
    pub mirrors: Mirrors,
}

/// The mirrors of every VirtualService that has any, in the order in which they are written.
pub type Mirrors = BTreeMap<ObjectId, Arc<Vec<MirrorState>>>;

/// Where to ask. Clones ask the same place.
#[derive(Clone, Debug)]
pub struct Live {
    engine: EngineHandle,
    proxies: Arc<Proxies>,
    changes: watch::Receiver<u64>,
    patience: Option<Duration>,
}

impl Live {
    /// Asks this engine and these proxies. The work notes when an answer may be another one; it ends with the engine.
    pub fn new(engine: EngineHandle, proxies: Arc<Proxies>) -> (Self, Work) {
        let (tick, changes) = watch::channel(0);
        let (mut settles, mut answers) = (engine.follow(), proxies.follow());
        let work = Work::task("liveness", async move {
            loop {
                let next = tokio::select! {
                    settled = settles.changed() => settled,
                    answered = answers.changed() => answered,
                    () = tick.closed() => return,
                };
                if next.is_err() {
                    return;
                }
                // A thousand proxies answer at once: those that can go on now do so first, and are told of together.
                tokio::task::yield_now().await;
                settles.mark_unchanged();
                answers.mark_unchanged();
                tick.send_modify(|count| *count += 1);
            }
        });
        (Live { engine, proxies, changes, patience: None }, work)
    }

    /// The same with so much patience (`--laggard-patience`) with those who are away and lack something; `None`: without an end.
    #[must_use]
    pub fn with_patience(self, patience: Option<Duration>) -> Self {
        Live { patience, ..self }
    }

    /// Changes whenever an answer may be another one: something settled, a proxy answered, came or went.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    /// How far these objects have come; `None`: every Istio object. One that does not exist is left out.
    pub async fn objects(&self, which: Option<&[ObjectId]>) -> ObjectsLive {
        let outcome = self.engine.outcome().await;
        let (live, which) = (self.clone(), which.map(<[ObjectId]>::to_vec));
        // Thousands of objects on thousands of proxies take a while; the streams go on meanwhile.
        blocking(move || {
            let asked: BTreeSet<&ObjectId> = match &which {
                Some(ids) => ids.iter().filter(|id| outcome.objects.contains(id)).collect(),
                None => outcome.objects.iter().collect(),
            };
            let mirrors = |id| outcome.mirrors.get(id).map_or(&[][..], |all| all.as_slice());
            let asked: Vec<_> = asked.into_iter().map(|id| Asked { id, mirrors: mirrors(id) }).collect();
            ObjectsLive { objects: live.judge(&outcome, &asked), mirrors: outcome.mirrors }
        })
        .await
    }

    /// Every mirror, sorted by VirtualService, in the order in which they are written.
    pub async fn mirrors(&self) -> Vec<MirrorLive> {
        let (outcome, live) = (self.engine.outcome().await, self.clone());
        blocking(move || {
            // Each for itself: what one lacks is no fault of those beside it.
            let each = outcome.mirrors.iter().flat_map(|(id, all)| {
                all.iter().map(move |mirror| Asked { id, mirrors: std::slice::from_ref(mirror) })
            });
            let asked: Vec<_> = each.collect();
            let uncounted = live.uncounted(&outcome);
            let lives = live.judge(&outcome, &asked).into_iter().zip(&asked);
            let all = lives.map(|(ObjectLive { object, total, live, total_away, .. }, asked)| {
                let uncounted = uncounted.get(&object).copied().unwrap_or_default().min(total);
                let state = asked.mirrors[0].clone();
                let live = if state.clusters.is_empty() { 0 } else { live };
                MirrorLive { rule: object, state, total, live, away: total_away, uncounted }
            });
            all.collect()
        })
        .await
    }

    /// How many proxies that each VirtualService with mirrors reaches do not say that they tell what they count; nothing where all do. Those
    /// who had their time are in no count.
    fn uncounted(&self, outcome: &Outcome) -> BTreeMap<ObjectId, usize> {
        let mut all = BTreeMap::new();
        let away = self.proxies.away().counted();
        for class in &outcome.classes {
            let proxies = class.proxies.iter().filter_map(|id| self.proxies.get(id.0));
            let here = proxies.filter(|it| it.counts && it.pace().is_steady() && !it.pace().is_excused());
            let gone = class.proxies.iter().filter_map(|id| away.get(&id.0));
            let gone = gone.filter(|it| self.patience.is_none_or(|patience| it.age < patience));
            let said = here.map(|it| it.observes).chain(gone.map(|it| it.proxy.observes));
            let uncounted = said.filter(|observes| !observes).count();
            if uncounted > 0 {
                for id in outcome.mirrors.keys().filter(|id| class.objects.contains_key(*id)) {
                    *all.entry(id.clone()).or_default() += uncounted;
                }
            }
        }
        all
    }

    fn judge(&self, outcome: &Outcome, asked: &[Asked<'_>]) -> Vec<ObjectLive> {
        let mut found: Vec<ObjectLive> = asked.iter().map(|asked| blank(outcome, asked.id)).collect();
        let away = self.proxies.away().counted();
        for class in &outcome.classes {
            let proxies = class.proxies.iter().filter_map(|id| self.proxies.get(id.0));
            let proxies = proxies.filter(|proxy| proxy.counts && proxy.pace().is_steady());
            let (taken, lagging): (Vec<_>, Vec<_>) =
                proxies.partition(|proxy| proxy.with_session(|session| session.has_taken(&class.snapshot)));
            for (asked, live) in asked.iter().zip(&mut found) {
                let Some(resources) = class.objects.get(asked.id) else { continue };
                live.total += taken.len() + lagging.len();
                live.live += taken.len();
                let gone: Vec<&Absent> = class.proxies.iter().filter_map(|id| away.get(&id.0)).collect();
                if lagging.is_empty() && gone.is_empty() {
                    continue;
                }
                let needs = asked.needs(resources);
                for absent in gone {
                    live.add_away(absent, lacks(&absent.proxy, class, &needs), asked, self.patience);
                }
                for proxy in &lagging {
                    match lacks(proxy, class, &needs) {
                        None => live.live += 1,
                        // It had its time.
                        Some(laggard) if !laggard.refused() && proxy.pace().is_excused() => {
                            live.total -= 1;
                            live.excused.push(laggard);
                        }
                        Some(laggard) => live.laggards.push(laggard),
                    }
                }
                // Before the next class: a mass of proxies may lag.
                cap(&mut live.laggards);
                cap(&mut live.excused);
            }
        }
        found
    }
}

/// What is looked at: an object with all of its mirrors, or one of them.
struct Asked<'a> {
    id: &'a ObjectId,
    mirrors: &'a [MirrorState],
}

impl Asked<'_> {
    /// What a proxy needs, of that which its class has: what comes of the object, and for mirrors their clusters and
    /// the runtime layer with their fractions.
    fn needs(&self, resources: &Resources) -> Vec<(ResourceType, Arc<str>)> {
        let clusters = self.mirrors.iter().flat_map(|mirror| mirror.clusters.keys());
        let clusters = clusters.map(|cluster| (ResourceType::Cluster, umbra_envoy::cluster_name(cluster)));
        // In each form; a class has those that its proxies ask for.
        let layers: BTreeSet<RuntimeLayer> = self.mirrors.iter().flat_map(|it| layers_of(&it.key)).collect();
        let layers = layers.into_iter().map(|layer| (ResourceType::Runtime, layer.to_string().into()));
        resources.iter().cloned().chain(clusters).chain(layers).collect()
    }

    /// What a proxy was told last of the mirrors' shares, in words. It follows what its layers hold.
    fn told(&self, proxy: &Proxy) -> String {
        let Some(snapshot) = proxy.snapshot() else { return String::new() };
        let held = |layer: RuntimeLayer| {
            let resource = snapshot.get(ResourceType::Runtime, &layer.to_string())?;
            let taken = |session: &mut Session| {
                session.standing(ResourceType::Runtime, &resource.name, &resource.version)
            };
            (proxy.with_session(taken) == Standing::Taken).then(|| resource.body.clone())
        };
        let one = |mirror: &MirrorState| {
            let name = if mirror.subset.is_empty() { &mirror.host } else { &mirror.subset };
            let share =
                layers_of(&mirror.key).find_map(|layer| umbra_envoy::fraction_in(&held(layer)?, &mirror.key));
            let share = share.map_or("?".to_owned(), |millionths| match millionths {
                0 => "off".to_owned(),
                millionths => format!("{}%", f64::from(millionths) / 10_000.0),
            });
            format!("{name} {share}")
        };
        self.mirrors.iter().take(MAX_TOLD).map(one).collect::<Vec<_>>().join(", ")
    }
}

/// The layers, in every form, that a key is in.
fn layers_of(key: &RuntimeKey) -> impl Iterator<Item = RuntimeLayer> {
    (0..=RuntimeForms::MAX_DIGITS).map(|digits| RuntimeLayer::of(key, digits))
}

/// Keeps those that are away the longest.
pub(crate) fn cap_away(away: &mut Vec<AwayProxy>) {
    away.sort();
    away.truncate(MAX_LAGGARDS);
}

impl ObjectLive {
    /// Counts one that is away. Who lacks something and is away for longer than patience lasts holds no gate.
    fn add_away(
        &mut self,
        absent: &Absent,
        lacking: Option<Laggard>,
        asked: &Asked<'_>,
        patience: Option<Duration>,
    ) {
        let excused = patience.is_some_and(|patience| absent.age >= patience);
        match lacking {
            None => self.live += 1,
            Some(laggard) if excused => return self.excused.push(laggard),
            Some(laggard) => self.laggards.push(laggard),
        }
        self.total += 1;
        self.total_away += 1;
        let (since, proxy) = (absent.since, absent.proxy.name());
        self.away.push(AwayProxy { since, told: asked.told(&absent.proxy), proxy });
    }
}

fn blank(outcome: &Outcome, id: &ObjectId) -> ObjectLive {
    let known = outcome.cluster.get(id).filter(|known| !known.in_file);
    let mirrors = outcome.mirrors.get(id).into_iter().flat_map(|all| all.iter());
    let mut stopped: Vec<RuntimeKey> =
        mirrors.filter(|mirror| mirror.stopped).map(|mirror| mirror.key.clone()).collect();
    stopped.sort();
    ObjectLive {
        object: id.clone(),
        generation: known.map_or(0, |known| known.in_force),
        newest: known.map_or(0, |known| known.generation),
        total: 0,
        live: 0,
        laggards: Vec::new(),
        stopped,
        excused: Vec::new(),
        away: Vec::new(),
        total_away: 0,
    }
}

/// What a proxy lacks of what it needs, if anything; what it refused comes first.
fn lacks(proxy: &Proxy, class: &ClassReach, needs: &[(ResourceType, Arc<str>)]) -> Option<Laggard> {
    let mut lacking = None;
    for (resource_type, name) in needs {
        let mut at_fault = (*resource_type, name.clone());
        let words = match standing(proxy, class, &at_fault) {
            None | Some(Standing::Taken) => continue,
            Some(Standing::Refused(words)) => Some(one_line(&words)),
            // Envoy does not ask for the routes of a listener that it refused (its port is taken, for example), and virtual hosts
            // of a table that it refused are nothing.
            Some(Standing::Open) => {
                let refused = carriers(class, &at_fault).into_iter().find_map(|carrier| {
                    match standing(proxy, class, &carrier) {
                        Some(Standing::Refused(words)) => Some((carrier, words)),
                        _ => None,
                    }
                });
                refused.map(|(carrier, words)| {
                    at_fault = carrier;
                    one_line(&words)
                })
            }
        };
        if words.is_some() || lacking.is_none() {
            let refused = words.is_some();
            let resource = format!("{}/{}", at_fault.0.short_name(), at_fault.1);
            lacking = Some(Laggard { proxy: proxy.name(), resource, words });
            if refused {
                break;
            }
        }
    }
    lacking
}

/// What a proxy must have taken before it asks for a route table, or has any use for a virtual host.
fn carriers(
    class: &ClassReach,
    (resource_type, name): &(ResourceType, Arc<str>),
) -> Vec<(ResourceType, Arc<str>)> {
    let table = match resource_type {
        ResourceType::Route => Some(&**name),
        ResourceType::VirtualHost => name.rsplit_once('/').map(|(table, _)| table),
        _ => None,
    };
    let Some(table) = table else { return Vec::new() };
    let route = (*resource_type == ResourceType::VirtualHost).then(|| (ResourceType::Route, table.into()));
    let listener = class.listener_of(table).map(|name| (ResourceType::Listener, name));
    route.into_iter().chain(listener).collect()
}

/// How a proxy stands to what its class has under this name; `None`: nothing is there.
fn standing(
    proxy: &Proxy,
    class: &ClassReach,
    (resource_type, name): &(ResourceType, Arc<str>),
) -> Option<Standing> {
    let resource = class.snapshot.get(*resource_type, name)?;
    Some(proxy.with_session(|session| session.standing(*resource_type, name, &resource.version)))
}

#[cfg(test)]
mod tests;
