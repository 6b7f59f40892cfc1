//! The incremental variant: what a response carries.

use crate::flight::Items;
use crate::resource::ResourceType;
use crate::response::Response;
use crate::variant::Variant;
use crate::version;

/// A response with what changed. Its system version, which is for people only, is a hash of its content.
pub(crate) fn response(resource_type: ResourceType, items: &Items, nonce: u64) -> Response {
    let version = version::of_changes(items.iter().map(|(name, content)| (name, content.as_ref())));
    let removed = items.iter().filter(|(_, content)| content.is_none()).map(|(name, _)| &**name);
    let (resources, removed) = (items.values().flatten(), removed.collect::<Vec<_>>());
    Response::new(Variant::Delta, resource_type.type_url(), &version, nonce, resources, &removed)
}
