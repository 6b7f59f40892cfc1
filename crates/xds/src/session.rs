//! One ADS stream.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use umbra_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use umbra_proto::google::rpc::Status;

use crate::ACK_DEADLINE;
use crate::flight::{Flight, Items};
use crate::held::{Held, NackInfo};
use crate::lasting::{self, Heartbeats};
use crate::message::{Output, Request, SessionError, SessionEvent};
use crate::names::Names;
use crate::order::{Touched, Types};
use crate::refusal;
use crate::resource::{ResourceMap, ResourceType};
use crate::snapshot::Snapshot;
use crate::subscription::{Delta, MAX_NAME_BYTES, MAX_NAMES, TooMany};
use crate::unserved::Unserved;
use crate::variant::Variant;

/// The server's side of one ADS stream, either variant.
///
/// It is given what comes in (requests, snapshots, the time) and returns what to send. Time is the duration since
/// any fixed instant. Before the first snapshot requests stay unanswered: the sources are not read yet, and an
/// empty answer would take away what the proxy has.
#[derive(Debug)]
pub struct Session {
    pub(crate) variant: Variant,
    pub(crate) types: Types,
    pub(crate) snapshot: Option<Arc<Snapshot>>,
    /// The types in which it may differ from the one before, as long as nothing was made of it.
    pub(crate) fresh: Touched,
    /// Until then no cluster is removed that the proxy brought from an earlier stream, unless its listeners and
    /// routes are known to be replaced sooner: what those name is unknown.
    pub(crate) guard: Option<Duration>,
    pub(crate) heartbeats: Heartbeats,
    unserved: Unserved,
    nonces: u64,
}

impl Session {
    /// A stream on which nothing has happened.
    pub fn new(variant: Variant) -> Self {
        Self::seeded(variant, RandomState::new().build_hasher().finish())
    }

    /// The same, whose versions of route configurations with hosts of their own are those of this seed. No two streams of
    /// a proxy may have the same, whoever serves them.
    pub fn seeded(variant: Variant, seed: u64) -> Self {
        Self {
            variant,
            types: Types::seeded(seed),
            snapshot: None,
            fresh: Touched::default(),
            guard: None,
            heartbeats: Heartbeats::seeded(seed),
            unserved: Unserved::default(),
            nonces: 0,
        }
    }

    /// Takes a message from the proxy.
    ///
    /// # Errors
    /// The stream must be ended: see [`SessionError`].
    pub fn on_request(&mut self, request: impl Into<Request>, now: Duration) -> Result<Output, SessionError> {
        let mut output = Output::default();
        match (request.into(), self.variant) {
            (Request::Sotw(request), Variant::Sotw) => self.on_sotw(request, &mut output)?,
            (Request::Delta(request), Variant::Delta) => self.on_delta(request, now, &mut output)?,
            _ => return Err(SessionError::WrongVariant),
        }
        self.flush(now, &mut output);
        Ok(output)
    }

    /// Takes a new state of the world. Snapshots may be skipped, and may be of another lineage.
    pub fn on_snapshot(&mut self, snapshot: Arc<Snapshot>, now: Duration) -> Output {
        let mut output = Output::default();
        match self.snapshot.replace(snapshot.clone()) {
            Some(old) => self.advance(&old, &snapshot),
            None => {
                self.fresh = Touched::ALL;
                for ty in ResourceType::ALL {
                    if ty != ResourceType::VirtualHost && self.held(ty).subscription.asked() {
                        self.types[ty.index()].open(ty, &snapshot);
                    }
                }
            }
        }
        self.flush(now, &mut output);
        output
    }

    /// Looks at the clock; needed when [`Session::next_deadline`] has come.
    pub fn on_timer(&mut self, now: Duration) -> Output {
        let mut output = Output::default();
        self.flush(now, &mut output);
        output
    }

    /// When [`Session::on_timer`] should be called next, if nothing happens before.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.snapshot.as_ref()?;
        let clusters = self.held(ResourceType::Cluster);
        let flying =
            clusters.flights().filter(|flight| !flight.lapsed).map(|flight| flight.sent_at + ACK_DEADLINE);
        // Behind an unanswered response nothing is looked at, whatever the time.
        let users = [ResourceType::Listener, ResourceType::Route].into_iter();
        let waiting = users.filter(|ty| !self.held(*ty).blocked()).flat_map(|ty| {
            self.held(ty)
                .pending
                .values()
                .filter_map(|pending| pending.waiting_since)
                .map(|it| it + ACK_DEADLINE)
        });
        let hosts = self.types.hosts.deadlines();
        flying.chain(waiting).chain(hosts).chain(self.guard).chain(self.next_heartbeat()).min()
    }

    /// The snapshot that the stream is being brought to; `None` before the first.
    pub fn snapshot(&self) -> Option<&Arc<Snapshot>> {
        self.snapshot.as_ref()
    }

    /// The bytes that this stream alone makes its server keep, about: names that it asks for and has not in common with
    /// others, and versions that it brought from an earlier one.
    pub fn weight(&self) -> usize {
        let named = ResourceType::ALL.into_iter().filter(|ty| *ty != ResourceType::VirtualHost);
        named.map(|ty| self.held(ty).weight()).sum()
    }

    /// The variant that the stream was opened with.
    pub fn variant(&self) -> Variant {
        self.variant
    }

    pub(crate) fn held(&self, resource_type: ResourceType) -> &Held {
        &self.types[resource_type.index()]
    }

    pub(crate) fn next_nonce(&mut self) -> u64 {
        self.nonces += 1;
        self.nonces
    }

    fn on_sotw(&mut self, request: DiscoveryRequest, output: &mut Output) -> Result<(), SessionError> {
        // Virtual hosts as resources of their own are delta's alone.
        let Some(ty) = known(&request.type_url)?.filter(|ty| *ty != ResourceType::VirtualHost) else {
            let nonce = self.next_nonce();
            output.responses.extend(self.unserved.sotw(&request, nonce)?);
            return Ok(());
        };
        let held = &mut self.types[ty.index()];
        let first = !held.subscription.asked();
        if !first {
            let nonce = nonce(&request.response_nonce);
            let stale = nonce != held.last_nonce;
            if (1..=held.last_nonce).contains(&nonce) {
                // Envoy acknowledges only the newest of several responses, so it stands for those before it too.
                let map = self.snapshot.as_ref().map(|snapshot| snapshot.map(ty));
                while let Some(older) = held.land_before(nonce) {
                    settle(held, (Variant::Sotw, ty), older, None, map, output);
                }
                if let Some(flight) = held.land(nonce) {
                    settle(held, (Variant::Sotw, ty), flight, request.error_detail, map, output);
                }
            }
            // A request that crossed a newer response: the one that answers that response brings the names again.
            // If it brings one that is missing here, the proxy let it go in between and needs it anew.
            if stale {
                if let Some(snapshot) = &self.snapshot {
                    let change = held.subscription.shrink(&request.resource_names);
                    held.follow(change, ty, snapshot);
                }
                return Ok(());
            }
        }
        let known = known_names(self.snapshot.as_deref(), ty);
        let change = held.subscription.set(&request.resource_names, ty.is_complete(), &known);
        self.subscribed(ty, first, change)
    }

    fn on_delta(
        &mut self,
        request: DeltaDiscoveryRequest,
        now: Duration,
        output: &mut Output,
    ) -> Result<(), SessionError> {
        let Some(ty) = known(&request.type_url)? else {
            let nonce = self.next_nonce();
            output.responses.extend(self.unserved.delta(&request, nonce)?);
            return Ok(());
        };
        if ty == ResourceType::VirtualHost {
            return self.on_hosts(request, now, output);
        }
        let clusters_asked = self.held(ResourceType::Cluster).subscription.asked();
        let held = &mut self.types[ty.index()];
        let first = !held.subscription.asked();
        if first {
            let mut brought = request.initial_resource_versions;
            check_brought(ty, &brought)?;
            if !brought.is_empty() {
                self.guard.get_or_insert(now + ACK_DEADLINE);
            }
            if ty == ResourceType::Endpoint && !clusters_asked {
                // Envoy asks for clusters when none warms any more. One that was warming when the last stream broke needs
                // its assignment again, whatever version the proxy has of that.
                brought.clear();
            }
            if ty == ResourceType::Route {
                self.types.hosts.claim_tables(&mut brought, &request.resource_names_subscribe);
            }
            if ty == ResourceType::Runtime && !brought.is_empty() {
                // How long what it has still lives, only the proxy knows.
                self.heartbeats.hurry(now);
            }
            let held = &mut self.types[ty.index()];
            held.bring(brought);
        } else if let Some(flight) = held.land(nonce(&request.response_nonce)) {
            let tables = ty == ResourceType::Route && request.error_detail.is_some();
            let names: Vec<_> = flight.load.names().filter(|_| tables).cloned().collect();
            let map = self.snapshot.as_ref().map(|snapshot| snapshot.map(ty));
            settle(held, (Variant::Delta, ty), flight, request.error_detail, map, output);
            // One that was not taken has no hosts either.
            let never = names
                .into_iter()
                .filter(|name| held.body(name).is_none() && !held.foreign.contains_key(name));
            for name in never.collect::<Vec<_>>() {
                self.types.hosts.close(&name);
            }
        }
        let held = &mut self.types[ty.index()];
        let (more, less) = (&request.resource_names_subscribe, &request.resource_names_unsubscribe);
        let known = known_names(self.snapshot.as_deref(), ty);
        let change = held.subscription.change(more, less, ty.is_complete(), &known);
        self.subscribed(ty, first, change)
    }

    fn subscribed(
        &mut self,
        ty: ResourceType,
        first: bool,
        change: Result<Delta, TooMany>,
    ) -> Result<(), SessionError> {
        let change = change.map_err(|TooMany| too_many(ty))?;
        if ty == ResourceType::Route && !first {
            // Who asks again for a table has begun it anew.
            change.dropped.iter().chain(&change.asked).for_each(|name| self.types.hosts.close(name));
        }
        if let Some(snapshot) = &self.snapshot {
            if first {
                self.types[ty.index()].open(ty, snapshot);
                if ty == ResourceType::Endpoint {
                    self.follow_open_clusters(snapshot.generation());
                }
            } else {
                let held = &mut self.types[ty.index()];
                held.follow(change, ty, snapshot);
                held.subscription.share(snapshot.names(ty));
            }
        }
        Ok(())
    }

    /// Marks what differs between two snapshots: by the log of the new one, or by comparing everything.
    fn advance(&mut self, old: &Snapshot, new: &Snapshot) {
        let since = (old.generation() + 1).min(new.generation());
        if let Some(changed) = new.changed_from(old) {
            new.changed_from(old).into_iter().flatten().for_each(|(ty, _)| self.fresh.add(ty.index()));
            if self.variant == Variant::Delta {
                let fresh = self.fresh;
                for ty in ResourceType::ALL.into_iter().filter(|ty| ty.goes_at_once() && fresh.has(*ty)) {
                    let held = self.held(ty);
                    if held.is_in_step() && held.watches_all(new.names(ty)) {
                        self.types[ty.index()].step = new.step(ty, old);
                    }
                }
            }
            for (ty, name) in changed {
                if *ty == ResourceType::VirtualHost {
                    self.types.hosts.mark(name, since);
                    continue;
                }
                let held = self.held(*ty);
                if held.step.is_none() && held.subscription.watches(name) {
                    self.types[ty.index()].mark(name.clone(), since, false);
                }
            }
            return;
        }
        self.fresh = Touched::ALL;
        self.types.hosts.compare(old, new, since);
        for ty in ResourceType::ALL.into_iter().filter(|ty| *ty != ResourceType::VirtualHost) {
            let held = &mut self.types[ty.index()];
            let (before, after) = (old.map(ty), new.map(ty));
            let version = |map: &ResourceMap, name: &str| map.get(name).map(|it| it.version.clone());
            let names: Vec<_> = before
                .keys()
                .chain(after.keys())
                .filter(|name| {
                    held.subscription.watches(name) && version(before, name) != version(after, name)
                })
                .cloned()
                .collect();
            for name in names {
                held.mark(name, since, false);
            }
        }
    }
}

/// Takes the proxy's answer to a response.
fn settle(
    held: &mut Held,
    (variant, ty): (Variant, ResourceType),
    flight: Flight,
    error: Option<Status>,
    snapshot: Option<&ResourceMap>,
    output: &mut Output,
) {
    if flight.is_heartbeat {
        if error.is_some() {
            lasting::missed(held, flight.generation);
        }
        return;
    }
    let Flight { generation, load, since, version, .. } = flight;
    let Some(Status { message, .. }) = error else {
        held.refused_version = None;
        held.accept(load, snapshot);
        output.events.push(SessionEvent::Ack { resource_type: ty, generation });
        return;
    };
    let items = load.expand();
    let versions: BTreeMap<_, _> = items
        .iter()
        .map(|(name, content)| (name.clone(), content.as_ref().map(|it| it.version.clone())))
        .collect();
    held.refused_version = Some(version);
    let names = versions.keys().cloned().collect();
    held.last_nack =
        Some(NackInfo { message: message.clone(), resources: versions.into_iter().collect(), generation });
    // A complete response says everything each time, so nothing of it can be sent by itself.
    let complete = variant == Variant::Sotw && ty.is_complete();
    let (refused, again) = if complete { (items, Items::new()) } else { refusal::divide(held, ty, items) };
    held.refuse(ty, refused, since);
    held.repeat(again, since);
    output.events.push(SessionEvent::Nack { resource_type: ty, message, names, generation });
}

/// The names that there are.
fn known_names(snapshot: Option<&Snapshot>, ty: ResourceType) -> Names {
    snapshot.map_or_else(Names::default, |snapshot| snapshot.names(ty).clone())
}

/// The type of a request, or `None` for one that umbra does not serve.
fn known(type_url: &str) -> Result<Option<ResourceType>, SessionError> {
    if type_url.is_empty() {
        return Err(SessionError::MissingTypeUrl);
    }
    Ok(ResourceType::from_type_url(type_url))
}

/// The number of a nonce that we gave; 0 for any other text.
pub(crate) fn nonce(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}

/// What a proxy brings has limits.
pub(crate) fn check_brought(
    ty: ResourceType,
    brought: &BTreeMap<String, String>,
) -> Result<(), SessionError> {
    let bytes: usize = brought.iter().map(|(name, version)| name.len() + version.len()).sum();
    if brought.len() > MAX_NAMES || bytes > MAX_NAME_BYTES { Err(too_many(ty)) } else { Ok(()) }
}

fn too_many(ty: ResourceType) -> SessionError {
    SessionError::TooManyNames {
        type_url: ty.type_url().to_owned(),
        max_names: MAX_NAMES,
        max_bytes: MAX_NAME_BYTES,
    }
}
