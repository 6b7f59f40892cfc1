//! From what is pending to responses, type by type in push order.

use std::sync::Arc;
use std::time::Duration;

use crate::flight::{Flight, Load};
use crate::held::Held;
use crate::message::{Output, SessionEvent};
use crate::order::{self, Plan};
use crate::resource::{Resource, ResourceType};
use crate::response::Response;
use crate::session::Session;
use crate::snapshot::Snapshot;
use crate::step::Step;
use crate::variant::Variant;
use crate::{ACK_DEADLINE, delta, sotw, version};

impl Session {
    /// Sends everything that may go now.
    pub(crate) fn flush(&mut self, now: Duration, output: &mut Output) {
        let Some(snapshot) = self.snapshot.clone() else { return };
        let fresh = std::mem::take(&mut self.fresh);
        self.lapse(now, output);
        self.unguard(now);
        for ty in ResourceType::ALL {
            if ty == ResourceType::VirtualHost || self.types.touched().has(ty) {
                self.flush_type(ty, &snapshot, now, output);
            }
        }
        // That may have shown that nothing was left to do for the routes.
        if self.unguard(now) {
            self.flush_type(ResourceType::Cluster, &snapshot, now, output);
        }
        let changed = self.types.touched().with(fresh);
        for ty in ResourceType::ALL {
            if ty != ResourceType::VirtualHost && changed.has(ty) {
                self.types.share(ty, &snapshot);
            }
        }
        self.types.hosts.share(&snapshot);
        // Nothing begins or ends to live only for some time without a change of what the proxy has.
        if changed.has(ResourceType::Runtime) || self.heartbeats.due.is_some() {
            self.beat(&snapshot, now, output);
        }
        self.types.settle();
    }

    /// Ends the guard when what the proxy brought from an earlier stream was replaced, or its time is over.
    fn unguard(&mut self, now: Duration) -> bool {
        let over = self.guard.is_some_and(|until| {
            now >= until
                || (self.held(ResourceType::Listener).idle()
                    && self.held(ResourceType::Route).idle()
                    && self.types.hosts.idle())
        });
        if over {
            self.guard = None;
        }
        over
    }

    /// Ends the wait for the ACK of CDS responses: Envoy withholds it while any cluster warms, and a name that
    /// does not resolve may warm for long. The other types are acknowledged at once, so they just wait.
    fn lapse(&mut self, now: Duration, output: &mut Output) {
        let ty = ResourceType::Cluster;
        let late = |flight: &Flight| !flight.lapsed && now >= flight.sent_at + ACK_DEADLINE;
        if !self.held(ty).flights().any(late) {
            return;
        }
        for flight in self.types[ty.index()].flights_mut() {
            if late(flight) {
                flight.lapsed = true;
                let names = flight.load.names().cloned().collect();
                output.events.push(SessionEvent::Lag { resource_type: ty, names, waiting_for: Vec::new() });
            }
        }
    }

    fn flush_type(&mut self, ty: ResourceType, snapshot: &Snapshot, now: Duration, output: &mut Output) {
        if ty == ResourceType::VirtualHost {
            return self.flush_hosts(snapshot, now, output);
        }
        if self.held(ty).whole {
            // Route configurations with hosts of their own have a stream's own versions.
            let own =
                ty == ResourceType::Route && self.variant == Variant::Delta && snapshot.has_tables_of_hosts();
            if order::is_quiet(ty, &self.types) && !own {
                return self.send_whole(ty, snapshot, now, output);
            }
            self.types[ty.index()].mark_all(ty, snapshot);
        }
        if let Some(step) = self.types[ty.index()].step.take() {
            if self.held(ty).pending.is_empty() {
                return self.send_step(ty, step, snapshot, now, output);
            }
            // Something else goes with it.
            for name in step.changed.keys() {
                self.types[ty.index()].mark(name.clone(), step.since, false);
            }
        }
        let held = self.held(ty);
        let urgent = held.pending.values().any(|pending| pending.urgent);
        if !held.subscription.asked()
            || (held.answered && held.pending.is_empty())
            || (held.blocked() && !urgent)
        {
            return;
        }
        let guarded = self.guard.is_some() && ty == ResourceType::Cluster;
        let mut plan = order::plan(ty, &self.types, snapshot, guarded, now);
        let held = &mut self.types[ty.index()];
        note_waiting(held, &plan, now);
        let response = match self.variant {
            Variant::Delta => self.build_delta(ty, &plan),
            Variant::Sotw => self.build_sotw(ty, &mut plan, snapshot),
        };
        let Some((nonce, version, response)) = response else { return };
        let gone = || plan.send.values().filter(|content| content.is_none()).count();
        let removed = if self.variant == Variant::Delta { gone() } else { 0 };
        let resources = response.resources();
        let mut changed: Vec<Arc<str>> = Vec::new();
        if ty == ResourceType::Cluster {
            let clusters = plan.send.values().flatten();
            changed.extend(clusters.flat_map(|it| it.required(ResourceType::Endpoint)).cloned());
        }
        self.follow_with_assignments(changed, snapshot.generation());
        let generation = snapshot.generation();
        let bytes = response.encoded_len();
        output.events.push(SessionEvent::Push { resource_type: ty, resources, removed, bytes, generation });
        if !plan.late.is_empty() {
            let mut waiting_for: Vec<_> = plan.late.values().flatten().cloned().collect();
            waiting_for.sort();
            waiting_for.dedup();
            let names = plan.late.into_keys().collect();
            output.events.push(SessionEvent::Lag { resource_type: ty, names, waiting_for });
        }
        output.responses.push(response);
        let held = &mut self.types[ty.index()];
        held.pending.retain(|name, _| !plan.send.contains_key(name));
        let (load, since) = (plan.send.into(), plan.since.min(generation));
        held.send(Flight::new(nonce, (since, generation), now, version, load));
    }

    /// The first response with everything that there is of a type, which all streams of a class share.
    fn send_whole(&mut self, ty: ResourceType, snapshot: &Snapshot, now: Duration, output: &mut Output) {
        self.types[ty.index()].whole = false;
        let whole = snapshot.whole(ty, self.variant);
        if ty == ResourceType::Cluster && self.held(ResourceType::Endpoint).subscription.asked() {
            let clusters = snapshot.map(ty).values();
            let names: Vec<_> =
                clusters.flat_map(|it| it.required(ResourceType::Endpoint)).cloned().collect();
            self.follow_with_assignments(names, snapshot.generation());
        }
        let changed = snapshot.map(ty).clone();
        self.send_step(ty, Step { since: 1, changed, whole }, snapshot, now, output);
    }

    /// What several streams send alike: what is new since the snapshot before, or everything.
    fn send_step(
        &mut self,
        ty: ResourceType,
        Step { since, changed, whole }: Step,
        snapshot: &Snapshot,
        now: Duration,
        output: &mut Output,
    ) {
        let nonce = self.next_nonce();
        let response = Response::whole(self.variant, ty.type_url(), nonce, &whole);
        let (generation, resources, bytes) = (snapshot.generation(), whole.count, response.encoded_len());
        output.events.push(SessionEvent::Push {
            resource_type: ty,
            resources,
            removed: 0,
            bytes,
            generation,
        });
        output.responses.push(response);
        let version = whole.version.clone();
        let load = Load::all(&changed, whole);
        self.types[ty.index()].send(Flight::new(nonce, (since, generation), now, version, load));
    }

    /// A response for what the plan sends. An empty one answers a first request, unless something that waits
    /// will answer it.
    fn build_delta(&mut self, ty: ResourceType, plan: &Plan) -> Option<(u64, Arc<str>, Response)> {
        if plan.send.is_empty() && (self.held(ty).answered || !plan.wait.is_empty()) {
            return None;
        }
        let nonce = self.next_nonce();
        let response = match ty {
            ResourceType::Route => delta::response(ty, &self.types.hosts.open(&plan.send), nonce),
            _ => delta::response(ty, &plan.send, nonce),
        };
        Some((nonce, Arc::default(), response))
    }

    fn build_sotw(
        &mut self,
        ty: ResourceType,
        plan: &mut Plan,
        snapshot: &Snapshot,
    ) -> Option<(u64, Arc<str>, Response)> {
        let held = &mut self.types[ty.index()];
        if !ty.is_complete() {
            // There is no way to say that a name is gone, so there is nothing to wait for either.
            let gone: Vec<_> =
                plan.send.iter().filter(|(_, it)| it.is_none()).map(|(name, _)| name.clone()).collect();
            for name in gone {
                plan.send.remove(&name);
                held.orphan(&name);
            }
        }
        // A first complete response would take away from a reconnected proxy what must still wait.
        let waits = !held.answered && !plan.wait.is_empty() && (ty.is_complete() || plan.send.is_empty());
        if waits || (plan.send.is_empty() && held.answered) {
            return None;
        }
        if ty.is_complete()
            && plan.wait.is_empty()
            && plan.leaving.is_empty()
            && held.refused.is_empty()
            && held.watches_all(snapshot.names(ty))
        {
            let whole = snapshot.whole(ty, Variant::Sotw);
            let nonce = self.next_nonce();
            let response = Response::whole(Variant::Sotw, ty.type_url(), nonce, &whole);
            return Some((nonce, whole.version.clone(), response));
        }
        let resources = sotw::resources(ty, held, plan, snapshot);
        let version = version::of_world(resources.iter().map(|it| it.identity()));
        if ty.is_complete() && held.refused_version.as_ref() == Some(&version) {
            held.pending.retain(|name, _| !plan.send.contains_key(name));
            held.refuse(ty, std::mem::take(&mut plan.send), plan.since);
            return None;
        }
        if ty.is_complete() {
            offer_again(held, plan, &resources);
        }
        let nonce = self.next_nonce();
        Some((nonce, version.clone(), sotw::response(ty, &resources, &version, nonce)))
    }

    /// The same for CDS responses that went before the proxy asked for assignments: a proxy that comes back asks for both
    /// before it reads anything, and brings the versions of assignments that a changed cluster needs anew.
    pub(crate) fn follow_open_clusters(&mut self, generation: u64) {
        if !self.held(ResourceType::Endpoint).whole {
            let sent = self.held(ResourceType::Cluster).flights().flat_map(|flight| flight.load.resources());
            let names: Vec<_> = sent.flat_map(|it| it.required(ResourceType::Endpoint)).cloned().collect();
            self.follow_with_assignments(names, generation);
        }
    }

    /// Behind every CDS response goes, at once, the assignment of each cluster that it adds or changes. Envoy
    /// does not ask again for a name that it watches, withholds the CDS ACK until the cluster is warm, and does
    /// not count an assignment that came before. A name that it does not watch it will ask for itself.
    fn follow_with_assignments(&mut self, names: Vec<Arc<str>>, generation: u64) {
        let held = &mut self.types[ResourceType::Endpoint.index()];
        if held.whole {
            return;
        }
        for name in names {
            if held.subscription.watches(&name) {
                held.mark(name.clone(), generation, true);
                if let Some(pending) = held.pending.get_mut(&name) {
                    pending.urgent = true;
                }
            }
        }
    }
}

/// A complete response says everything again, also what was refused before and has not changed: if the proxy takes
/// the response now, it has taken that too.
fn offer_again(held: &Held, plan: &mut Plan, resources: &[Arc<Resource>]) {
    for (name, refused) in &held.refused {
        let said = resources.binary_search_by(|it| it.name.cmp(name)).ok().map(|at| &resources[at].version);
        if !plan.send.contains_key(name) && said == refused.content.as_ref().map(|it| &it.version) {
            plan.send.insert(name.clone(), refused.content.clone());
            plan.since = plan.since.min(refused.since);
        }
    }
}

/// Drops what needs nothing, and starts the clock of what waits.
pub(crate) fn note_waiting(held: &mut Held, plan: &Plan, now: Duration) {
    for name in &plan.done {
        held.pending.remove(name);
    }
    held.confirm(plan.adopt.clone());
    for name in plan.wait.iter().chain(&plan.leaving) {
        let Some(pending) = held.pending.get_mut(name) else { continue };
        match pending.waiting_since {
            // Over, and still not all of what it requires was sent: another round.
            Some(since) if now >= since + ACK_DEADLINE && plan.wait.contains(name) => {
                pending.waiting_since = Some(now);
            }
            Some(_) => {}
            None => pending.waiting_since = Some(now),
        }
    }
}
