//! Versions of responses: a hash of what is in them, equal on every stream and replica.

use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use crate::resource::{Resource, hex};

/// The system version of a delta response, which is for people only.
pub(crate) fn of_changes<'a>(
    items: impl Iterator<Item = (&'a Arc<str>, Option<&'a Arc<Resource>>)>,
) -> Arc<str> {
    let mut hash = Xxh3::new();
    for (name, content) in items {
        hash.update(name.as_bytes());
        if let Some(resource) = content {
            hash.update(resource.version.as_bytes());
        }
    }
    hex(hash.digest128())
}

/// The version of a state-of-the-world response.
pub(crate) fn of_world<'a>(resources: impl Iterator<Item = &'a Arc<Resource>>) -> Arc<str> {
    let mut hash = Xxh3::new();
    for resource in resources {
        hash.update(resource.name.as_bytes());
        hash.update(b"\0");
        hash.update(resource.version.as_bytes());
    }
    hex(hash.digest128())
}
