//! The incremental variant: what a response carries.

use crate::flight::Items;
use crate::resource::ResourceType;
use crate::response::{NO_VERSION, Response, shows_version};
use crate::variant::Variant;
use crate::version;

/// A response with what changed.
pub(crate) fn response(resource_type: ResourceType, items: &Items, nonce: u64) -> Response {
    let removed = items.iter().filter(|(_, content)| content.is_none()).map(|(name, _)| &**name);
    let (resources, removed) = (items.values().flatten(), removed.collect::<Vec<_>>());
    let type_url = resource_type.type_url();
    let version =
        shows_version(type_url).then(|| version::of_world(resources.clone().map(|it| it.identity())));
    let version = version.as_deref().unwrap_or(NO_VERSION);
    Response::new(Variant::Delta, type_url, version, nonce, resources, &removed)
}
