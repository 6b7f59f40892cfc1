//! Requests for virtual hosts that are resources of their own, and responses with them.

mod plan;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use umbra_proto::envoy::config::route::v3::VirtualHost;
use umbra_proto::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use umbra_proto::google::rpc::Status;

use crate::ACK_DEADLINE;
use crate::flight::{Flight, Items, Load};
use crate::flush::note_waiting;
use crate::held::NackInfo;
use crate::hosts::Hosts;
use crate::message::{Output, SessionError, SessionEvent};
use crate::names::Names;
use crate::of_type::OfType;
use crate::order::{self, Types};
use crate::resource::{Resource, ResourceMap, ResourceType};
use crate::response::Response;
use crate::session::{Session, check_brought, nonce};
use crate::snapshot::Snapshot;
use crate::variant::Variant;
use plan::plan;

const TYPE: ResourceType = ResourceType::VirtualHost;

/// Who answered slowly is left alone for as long, but no longer than this (decision 0018 has the figures).
const LONGEST_REST: Duration = Duration::from_millis(100);

/// What no client can ask for.
const MARKER_DOMAIN: &str = "~.invalid";

/// A response in the making.
struct Cargo {
    load: Load,
    entries: Vec<Bytes>,
    resources: usize,
    since: u64,
    /// Hosts that did not wait any longer, and for what.
    late: Vec<(Arc<str>, Vec<Arc<str>>)>,
    marker: bool,
}

impl Cargo {
    fn of(items: Items, since: u64, marker: bool) -> Self {
        let entries: Vec<_> = items.values().flatten().map(|it| it.entry(Variant::Delta)).collect();
        let resources = entries.len();
        Self { load: items.into(), entries, resources, since, late: Vec::new(), marker }
    }
}

impl Session {
    /// The first request asks for the hosts of all tables of the stream, whatever it names; the others answer.
    pub(crate) fn on_hosts(
        &mut self,
        request: DeltaDiscoveryRequest,
        now: Duration,
        output: &mut Output,
    ) -> Result<(), SessionError> {
        let subscription = &mut self.types[TYPE.index()].subscription;
        if subscription.asked() {
            if let Some((name, flight)) = self.types.hosts.land(nonce(&request.response_nonce)) {
                self.settle_hosts(&name, flight, request.error_detail, now, output);
            }
            return Ok(());
        }
        check_brought(TYPE, &request.initial_resource_versions)?;
        let _ = subscription.change(&[], &[], true, &Names::default());
        self.types[TYPE.index()].answered = true;
        if !request.initial_resource_versions.is_empty() {
            self.guard.get_or_insert(now + ACK_DEADLINE);
        }
        self.types.hosts.claim_hosts(request.initial_resource_versions);
        Ok(())
    }

    /// Takes the proxy's answer to a response about a table.
    fn settle_hosts(
        &mut self,
        name: &Arc<str>,
        flight: Flight,
        error: Option<Status>,
        now: Duration,
        output: &mut Output,
    ) {
        let Some(table) = self.types.hosts.tables.get_mut(name) else { return };
        let Flight { nonce, generation, load, since, sent_at, .. } = flight;
        let Some(Status { message, .. }) = error else {
            let hosts = self.snapshot.as_ref().and_then(|snapshot| snapshot.hosts(name));
            let hosts = hosts.filter(|_| table.idle() && table.is_served()).map(|hosts| &hosts.map);
            table.held.accept(load, hosts);
            table.rest_until = now + now.saturating_sub(sent_at).min(LONGEST_REST);
            output.events.push(SessionEvent::Ack { resource_type: TYPE, generation });
            return;
        };
        table.marker_due |= table.marker_nonce == nonce;
        let items = load.expand();
        let versions =
            items.iter().map(|(name, it)| (name.clone(), it.as_ref().map(|it| it.version.clone())));
        let nack = NackInfo { message: message.clone(), resources: versions.collect(), generation };
        let names = items.keys().cloned().collect();
        table.held.last_nack = Some(nack.clone());
        let suspect = table.divide(items, since);
        self.types.hosts.suspects.extend(suspect);
        self.types[TYPE.index()].last_nack = Some(nack);
        output.events.push(SessionEvent::Nack { resource_type: TYPE, message, names, generation });
    }

    /// Sends what may go now, a response for each table at most.
    pub(crate) fn flush_hosts(&mut self, snapshot: &Snapshot, now: Duration, output: &mut Output) {
        if !self.held(TYPE).subscription.asked() {
            return;
        }
        let names: Vec<Arc<str>> = self.types.hosts.tables.keys().cloned().collect();
        for name in names {
            let route = snapshot.get(ResourceType::Route, &name);
            let Some(marker) = route.and_then(|it| it.marker()) else {
                if let Some(table) = self.types.hosts.tables.get_mut(&name) {
                    table.sleep();
                }
                continue;
            };
            self.flush_table(&name, marker, snapshot, now, output);
        }
    }

    fn flush_table(
        &mut self,
        name: &Arc<str>,
        marker: &Arc<str>,
        snapshot: &Snapshot,
        now: Duration,
        output: &mut Output,
    ) {
        let none = OfType::default();
        let hosts = snapshot.hosts(name).unwrap_or(&none);
        let Some(table) = self.types.hosts.tables.get(name) else { return };
        if table.claimed || table.held.whole || table.dormant {
            let Some(mut table) = self.types.hosts.tables.remove(name) else { return };
            if table.claimed {
                table.judge(marker, hosts, self.types.hosts.take_claims(name));
            }
            if table.held.whole {
                let mut brought = self.types.hosts.take_claims(name);
                brought.remove(&**marker);
                table.remember(brought);
            }
            table.wake(&hosts.map, snapshot.generation());
            // Put back before anything looks at all tables.
            self.types.hosts.tables.insert(name.clone(), table);
        }
        let Some(cargo) = self.load(name, hosts, snapshot, now) else { return };
        let number = self.next_nonce();
        let Some(table) = self.types.hosts.tables.get_mut(name) else { return };
        let Cargo { load, mut entries, mut resources, since, late, marker: with_marker } = cargo;
        if with_marker {
            entries.push(marker_resource(marker).under_version(TYPE, &table.version).entry(Variant::Delta));
            resources += 1;
            (table.marker_due, table.marker_nonce) = (false, number);
        }
        let removed: Vec<_> = load.removed().map(|name| &**name).collect();
        let count = removed.len();
        let response = Response::with(
            Variant::Delta,
            TYPE.type_url(),
            &hosts.version(),
            number,
            (entries, resources),
            &removed,
        );
        let (generation, bytes) = (snapshot.generation(), response.encoded_len());
        output.events.push(SessionEvent::Push {
            resource_type: TYPE,
            resources,
            removed: count,
            bytes,
            generation,
        });
        if !late.is_empty() {
            let mut waiting_for: Vec<_> = late.iter().flat_map(|(_, for_what)| for_what).cloned().collect();
            waiting_for.sort();
            waiting_for.dedup();
            let names = late.into_iter().map(|(name, _)| name).collect();
            output.events.push(SessionEvent::Lag { resource_type: TYPE, names, waiting_for });
        }
        output.responses.push(response);
        let since = since.min(generation);
        table.held.send(Flight::new(number, (since, generation), now, Arc::default(), load));
        let own = &mut self.types[TYPE.index()];
        (own.last_nonce, own.answered) = (number, true);
    }

    /// What of a table goes now.
    fn load(&mut self, name: &Arc<str>, hosts: &OfType, snapshot: &Snapshot, now: Duration) -> Option<Cargo> {
        let table = self.types.hosts.tables.get_mut(name)?;
        table.resting = false;
        if table.held.blocked() {
            return None;
        }
        if table.held.whole {
            return self.load_whole(name, hosts, snapshot, now);
        }
        while let Some(part) = table.parts.pop_front() {
            let part: Vec<_> =
                part.into_iter().filter_map(|name| Some((table.held.pending.remove(&name)?, name))).collect();
            let since = part.iter().map(|(pending, _)| pending.since).min();
            let items: Items =
                part.into_iter().map(|(_, name)| (name.clone(), hosts.map.get(&name).cloned())).collect();
            if let Some(since) = since {
                return Some(Cargo::of(items, since, false));
            }
        }
        table.dividing = false;
        if table.held.pending.is_empty() && !table.marker_due {
            return None;
        }
        if now < table.rest_until {
            table.resting = true;
            return None;
        }
        let plan = plan(&self.types.hosts.tables.get(name)?.held, &hosts.map, &self.types, snapshot, now);
        let table = self.types.hosts.tables.get_mut(name)?;
        note_waiting(&mut table.held, &plan, now);
        if plan.send.is_empty() && !table.marker_due {
            return None;
        }
        table.held.pending.retain(|name, _| !plan.send.contains_key(name));
        let mut cargo = Cargo::of(plan.send, plan.since, table.marker_due);
        cargo.late = plan.late.into_iter().collect();
        Some(cargo)
    }

    /// All hosts of a table in one response: the listener goes live with it. So they wait together for their clusters.
    fn load_whole(
        &mut self,
        name: &Arc<str>,
        hosts: &OfType,
        snapshot: &Snapshot,
        now: Duration,
    ) -> Option<Cargo> {
        let late = waits(&hosts.map, &self.types, snapshot);
        let arrive = || hosts.map.values().all(|it| order::all_arrive(TYPE, it, &self.types, snapshot));
        let arrive = late.is_none() || arrive();
        let Hosts { tables, suspects, .. } = &mut self.types.hosts;
        let table = tables.get_mut(name)?;
        if late.is_some() {
            let since = *table.waiting_since.get_or_insert(now);
            if now < since + ACK_DEADLINE {
                return None;
            }
            table.waiting_since = Some(now);
            if !arrive {
                return None;
            }
        }
        (table.waiting_since, table.held.whole) = (None, false);
        let remembered = table.held.foreign.keys().filter(|name| !hosts.map.contains_key(name));
        let mut items: Items = remembered.map(|name| (name.clone(), None)).collect();
        let late = late.into_iter().collect();
        // What was refused before would take the others with it: it goes by itself, and last.
        let is_suspect = |host: &Resource| suspects.get(&host.name) == Some(&host.version);
        let (bad, good): (Vec<_>, Vec<_>) = match suspects.is_empty() {
            true => Default::default(),
            false => hosts.map.values().partition(|host| is_suspect(host)),
        };
        if bad.is_empty() {
            let whole = hosts.whole(Variant::Delta);
            let entries = (whole.count > 0).then(|| whole.entries.clone()).into_iter().collect();
            let (resources, load) = (whole.count, Load::all(&hosts.map, whole).with(items));
            return Some(Cargo { load, entries, resources, since: 1, late, marker: true });
        }
        items.extend(good.into_iter().map(|host| (host.name.clone(), Some(host.clone()))));
        for host in bad {
            table.held.mark(host.name.clone(), 1, true);
            table.parts.push_back(BTreeSet::from([host.name.clone()]));
        }
        Some(Cargo { late, ..Cargo::of(items, 1, false) })
    }
}

/// A host that must wait, and for what.
fn waits(map: &ResourceMap, types: &Types, snapshot: &Snapshot) -> Option<(Arc<str>, Vec<Arc<str>>)> {
    if order::is_quiet(TYPE, types) {
        return None;
    }
    map.values().find_map(|host| {
        let for_what: Vec<_> = order::missing(TYPE, host, types, snapshot).cloned().collect();
        (!for_what.is_empty()).then(|| (host.name.clone(), for_what))
    })
}

/// A host for nobody, whose version says that a delivery is complete.
fn marker_resource(name: &Arc<str>) -> Resource {
    let message =
        VirtualHost { name: name.to_string(), domains: vec![MARKER_DOMAIN.to_owned()], ..Default::default() };
    Resource::new(TYPE, name.clone(), message.encode_to_vec(), [])
}
