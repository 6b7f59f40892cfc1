//! What can happen to a mesh, step by step, and a mesh to which it happens.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;
use umbra_api::{Change, Object, parse_value};
use umbra_engine::{Engine, Options, ProxyId, Settled};
use umbra_ir::{
    AccessLog, AccessLogFormat, Breakers, HostOwnership, Interception, Judges, Locality, ObjectId,
    OutboundPolicy, ProxyKind, ProxyNode, RouteTables, RuntimeForms, Settings,
};
use umbra_xds::{ResourceType, Snapshot};

use super::core::pick_name;
use super::policies::namespace;
use super::{
    Tape, check_output, destination_rule, endpoint_slice, gateway, mirror_policy, node, pod, service,
    service_entry, sidecar, virtual_service, workload_entry,
};

/// How many proxies can be connected at a time.
const PROXIES: usize = 5;

/// One thing that happens. Objects are manifests, so that what fails can be read.
#[derive(Clone)]
pub enum Op {
    /// An object is there, with this content.
    Put(Value),
    /// One of the objects that are there changes in one place; the numbers say which and how.
    Edit(Vec<u16>),
    /// One of the objects that are there goes.
    Delete(usize),
    /// A proxy comes, or comes back as another.
    Connect(u64, ProxyNode, bool),
    /// A proxy asks for the runtime layer.
    SetRtds(u64),
    /// A proxy goes.
    Disconnect(u64),
    /// The operator's settings change.
    Settings(Box<Settings>),
}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Put(manifest) => write!(f, "Put {manifest}"),
            Op::Edit(numbers) => write!(f, "Edit {numbers:?}"),
            Op::Delete(nth) => write!(f, "Delete {nth}"),
            Op::Connect(id, node, rtds) => write!(f, "Connect {id} rtds={rtds} {node:?}"),
            Op::SetRtds(id) => write!(f, "SetRtds {id}"),
            Op::Disconnect(id) => write!(f, "Disconnect {id}"),
            Op::Settings(settings) => write!(f, "Settings {settings:?}"),
        }
    }
}

/// Up to `most` steps of every kind, and whether the mesh settles after each.
pub fn script(most: usize) -> impl Strategy<Value = Vec<(Op, bool)>> {
    let step = |tape: &Vec<u16>| {
        let (first, rest) = tape.split_first().unwrap_or((&0, &[]));
        (op(rest), first % 4 != 3)
    };
    vec(vec(any::<u16>(), 0..120), 1..most).prop_map(move |tapes| tapes.iter().map(step).collect())
}

fn op(numbers: &[u16]) -> Op {
    let mut t = Tape::new(numbers);
    match t.below(20) {
        0..=9 => Op::Put(object(&mut t)),
        10..=12 => Op::Edit(numbers.get(1..).unwrap_or_default().to_vec()),
        13..=14 => Op::Delete(usize::from(t.number())),
        15..=16 => Op::Connect(t.below(PROXIES) as u64, proxy(&mut t), t.one_in(2)),
        17 => Op::SetRtds(t.below(PROXIES) as u64),
        18 => Op::Disconnect(t.below(PROXIES) as u64),
        _ => Op::Settings(Box::new(settings(&mut t))),
    }
}

/// A manifest of any kind, with a name from the pools.
pub fn object(t: &mut Tape<'_>) -> Value {
    let kind = t.pick(&[
        "Service",
        "VirtualService",
        "Pod",
        "DestinationRule",
        "VirtualService",
        "ServiceEntry",
        "EndpointSlice",
        "Gateway",
        "WorkloadEntry",
        "Sidecar",
        "MirrorPolicy",
        "Node",
    ]);
    let ns = namespace(t);
    let name = pick_name(t, kind);
    match kind {
        "Service" => service(t, ns, name),
        "VirtualService" => virtual_service(t, ns, name),
        "Pod" => pod(t, ns, name),
        "DestinationRule" => destination_rule(t, ns, name),
        "ServiceEntry" => service_entry(t, ns, name),
        "EndpointSlice" => endpoint_slice(t, ns, name),
        "Gateway" => gateway(t, ns, name),
        "Sidecar" => sidecar(t, ns, name),
        "MirrorPolicy" => mirror_policy(t, ns, name),
        "WorkloadEntry" => workload_entry(t, ns, name),
        _ => node(t, name),
    }
}

/// A proxy: sidecar or gateway, known by its labels, by its Pod, or not at all.
pub fn proxy(t: &mut Tape<'_>) -> ProxyNode {
    let kind = t.pick(&[ProxyKind::Sidecar, ProxyKind::Router]);
    let label =
        |t: &mut Tape<'_>| (t.pick(super::core::LABELS).to_owned(), t.pick(super::core::VALUES).to_owned());
    let labels = match (kind, t.below(4)) {
        (ProxyKind::Router, 0..=1) => {
            Some(BTreeMap::from([("istio".to_owned(), "ingressgateway".to_owned())]))
        }
        (_, 3) => None,
        _ => Some(t.list(2, label).into_iter().collect()),
    };
    ProxyNode {
        kind,
        namespace: namespace(t).into(),
        pod: t.maybe(2, |t| pick_name(t, "Pod").into()),
        labels,
        unprivileged: t.one_in(4),
        trusted_proxies: t.maybe(6, |t| t.below(3) as u32),
        interception: match kind {
            ProxyKind::Sidecar if t.one_in(3) => Interception::Redirect { ipv6: t.one_in(2) },
            ProxyKind::Sidecar | ProxyKind::Router => Interception::None,
        },
        locality: t.maybe(3, |t| Locality::parse(t.pick(&["r1/z1", "r2", "", "r1/z2/s1"]))),
        takes_hosts: t.one_in(2),
        edits_copies: !t.one_in(4),
        may_have_keys: true,
        http10: t.one_in(6),
        judges: t.pick(&[Judges::Nothing, Judges::Lines, Judges::Bodies]),
    }
}

/// An operator's settings.
pub fn settings(t: &mut Tape<'_>) -> Settings {
    let mut settings = Settings {
        root_namespace: t.pick(&["istio-system", "prod", "elsewhere"]).into(),
        cluster_domain: t.pick(&["cluster.local", "mesh.example", "Cluster.Local", ""]).into(),
        ..Settings::default()
    };
    settings.outbound_policy = t.pick(&[OutboundPolicy::AllowAny, OutboundPolicy::RegistryOnly]);
    settings.host_ownership = t.pick(&[HostOwnership::Open, HostOwnership::Own, HostOwnership::Consent]);
    settings.route_tables = t.pick(&[RouteTables::Hosts, RouteTables::Plain]);
    settings.istio_compatible = t.one_in(3);
    settings.istio_metrics = t.one_in(2);
    settings.mirror.shadow_suffix = !t.one_in(2);
    settings.mirror.max_stream_duration = Duration::from_secs(t.pick(&[60, 1, 3600]));
    if t.one_in(3) {
        settings.mirror.breakers =
            Breakers { max_connections: 1, max_pending_requests: 1, max_requests: 1, max_retries: 1 };
    }
    settings.mirror.mark = t.one_in(4);
    settings.mirror.observe = !t.one_in(3);
    settings.mirror.dead_man = t.maybe(4, |_| Duration::from_secs(600));
    settings.access_log = t.maybe(2, |t| AccessLog {
        path: Some("/dev/stdout".into()),
        format: t.pick(&[AccessLogFormat::Json, AccessLogFormat::Text]),
        service: None,
        copies: t.one_in(2),
    });
    settings
}

/// A mesh, its manifests, and what was published last.
pub struct World {
    /// What is under test.
    pub engine: Engine,
    settings: Settings,
    proxies: BTreeMap<u64, (ProxyNode, bool)>,
    manifests: BTreeMap<ObjectId, Value>,
    published: BTreeMap<ProxyId, Arc<Snapshot>>,
    diagnostics: Vec<umbra_ir::Diagnostic>,
}

impl World {
    /// An empty mesh; the Pods stand in for missing EndpointSlices, as in a directory.
    pub fn new() -> Self {
        World {
            engine: Engine::new(Options { pods_as_endpoints: true, ..Options::default() }),
            settings: Settings::default(),
            proxies: BTreeMap::new(),
            manifests: BTreeMap::new(),
            published: BTreeMap::new(),
            diagnostics: Vec::new(),
        }
    }

    /// A mesh in which everything refers to something, with a proxy of each sort.
    pub fn usual() -> Self {
        let mut world = World::new();
        for manifest in serde_saphyr::from_multiple::<Value>(include_str!("base.yaml")).unwrap_or_default() {
            world.put(&manifest);
        }
        let labels = |key: &str, value: &str| Some(BTreeMap::from([(key.to_owned(), value.to_owned())]));
        for (id, kind, namespace, labels, rtds) in [
            (0, ProxyKind::Sidecar, "default", labels("app", "web"), true),
            (1, ProxyKind::Sidecar, "prod", None, false),
            (2, ProxyKind::Router, "istio-system", labels("istio", "ingressgateway"), true),
        ] {
            let node = ProxyNode {
                kind,
                namespace: namespace.into(),
                pod: None,
                labels,
                unprivileged: false,
                trusted_proxies: None,
                interception: Interception::None,
                locality: None,
                takes_hosts: false,
                edits_copies: true,
                may_have_keys: true,
                http10: false,
                judges: Default::default(),
            };
            world.apply(&Op::Connect(id, node, rtds));
        }
        world.settle();
        world
    }

    /// The manifests that are there, by identity.
    pub fn manifests(&self) -> &BTreeMap<ObjectId, Value> {
        &self.manifests
    }

    /// Everything that is there, as steps that lead there from an empty mesh.
    pub fn steps(&self) -> Vec<Op> {
        let proxies = self.proxies.iter().map(|(id, (node, rtds))| Op::Connect(*id, node.clone(), *rtds));
        let settings = Op::Settings(Box::new(self.settings.clone()));
        self.manifests.values().cloned().map(Op::Put).chain(proxies).chain([settings]).collect()
    }

    /// Takes everything away again.
    pub fn clear(&mut self) {
        for id in std::mem::take(&mut self.manifests).into_keys() {
            self.engine.apply(Change::Delete(id));
        }
        for id in std::mem::take(&mut self.proxies).into_keys() {
            self.engine.disconnect(ProxyId(id));
        }
        self.published.clear();
    }

    /// Does one step; nothing is computed yet.
    pub fn apply(&mut self, op: &Op) {
        match op {
            Op::Put(manifest) => self.put(manifest),
            Op::Edit(numbers) => {
                let mut t = Tape::new(numbers);
                let Some(id) = self.nth(usize::from(t.number())) else { return };
                let mut manifest = self.manifests[&id].clone();
                super::text::edit(&mut manifest, &mut t);
                self.put(&manifest);
            }
            Op::Delete(nth) => {
                let Some(id) = self.nth(*nth) else { return };
                self.manifests.remove(&id);
                self.engine.apply(Change::Delete(id));
            }
            Op::Connect(id, node, rtds) => {
                self.engine.connect(ProxyId(*id), node.clone(), *rtds);
                self.proxies.insert(*id, (node.clone(), *rtds));
                // A proxy that comes back has no snapshot until the next settle.
                self.published.remove(&ProxyId(*id));
            }
            Op::SetRtds(id) => {
                self.engine.set_rtds(ProxyId(*id), RuntimeForms::WHOLE);
                if let Some((_, rtds)) = self.proxies.get_mut(id) {
                    *rtds = true;
                }
            }
            Op::Disconnect(id) => {
                self.engine.disconnect(ProxyId(*id));
                self.proxies.remove(id);
                self.published.remove(&ProxyId(*id));
            }
            Op::Settings(settings) => {
                self.settings = (**settings).clone();
                self.engine.set_settings(self.settings.clone());
            }
        }
    }

    fn nth(&self, nth: usize) -> Option<ObjectId> {
        self.manifests.keys().nth(nth % self.manifests.len().max(1)).cloned()
    }

    /// What is refused changes nothing, as a directory keeps the last good version.
    pub fn put(&mut self, manifest: &Value) {
        for located in parse_value(manifest.clone()).objects {
            let object: Arc<Object> = Arc::new(located.value);
            self.manifests.insert(object.id(), manifest.clone());
            self.engine.apply(Change::Upsert(object));
        }
    }

    /// Settles, and checks that what was said to have changed is what changed.
    ///
    /// # Panics
    /// When it is not.
    pub fn settle(&mut self) -> Settled {
        let settled = self.engine.settle();
        let told: BTreeSet<ProxyId> = settled.snapshots.iter().map(|(id, _)| *id).collect();
        for (id, snapshot) in &settled.snapshots {
            let current = self.engine.snapshot(*id);
            assert!(current.is_some_and(|c| Arc::ptr_eq(&c, snapshot)), "{id:?} was told another snapshot");
        }
        for n in 0..PROXIES as u64 {
            let id = ProxyId(n);
            let Some(now) = self.engine.snapshot(id) else { continue };
            match self.published.get(&id) {
                Some(before) if Arc::ptr_eq(before, &now) => {}
                Some(before) => {
                    assert!(told.contains(&id), "{id:?} has a new snapshot and was not told");
                    check_log(before, &now);
                }
                None => assert!(told.contains(&id), "{id:?} has its first snapshot and was not told"),
            }
            self.published.insert(id, now);
        }
        let diagnostics = self.engine.diagnostics();
        let changed = diagnostics != self.diagnostics;
        assert_eq!(settled.diagnostics_changed, changed, "diagnostics: {diagnostics:?}");
        self.diagnostics = diagnostics;
        settled
    }

    /// Every proxy that is connected, with its snapshot.
    pub fn snapshots(&self) -> Vec<(ProxyId, Arc<Snapshot>)> {
        let ids = (0..PROXIES as u64).map(ProxyId);
        ids.filter_map(|id| Some((id, self.engine.snapshot(id)?))).collect()
    }

    /// Checks what every proxy gets, see [`check_output`].
    pub fn check_output(&self) {
        for (id, snapshot) in self.snapshots() {
            let rtds = self.engine.class(id).is_some_and(|class| class.rtds.any());
            check_output(&snapshot, rtds, &self.settings.mirror);
        }
    }

    /// Everything that can be seen from outside, in a form that compares and prints.
    pub fn output(&self) -> Output {
        output(&self.engine)
    }
}

impl Default for World {
    fn default() -> Self {
        World::new()
    }
}

/// Within a lineage the log names exactly what differs.
fn check_log(before: &Snapshot, now: &Snapshot) {
    let Some(named) = now.changed_from(before) else { return };
    let named: BTreeSet<_> = named.collect();
    for ty in ResourceType::ALL {
        let names = before.map(ty).keys().chain(now.map(ty).keys());
        for name in names {
            let differs = before.get(ty, name) != now.get(ty, name);
            let logged = named.contains(&(ty, name.clone()));
            assert!(!differs || logged, "{ty} {name} changed and the log does not say so");
        }
    }
}

/// Type and name of a resource to its version, its body and what it requires.
type Resources = BTreeMap<(ResourceType, String), (String, Vec<u8>, Vec<String>)>;

/// What an engine gives.
#[derive(PartialEq)]
pub struct Output {
    /// By proxy.
    pub resources: BTreeMap<ProxyId, Resources>,
    /// As text.
    pub diagnostics: Vec<String>,
    /// How many objects of each kind.
    pub objects: String,
    /// How many values of each kind are kept: none but those that are needed.
    pub keys: BTreeMap<&'static str, usize>,
}

impl Output {
    /// What this one has and the other has not: a line each, bodies left out.
    pub fn beyond(&self, other: &Output) -> Vec<String> {
        let theirs: BTreeSet<String> = other.lines().collect();
        self.lines().filter(|line| !theirs.contains(line)).collect()
    }

    fn lines(&self) -> impl Iterator<Item = String> {
        let resources = self.resources.iter().flat_map(|(proxy, all)| all.iter().map(move |r| (proxy, r)));
        let resources = resources.map(|(proxy, ((ty, name), (version, _, requires)))| {
            format!("proxy {} {ty} {name} {version} {requires:?}", proxy.0)
        });
        let keys = self.keys.iter().map(|(kind, count)| format!("{kind}: {count}"));
        resources.chain(self.diagnostics.iter().cloned()).chain([self.objects.clone()]).chain(keys)
    }
}

/// What an engine gives.
pub fn output(engine: &Engine) -> Output {
    let resources = |snapshot: &Snapshot| {
        let mut all = Resources::new();
        for ty in ResourceType::ALL {
            for (name, resource) in snapshot.map(ty) {
                let requires = resource.requires.iter().map(ToString::to_string).collect();
                let content = (resource.version.to_string(), resource.body.to_vec(), requires);
                all.insert((ty, name.to_string()), content);
            }
        }
        all
    };
    let ids = (0..PROXIES as u64).map(ProxyId);
    let counts = engine.object_counts().iter().filter(|(_, count)| **count > 0);
    Output {
        resources: ids.filter_map(|id| Some((id, resources(&*engine.snapshot(id)?)))).collect(),
        diagnostics: engine.diagnostics().iter().map(ToString::to_string).collect(),
        objects: format!("{:?}", counts.collect::<Vec<_>>()),
        keys: engine.key_counts(),
    }
}
