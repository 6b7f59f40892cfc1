//! A snapshot as people read it: protobuf JSON, one list for each resource type.

use serde_json::{Map, Value};
use umbra_xds::{ResourceType, Snapshot};

/// The name of a type's list.
pub fn list_name(resource_type: ResourceType) -> &'static str {
    match resource_type {
        ResourceType::Cluster => "clusters",
        ResourceType::Endpoint => "endpoints",
        ResourceType::Listener => "listeners",
        ResourceType::Route => "routes",
        ResourceType::Runtime => "runtime",
    }
}

/// The resources of some types, sorted by name, each as Envoy's own JSON with every `Any` opened.
///
/// # Errors
/// None that input can cause: a resource of a type whose descriptor is not embedded.
pub fn to_json(snapshot: &Snapshot, types: &[ResourceType]) -> anyhow::Result<Map<String, Value>> {
    let mut lists = Map::new();
    for resource_type in types {
        let resources = snapshot.map(*resource_type).values();
        let list = resources.map(|it| umbra_proto::json::to_json(resource_type.type_url(), &it.body));
        let list = list.collect::<Result<Vec<_>, _>>()?;
        lists.insert(list_name(*resource_type).to_owned(), Value::Array(list));
    }
    Ok(lists)
}
