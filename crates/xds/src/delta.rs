//! The incremental variant: what a response carries.

use umbra_proto::envoy::service::discovery::v3::{DeltaDiscoveryResponse, Resource as DeltaResource};
use xxhash_rust::xxh3::Xxh3;

use crate::held::Items;
use crate::resource::{ResourceType, hex};

/// A response with what changed. Its system version, which is for people only, is a hash of its content.
pub(crate) fn response(resource_type: ResourceType, items: &Items, nonce: u64) -> DeltaDiscoveryResponse {
    let mut hash = Xxh3::new();
    let mut resources = Vec::new();
    let mut removed = Vec::new();
    for (name, content) in items {
        hash.update(name.as_bytes());
        match content {
            Some(resource) => {
                hash.update(resource.version.as_bytes());
                resources.push(DeltaResource {
                    name: name.to_string(),
                    version: resource.version.to_string(),
                    resource: Some(resource.to_any(resource_type)),
                    ..Default::default()
                });
            }
            None => removed.push(name.to_string()),
        }
    }
    DeltaDiscoveryResponse {
        system_version_info: hex(hash.digest128()).to_string(),
        resources,
        type_url: resource_type.type_url().to_owned(),
        removed_resources: removed,
        nonce: nonce.to_string(),
        ..Default::default()
    }
}
