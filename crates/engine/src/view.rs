//! The world as front ends and the mesh see it, every read recorded. What is computed is read by the methods that
//! `computed!` makes.

use std::sync::Arc;

use umbra_api::{Object, Objects};
use umbra_ir::{ObjectId, RuntimeFraction, RuntimeKey, Settings, VirtualHostSpec};
use umbra_mesh::{Index, Inputs};

use crate::input::{Input, InputId, World};
use crate::memo::Reader;

/// The mesh as a domain of keyed recompute; `domain` says what is computed, and how.
pub(crate) struct Mesh;

/// A reader with names.
pub(crate) struct EngineView<'a, 'r>(pub(crate) &'a Reader<'r, Mesh>);

impl EngineView<'_, '_> {
    fn world(&self) -> Option<World> {
        match self.0.get(&InputId::World).as_deref() {
            Some(Input::World(world)) => Some(world.clone()),
            _ => None,
        }
    }
}

impl Objects for EngineView<'_, '_> {
    fn object(&self, id: &ObjectId) -> Option<Arc<Object>> {
        match self.0.get(&InputId::Object(id.clone())).as_deref() {
            Some(Input::Object(object)) => Some(object.clone()),
            _ => None,
        }
    }
}

impl Inputs for EngineView<'_, '_> {
    fn settings(&self) -> Arc<Settings> {
        self.world().map(|w| w.settings).unwrap_or_default()
    }

    fn pods_as_endpoints(&self) -> bool {
        self.world().is_some_and(|w| w.pods_as_endpoints)
    }

    fn hour(&self) -> Option<i64> {
        match self.0.get(&InputId::Hour).as_deref() {
            Some(Input::Hour(hour)) => Some(*hour),
            _ => None,
        }
    }

    fn decided_share(&self, key: &RuntimeKey) -> RuntimeFraction {
        match self.0.get(&InputId::Judged(key.clone())).as_deref() {
            Some(Input::Judged(share)) => *share,
            _ => RuntimeFraction::NONE,
        }
    }

    fn ids(&self, index: &Index) -> Vec<ObjectId> {
        let objects = self.0.ids(index).into_iter();
        objects
            .filter_map(|id| match id {
                InputId::Object(id) => Some(id),
                InputId::World | InputId::Hour | InputId::Judged(_) => None,
            })
            .collect()
    }

    fn share_host(&self, spec: VirtualHostSpec) -> Arc<VirtualHostSpec> {
        self.0.share(|shelves| shelves.hosts.share(spec))
    }
}
