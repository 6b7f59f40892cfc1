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
        ResourceType::VirtualHost => "virtualHosts",
        ResourceType::Runtime => "runtime",
        ResourceType::Secret => "secrets",
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

/// YAML for people: nothing is folded, so that a search finds long names.
///
/// # Errors
/// None that a JSON value can cause.
pub fn to_yaml(value: &Value) -> anyhow::Result<String> {
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    Ok(serde_saphyr::to_string_with_options(value, options)?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn yaml_reads_back_as_the_same_value() {
        let long = "outbound|8000|v1|a-name-that-is-long-enough-to-be-folded".repeat(3);
        let value = json!({
            "text": ["8000", "on", "no", "null", "1e3", "", " a ", "a: b", "# c", "~", "-", "a\nb\n", long, "'\"\\"],
            "other": [1, 1.5, true, null, {}, [], {"a": {"b": [{"c": 1}]}}],
            "long": format!("{long} with {long} spaces"),
        });
        let yaml = to_yaml(&value).unwrap();
        assert_eq!(serde_saphyr::from_str::<Value>(&yaml).unwrap(), value, "{yaml}");
        assert!(yaml.contains(&long) && !yaml.contains(">-"), "{yaml}");
    }
}
