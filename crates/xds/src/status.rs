//! What a session tells about itself.

use std::sync::Arc;

use crate::held::{Held, NackInfo, Refused};
use crate::resource::{Resource, ResourceType};
use crate::session::Session;
use crate::snapshot::Snapshot;

/// One type on one stream, for debug views and the list of proxies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeStatus {
    /// The type.
    pub resource_type: ResourceType,
    /// The stream has asked for it; if not, the rest is empty.
    pub asked: bool,
    /// It watches everything.
    pub wildcard: bool,
    /// How many names it watches one by one.
    pub names: usize,
    /// The newest generation whose changes of this type were all sent.
    pub sent_generation: u64,
    /// The newest generation whose changes of this type the proxy has all taken.
    pub acked_generation: u64,
    /// The nonce of the newest response; `None` before the first.
    pub nonce: Option<String>,
    /// Names that are not sent yet: behind an unanswered response, or waiting for what they need.
    pub pending: usize,
    /// Responses that the proxy has not answered.
    pub unanswered: usize,
    /// Names whose newest content the proxy refused.
    pub refused: Vec<Arc<str>>,
    /// The newest NACK, kept after it was mended.
    pub last_nack: Option<NackInfo>,
}

/// How a proxy stands to one version of one resource.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It has taken it.
    Taken,
    /// It has refused it, in these words; they may be about the whole response that it came in.
    Refused(String),
    /// Neither, or it does not watch it.
    Open,
}

impl Session {
    /// How the proxy stands to a version of a resource.
    pub fn standing(&self, resource_type: ResourceType, name: &str, version: &str) -> Standing {
        let held = match resource_type {
            ResourceType::VirtualHost => self.types.hosts.of(name),
            _ => Some(self.held(resource_type)).filter(|held| held.subscription.watches(name)),
        };
        let Some(held) = held else { return Standing::Open };
        if held.taken(name).is_some_and(|taken| *taken.version == *version) {
            return Standing::Taken;
        }
        let is_it = |refused: &&Refused| refused.content.as_ref().is_some_and(|it| *it.version == *version);
        match held.refused.get(name).filter(is_it).map(|refused| &refused.words) {
            Some(Some(words)) => Standing::Refused(words.to_string()),
            Some(None) => Standing::Taken,
            None => Standing::Open,
        }
    }

    /// Whether the proxy has taken all of a snapshot, and watches every route configuration in it: then each of
    /// its resources stands at [`Standing::Taken`].
    pub fn has_taken(&self, snapshot: &Snapshot) -> bool {
        let is_of = |own: &Arc<Snapshot>| own.lineage() == snapshot.lineage();
        let asked = |ty: &ResourceType| {
            *ty == ResourceType::Endpoint
                || snapshot.map(*ty).is_empty()
                || self.held(*ty).subscription.asked()
        };
        let routes = snapshot.map(ResourceType::Route).keys();
        self.snapshot().is_some_and(is_of)
            && self.acked_generation() >= snapshot.generation()
            && ResourceType::ALL.iter().all(asked)
            && routes.into_iter().all(|name| self.watches(ResourceType::Route, name))
    }

    /// The state of every type, in push order.
    pub fn status(&self) -> Vec<TypeStatus> {
        let generation = self.snapshot().map_or(0, |snapshot| snapshot.generation());
        let mut all: Vec<_> =
            ResourceType::ALL.into_iter().map(|ty| status(ty, self.held(ty), generation)).collect();
        let own = &mut all[ResourceType::VirtualHost.index()];
        for held in self.types.hosts.held().filter(|_| own.asked) {
            let table = status(ResourceType::VirtualHost, held, generation);
            own.sent_generation = own.sent_generation.min(table.sent_generation);
            own.acked_generation = own.acked_generation.min(table.acked_generation);
            own.pending += table.pending;
            own.unanswered += table.unanswered;
            own.refused.extend(table.refused);
        }
        all
    }

    /// The newest generation all of whose changes the proxy has taken: `generation` is live on this proxy when
    /// it is not above this. 0 before that, and as long as the stream has asked for neither listeners nor routes,
    /// since nothing that it was sent can carry traffic yet. Types that it never asked for hold nothing back.
    pub fn acked_generation(&self) -> u64 {
        let Some(snapshot) = self.snapshot() else { return 0 };
        let serves = [ResourceType::Listener, ResourceType::Route];
        if !serves.into_iter().any(|ty| self.held(ty).subscription.asked()) {
            return 0;
        }
        let generation = snapshot.generation();
        let open = self.types.open().filter(|it| it.subscription.asked());
        let all = open.chain(self.types.hosts.held()).map(|held| held.acked_generation(generation));
        all.min().unwrap_or(generation)
    }

    /// The resources of a type that the proxy watches and has taken.
    pub fn confirmed(&self, resource_type: ResourceType) -> impl Iterator<Item = &Arc<Resource>> {
        let hosts = self.types.hosts.held().filter(move |_| resource_type == ResourceType::VirtualHost);
        self.held(resource_type).confirmed().chain(hosts.flat_map(Held::confirmed))
    }

    /// Does the stream watch this name, by itself or by a wildcard?
    pub fn watches(&self, resource_type: ResourceType, name: &str) -> bool {
        match resource_type {
            ResourceType::VirtualHost => self.types.hosts.of(name).is_some(),
            _ => self.held(resource_type).subscription.watches(name),
        }
    }
}

fn status(resource_type: ResourceType, held: &Held, generation: u64) -> TypeStatus {
    let blamed = held.refused.iter().filter(|(_, refused)| refused.words.is_some());
    TypeStatus {
        resource_type,
        asked: held.subscription.asked(),
        wildcard: held.subscription.wildcard(),
        names: held.subscription.names().len(),
        sent_generation: held.sent_generation(generation),
        acked_generation: held.acked_generation(generation),
        nonce: (held.last_nonce > 0).then(|| held.last_nonce.to_string()),
        pending: held.pending.len(),
        unanswered: held.flights().count(),
        refused: blamed.map(|(name, _)| name.clone()).collect(),
        last_nack: held.last_nack.clone(),
    }
}
