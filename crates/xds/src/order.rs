//! What may be sent now and what must wait: make before break.
//!
//! A pure function of what the stream has and should have. Three rules hold things back:
//! a route (or listener) waits for the clusters that it names; a cluster (or assignment) leaves only after
//! everything that used it was replaced; and a cluster leaves only after the additions made before it were taken.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Index, IndexMut};
use std::sync::Arc;
use std::time::Duration;

use crate::ACK_DEADLINE;
use crate::flight::Items;
use crate::held::{Current, Held, Pending};
use crate::hosts::Hosts;
use crate::resource::{Requirement, Resource, ResourceType};
use crate::snapshot::Snapshot;

/// Types, by [`ResourceType::index`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Touched(u8);

impl Touched {
    /// All of them.
    pub(crate) const ALL: Self = Touched(u8::MAX);

    pub(crate) fn add(&mut self, index: usize) {
        self.0 |= 1 << index;
    }

    pub(crate) fn has(self, ty: ResourceType) -> bool {
        self.0 & (1 << ty.index()) != 0
    }

    fn take(&mut self, ty: ResourceType) {
        self.0 &= !(1 << ty.index());
    }

    /// With those of another.
    pub(crate) fn with(self, other: Self) -> Self {
        Touched(self.0 | other.0)
    }
}

/// The stream's state of every type, by [`ResourceType::index`].
#[derive(Debug, Default)]
pub(crate) struct Types {
    held: [Held; ResourceType::ALL.len()],
    touched: Touched,
    /// Those that the proxy had not taken as a whole when they were settled.
    open: Touched,
    /// Virtual hosts are held by route configuration: of their type, `held` has what is the type's alone.
    pub hosts: Hosts,
}

impl Index<usize> for Types {
    type Output = Held;

    fn index(&self, index: usize) -> &Held {
        &self.held[index]
    }
}

impl IndexMut<usize> for Types {
    fn index_mut(&mut self, index: usize) -> &mut Held {
        self.touched.add(index);
        &mut self.held[index]
    }
}

impl Types {
    /// Nothing yet; see [`Hosts::new`].
    pub(crate) fn seeded(seed: u64) -> Self {
        Self { hosts: Hosts::new(seed), ..Self::default() }
    }

    /// Those that somebody may have changed since they were last [settled](Types::settle), or that were not at rest then. A
    /// thousand streams are a thousand times more state than a core has at hand, so that a look at what has not changed is what a
    /// flush costs most.
    pub(crate) fn touched(&self) -> Touched {
        self.touched
    }

    /// After a flush: a type of which nothing is left to do need not be looked at before somebody changes it. Virtual hosts are held
    /// elsewhere as well.
    pub(crate) fn settle(&mut self) {
        for ty in ResourceType::ALL {
            if !self.touched.has(ty) || ty == ResourceType::VirtualHost {
                continue;
            }
            let (rests, taken) = (self[ty.index()].rests(), self[ty.index()].is_taken());
            if rests {
                self.touched.take(ty);
            }
            if taken {
                self.open.take(ty);
            } else {
                self.open.add(ty.index());
            }
        }
    }

    /// Every type that the proxy may not have taken as a whole, and perhaps some more.
    pub(crate) fn open(&self) -> impl Iterator<Item = &Held> {
        let open = self.touched.with(self.open);
        let open = move |ty: &ResourceType| *ty == ResourceType::VirtualHost || open.has(*ty);
        ResourceType::ALL.into_iter().filter(open).map(|ty| &self[ty.index()])
    }

    /// Shares the snapshot's memory where nothing is open.
    pub(crate) fn share(&mut self, ty: ResourceType, snapshot: &Snapshot) {
        self.held[ty.index()].share(snapshot.map(ty));
    }

    /// Looks at everything of a type that the proxy may be using and the snapshot does not have.
    fn replaced(&self, ty: ResourceType, snapshot: &Snapshot, look: impl FnMut(&Arc<Resource>)) {
        if ty == ResourceType::VirtualHost {
            self.hosts.replaced(&self[ResourceType::Route.index()], snapshot).for_each(look);
        } else {
            self[ty.index()].replaced().for_each(look);
        }
    }
}

/// What to do with the pending names of one type.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Goes into the response.
    pub send: Items,
    /// The first generation that the proxy lacks of what is sent.
    pub since: u64,
    /// Nothing to do: the proxy has it, or refused just this.
    pub done: Vec<Arc<str>>,
    /// Of these, what it has from an earlier stream, now that we know the content.
    pub adopt: Items,
    /// Waits for what it requires. Additions and changes; the wait has a deadline.
    pub wait: BTreeSet<Arc<str>>,
    /// Removals that wait for those who use it.
    pub leaving: BTreeSet<Arc<str>>,
    /// Waited until the deadline and goes now, with what it waited for.
    pub late: BTreeMap<Arc<str>, Vec<Arc<str>>>,
}

/// Sorts the pending names of a type. `guarded`: the proxy may use them in ways that we cannot see, so none is
/// removed.
pub(crate) fn plan(
    resource_type: ResourceType,
    types: &Types,
    snapshot: &Snapshot,
    guarded: bool,
    now: Duration,
) -> Plan {
    let held = &types[resource_type.index()];
    let mut plan = Plan { since: u64::MAX, ..Plan::default() };
    let mut removals = BTreeSet::new();
    for (name, pending) in &held.pending {
        if !held.subscription.watches(name) {
            plan.done.push(name.clone());
            continue;
        }
        let Some(resource) = snapshot.get(resource_type, name) else {
            match held.current(name) {
                Current::Known(None) if pending.force => plan.send(name, None, pending),
                Current::Known(None) => plan.done.push(name.clone()),
                Current::Refused(None) if !pending.force => plan.done.push(name.clone()),
                _ => drop(removals.insert(name.clone())),
            }
            continue;
        };
        let same = match held.current(name) {
            Current::Known(known) => known.is_some_and(|known| known.version == resource.version),
            Current::Refused(content) => content.as_ref().is_some_and(|it| it.version == resource.version),
            Current::Foreign(version) => *version == *resource.version,
        };
        if same && !pending.force {
            if matches!(held.current(name), Current::Foreign(_)) {
                plan.adopt.insert(name.clone(), Some(resource.clone()));
            }
            plan.done.push(name.clone());
            continue;
        }
        let over = pending.waiting_since.is_some_and(|since| now >= since + ACK_DEADLINE);
        if missing(resource_type, resource, types, snapshot).next().is_none() {
            plan.send(name, Some(resource.clone()), pending);
        } else if over && all_arrive(resource_type, resource, types, snapshot) {
            plan.send(name, Some(resource.clone()), pending);
            let missing = missing(resource_type, resource, types, snapshot);
            plan.late.insert(name.clone(), missing.cloned().collect());
        } else {
            plan.wait.insert(name.clone());
        }
    }
    // Add, wait for the ACK, then remove: Envoy would drop the old cluster before the new one is warm.
    let adding = resource_type == ResourceType::Cluster && plan.send.values().any(Option::is_some);
    let used = in_use(resource_type, &removals, types, snapshot);
    for name in removals {
        let Some(pending) = held.pending.get(&name) else { continue };
        let patient = pending.waiting_since.is_none_or(|since| now < since + ACK_DEADLINE);
        // What a warming cluster waits for is answered whatever the answer: its ACK may be what we wait for here.
        let swap = adding && patient && held.took(&name);
        if !pending.urgent && (used.contains(&name) || guarded || swap) {
            plan.leaving.insert(name);
        } else {
            plan.send(&name, None, pending);
        }
    }
    plan
}

impl Plan {
    pub(crate) fn send(&mut self, name: &Arc<str>, content: Option<Arc<Resource>>, pending: &Pending) {
        self.send.insert(name.clone(), content);
        self.since = self.since.min(pending.since);
    }
}

/// What a resource has to wait for: what it requires of types that are pushed before its own, such as a route's clusters.
/// What it requires of later types (a cluster's assignment) is sent behind it.
fn awaited(resource_type: ResourceType, resource: &Resource) -> impl Iterator<Item = &Requirement> {
    resource.requires.iter().filter(move |it| it.resource_type < resource_type)
}

/// What a resource waits for, and what that requires in turn, so far as the stream watches it, it exists, and it was not
/// answered yet. What a stream has not asked for holds nothing back. The first is found soon, and that there is none
/// is known at once where nothing is under way, or nothing is awaited: to find out is a look at every name under way.
pub(crate) fn missing<'a>(
    resource_type: ResourceType,
    resource: &'a Resource,
    types: &'a Types,
    snapshot: &'a Snapshot,
) -> impl Iterator<Item = &'a Arc<str>> {
    let quiet = awaited(resource_type, resource).next().is_none() || is_quiet(resource_type, types);
    let assignments_quiet = quiet || types[ResourceType::Endpoint.index()].all_answered();
    awaited(resource_type, resource).filter(move |_| !quiet).flat_map(move |required| {
        let settled = types[required.resource_type.index()].settled(&required.name);
        // Any version of the assignment will do: endpoints may change faster than a proxy answers, and one that
        // a changed cluster still lacks shows as that cluster's missing ACK.
        let look = !settled || !assignments_quiet;
        let present = look.then(|| watched(required, types, snapshot)).flatten();
        let further = present.filter(|_| settled).into_iter().flat_map(|it| it.requires.iter());
        let unanswered = further.filter(|it| {
            let held = &types[it.resource_type.index()];
            !held.answered(&it.name) && watched(it, types, snapshot).is_some()
        });
        let first = present.filter(|_| !settled).map(|_| &required.name);
        first.into_iter().chain(unanswered.map(|it| &it.name))
    })
}

/// Nothing that one of this type could wait for is under way.
pub(crate) fn is_quiet(resource_type: ResourceType, types: &Types) -> bool {
    let awaited = resource_type.requires().iter().filter(|it| **it < resource_type);
    awaited.into_iter().all(|ty| {
        let further = ty.requires().iter().all(|it| types[it.index()].all_answered());
        types[ty.index()].all_settled() && further
    })
}

fn watched<'a>(required: &Requirement, types: &Types, snapshot: &'a Snapshot) -> Option<&'a Arc<Resource>> {
    let Requirement { resource_type, name } = required;
    let watches = types[resource_type.index()].subscription.watches(name);
    if watches { snapshot.get(*resource_type, name) } else { None }
}

/// The proxy has everything that a resource waits for, in whatever version, when it reads that resource: the least that a
/// late route needs.
pub(crate) fn all_arrive(
    resource_type: ResourceType,
    resource: &Resource,
    types: &Types,
    snapshot: &Snapshot,
) -> bool {
    awaited(resource_type, resource).all(|required| {
        let held = &types[required.resource_type.index()];
        watched(required, types, snapshot).is_none() || held.arrives(&required.name)
    })
}

/// Which of these names something that the proxy may still have uses, and no longer should: a resource that was
/// replaced or removed without an answer yet. If the resource that should be there names it as well, nobody waits.
fn in_use(
    resource_type: ResourceType,
    names: &BTreeSet<Arc<str>>,
    types: &Types,
    snapshot: &Snapshot,
) -> BTreeSet<Arc<str>> {
    let mut used = BTreeSet::new();
    if names.is_empty() {
        return used;
    }
    for user in ResourceType::ALL.into_iter().filter(|user| user.requires().contains(&resource_type)) {
        types.replaced(user, snapshot, |held| {
            let now = snapshot.get(user, &held.name);
            if now.is_some_and(|now| Arc::ptr_eq(now, held)) {
                return;
            }
            let named = held.required(resource_type).filter(|name| names.contains(*name));
            let stays =
                |name: &Arc<str>| now.is_some_and(|now| now.required(resource_type).any(|it| it == name));
            used.extend(named.filter(|name| !stays(name)).cloned());
        });
    }
    used
}
