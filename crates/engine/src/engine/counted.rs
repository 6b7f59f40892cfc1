//! Of what is to be counted what proxies tell: mirrors, and destinations of rules.

use std::collections::BTreeMap;
use std::sync::Arc;

use umbra_ir::{Destinations, Kind, MirrorState, ObjectId};
use umbra_mesh::Index;

use super::Engine;
use crate::domain::{Key, Value};
use crate::input::InputId;

impl Engine {
    /// What has become of the mirrors of every VirtualService that has any, as of the last settle.
    pub fn mirrors(&self) -> BTreeMap<ObjectId, Arc<Vec<MirrorState>>> {
        let rules = self.memo.store().members(&Index::Kind(Kind::VirtualService));
        let all = rules.filter_map(|(id, _)| {
            let InputId::Object(id) = id else { return None };
            match self.memo.value(&Key::Report(id.clone())).as_deref() {
                Some(Value::Report(report)) if !report.mirrors.is_empty() => {
                    Some((id.clone(), report.mirrors.clone()))
                }
                _ => None,
            }
        });
        all.collect()
    }

    /// Every cluster to which requests that follow rules are sent, and who answers there, as of the last settle.
    pub fn destinations(&self) -> Destinations {
        let rules = self.memo.store().members(&Index::Kind(Kind::VirtualService));
        let mut all = Destinations::new();
        for (id, _) in rules {
            let InputId::Object(id) = id else { continue };
            if let Some(Value::Report(report)) = self.memo.value(&Key::Report(id.clone())).as_deref() {
                let found = report.destinations.iter();
                all.extend(found.map(|(cluster, answerer)| (cluster.clone(), answerer.clone())));
            }
        }
        all
    }

    /// Whether requests to those are to be counted.
    pub fn counts_requests(&self) -> bool {
        self.world.settings.istio_metrics
    }

    /// Whether what becomes of copies is to be counted.
    pub fn observes(&self) -> bool {
        self.world.settings.mirror.observe
    }
}
