//! Who a proxy says it is.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use prost::Message as _;
use umbra_proto::envoy::config::core::v3::node::UserAgentVersionType;
use umbra_proto::envoy::config::core::v3::{BuildVersion, Node};
use umbra_proto::envoy::r#type::v3::SemanticVersion;
use umbra_proto::google::protobuf::{ListValue, Struct, Value, value};

/// What the nodes of a fleet have in common.
#[derive(Clone, Debug)]
pub struct Identity {
    /// `sidecar` or `router`.
    pub kind: String,
    /// Proxies are spread over `ns-0` to one below this; one: all are in `ns-0`.
    pub namespaces: usize,
    /// Metadata besides `NAMESPACE`, over what is written otherwise.
    pub metadata: BTreeMap<String, serde_json::Value>,
    /// The version of Envoy: `1.40.0`.
    pub version: String,
}

impl Identity {
    /// The encoded `Node` of the proxy with this number.
    ///
    /// # Errors
    /// When the version is none.
    pub fn encode(&self, number: usize) -> Result<Vec<u8>> {
        let namespace = format!("ns-{}", number % self.namespaces.max(1));
        let (high, low) = (number / 250 % 250, number % 250);
        let mut metadata = BTreeMap::from([
            ("NAMESPACE".to_owned(), serde_json::json!(namespace)),
            ("LABELS".to_owned(), serde_json::json!({"app": "load"})),
        ]);
        match self.kind.as_str() {
            "sidecar" => metadata.insert("INTERCEPTION_MODE".to_owned(), serde_json::json!("NONE")),
            "router" => metadata.insert("PROXY_TYPE".to_owned(), serde_json::json!("router")),
            other => bail!("{other} is neither sidecar nor router"),
        };
        metadata.extend(self.metadata.clone());
        let mut parts = self.version.split('.').map(str::parse::<u32>);
        let mut part = || parts.next().and_then(Result::ok).context("a version is three numbers: 1.40.0");
        let version = SemanticVersion { major_number: part()?, minor_number: part()?, patch: part()? };
        let build = BuildVersion { version: Some(version), ..BuildVersion::default() };
        let node = Node {
            id: format!(
                "{}~10.240.{high}.{low}~load-{number}.{namespace}~{namespace}.svc.cluster.local",
                self.kind
            ),
            cluster: format!("load.{namespace}"),
            metadata: Some(Struct { fields: metadata.into_iter().map(|(k, v)| (k, convert(v))).collect() }),
            user_agent_name: "envoy".to_owned(),
            user_agent_version_type: Some(UserAgentVersionType::UserAgentBuildVersion(build)),
            ..Node::default()
        };
        Ok(node.encode_to_vec())
    }
}

fn convert(json: serde_json::Value) -> Value {
    let kind = match json {
        serde_json::Value::Null => value::Kind::NullValue(0),
        serde_json::Value::Bool(it) => value::Kind::BoolValue(it),
        serde_json::Value::Number(it) => value::Kind::NumberValue(it.as_f64().unwrap_or_default()),
        serde_json::Value::String(it) => value::Kind::StringValue(it),
        serde_json::Value::Array(it) => {
            value::Kind::ListValue(ListValue { values: it.into_iter().map(convert).collect() })
        }
        serde_json::Value::Object(it) => {
            let fields = it.into_iter().map(|(key, value)| (key, convert(value))).collect();
            value::Kind::StructValue(Struct { fields })
        }
    };
    Value { kind: Some(kind) }
}
