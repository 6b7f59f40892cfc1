//! The incremental variant: what a response carries.

use crate::flight::Items;
use crate::resource::ResourceType;
use crate::response::{NO_VERSION, Response};
use crate::variant::Variant;

/// A response with what changed.
pub(crate) fn response(resource_type: ResourceType, items: &Items, nonce: u64) -> Response {
    let removed = items.iter().filter(|(_, content)| content.is_none()).map(|(name, _)| &**name);
    let (resources, removed) = (items.values().flatten(), removed.collect::<Vec<_>>());
    Response::new(Variant::Delta, resource_type.type_url(), NO_VERSION, nonce, resources, &removed)
}
