//! From what is pending to responses, type by type in push order.

use std::sync::Arc;
use std::time::Duration;

use crate::held::{Flight, Held};
use crate::message::{Output, Response, SessionEvent, Variant};
use crate::order::{self, Plan};
use crate::resource::{Resource, ResourceType};
use crate::session::Session;
use crate::snapshot::Snapshot;
use crate::{ACK_DEADLINE, delta, sotw};

impl Session {
    /// Sends everything that may go now.
    pub(crate) fn flush(&mut self, now: Duration, output: &mut Output) {
        let Some(snapshot) = self.snapshot.clone() else { return };
        self.lapse(now, output);
        self.unguard(now);
        for ty in ResourceType::ALL {
            self.flush_type(ty, &snapshot, now, output);
        }
        // That may have shown that nothing was left to do for the routes.
        if self.unguard(now) {
            self.flush_type(ResourceType::Cluster, &snapshot, now, output);
        }
        for ty in ResourceType::ALL {
            self.types[ty.index()].share(snapshot.map(ty));
        }
    }

    /// Ends the guard when what the proxy brought from an earlier stream was replaced, or its time is over.
    fn unguard(&mut self, now: Duration) -> bool {
        let over = self.guard.is_some_and(|until| {
            now >= until
                || (self.held(ResourceType::Listener).idle() && self.held(ResourceType::Route).idle())
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
        for flight in self.types[ty.index()].flights_mut() {
            if !flight.lapsed && now >= flight.sent_at + ACK_DEADLINE {
                flight.lapsed = true;
                let names = flight.items.keys().cloned().collect();
                output.events.push(SessionEvent::Lag { resource_type: ty, names, waiting_for: Vec::new() });
            }
        }
    }

    fn flush_type(&mut self, ty: ResourceType, snapshot: &Snapshot, now: Duration, output: &mut Output) {
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
        let changed: Vec<_> = plan.send.iter().filter(|(_, content)| content.is_some()).collect();
        let removed = plan.send.len() - changed.len();
        let (resources, removed) = match &response {
            Response::Sotw(response) => (response.resources.len(), 0),
            Response::Delta(_) => (changed.len(), removed),
        };
        if ty == ResourceType::Cluster {
            let used = changed.iter().filter_map(|(_, content)| content.as_ref());
            let names: Vec<_> =
                used.flat_map(|cluster| cluster.required(ResourceType::Endpoint).cloned()).collect();
            self.follow_with_assignments(names, snapshot.generation());
        }
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
        let (items, since) = (plan.send, plan.since.min(generation));
        let flight = Flight { nonce, generation, since, sent_at: now, lapsed: false, version, items };
        let held = &mut self.types[ty.index()];
        held.pending.retain(|name, _| !flight.items.contains_key(name));
        held.send(flight);
    }

    /// A response for what the plan sends. An empty one answers a first request, unless something that waits
    /// will answer it.
    fn build_delta(&mut self, ty: ResourceType, plan: &Plan) -> Option<(u64, Arc<str>, Response)> {
        if plan.send.is_empty() && (self.held(ty).answered || !plan.wait.is_empty()) {
            return None;
        }
        let nonce = self.next_nonce();
        Some((nonce, Arc::default(), Response::Delta(delta::response(ty, &plan.send, nonce))))
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
        let resources = sotw::resources(ty, held, plan, snapshot);
        let version = sotw::version(&resources);
        if ty.is_complete() && held.refused_version.as_ref() == Some(&version) {
            held.pending.retain(|name, _| !plan.send.contains_key(name));
            held.refuse(ty, std::mem::take(&mut plan.send), plan.since);
            return None;
        }
        if ty.is_complete() {
            offer_again(held, plan, &resources);
        }
        let nonce = self.next_nonce();
        Some((nonce, version.clone(), Response::Sotw(sotw::response(ty, &resources, &version, nonce))))
    }

    /// Behind every CDS response goes, at once, the assignment of each cluster that it adds or changes. Envoy
    /// does not ask again for a name that it watches, withholds the CDS ACK until the cluster is warm, and does
    /// not count an assignment that came before. A name that it does not watch it will ask for itself.
    fn follow_with_assignments(&mut self, names: Vec<Arc<str>>, generation: u64) {
        let held = &mut self.types[ResourceType::Endpoint.index()];
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
fn note_waiting(held: &mut Held, plan: &Plan, now: Duration) {
    for name in &plan.done {
        held.pending.remove(name);
    }
    held.confirm(plan.adopt.clone());
    for name in plan.wait.keys().chain(&plan.leaving) {
        let Some(pending) = held.pending.get_mut(name) else { continue };
        match pending.waiting_since {
            // Over, and still not all of what it requires was sent: another round.
            Some(since) if now >= since + ACK_DEADLINE && plan.wait.contains_key(name) => {
                pending.waiting_since = Some(now);
            }
            Some(_) => {}
            None => pending.waiting_since = Some(now),
        }
    }
}
