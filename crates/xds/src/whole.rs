//! All resources of a type as one part of a response: what every stream of a class is sent that starts cold.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::{Bytes, BytesMut};

use crate::resource::ResourceMap;
use crate::variant::Variant;
use crate::version;

/// All resources of a type, encoded one after the other.
#[derive(Debug)]
pub(crate) struct Whole {
    pub entries: Bytes,
    /// How many.
    pub count: usize,
    /// The version of a response with them, if it says one.
    pub version: Arc<str>,
}

impl Whole {
    fn new(variant: Variant, map: &ResourceMap) -> Self {
        let entries = || map.values().map(|resource| resource.entry(variant));
        let mut together = BytesMut::with_capacity(entries().map(|entry| entry.len()).sum());
        entries().for_each(|entry| together.extend_from_slice(&entry));
        let version = version::of_world(map.values().map(|it| it.identity()));
        Whole { entries: together.freeze(), count: map.len(), version }
    }
}

/// Keeps it, by variant, as long as a stream has it on its way. It is as large as all of its resources, and when many
/// streams start at once, there always is one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cache(Arc<[Mutex<Weak<Whole>>; 2]>);

impl Cache {
    pub(crate) fn get(&self, variant: Variant, map: &ResourceMap) -> Arc<Whole> {
        let mut kept = self.0[variant as usize].lock().unwrap_or_else(PoisonError::into_inner);
        kept.upgrade().unwrap_or_else(|| {
            let whole = Arc::new(Whole::new(variant, map));
            *kept = Arc::downgrade(&whole);
            whole
        })
    }
}
