//! Who asks: Envoy's node message, turned into plain JSON with limits, and what that Envoy can.

use serde_json::{Map, Number, Value};
use umbra_ir::{Judges, Locality};
use umbra_proto::envoy::config::core::v3::{self as envoy, Node, node::UserAgentVersionType};
use umbra_proto::google::protobuf::{self, value::Kind};

/// Ids and metadata larger than this (encoded) are refused: a real one has a few KiB, and it is kept as long as
/// the stream lives.
const MAX_BYTES: usize = 128 << 10;

/// A node's id and metadata.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Identity {
    /// `node.id`.
    pub(super) id: String,
    /// `node.metadata` as JSON; an object.
    pub(super) metadata: Value,
    /// It takes virtual hosts as resources of their own over delta ADS, and its metadata do not say that it should not.
    pub(super) takes_hosts: bool,
    /// It can make a copy another request than the one that it copies.
    pub(super) edits_copies: bool,
    /// What of judged requests its Envoy and its bootstrap can tell.
    pub(super) judges: Judges,
    /// It says that it tells what it counts.
    pub(super) observes: bool,
    /// `node.locality`, when it says anything.
    pub(super) locality: Option<Locality>,
}

/// The first Envoy that takes virtual hosts over ADS; earlier ones refuse the table (measured: decision 0018).
const TAKES_HOSTS: (u32, u32) = (1, 37);

/// The first Envoy whose mirrors have `request_headers_mutations` and `host_rewrite_literal`; earlier ones pass both over and
/// copy the request as it is.
const EDITS_COPIES: (u32, u32) = (1, 36);
/// The first Envoy that marks copies and of which the lines are known (docs/verdicts.md).
const JUDGES: (u32, u32) = (1, 40);

/// The key of the metadata by which one proxy is given plain tables whatever it can, with the value `plain`.
const ROUTE_TABLES: &str = "ROUTE_TABLES";

/// Reads what identifies a proxy.
///
/// # Errors
/// There is no node, or it is too large; the text is for the proxy's log.
pub(super) fn identity(node: Option<Node>) -> Result<Identity, String> {
    let Some(node) = node else {
        return Err("the first request of a stream must carry the node".to_owned());
    };
    let version = envoy_version(&node);
    let since = |first| version.is_some_and(|version| version >= first);
    let locality = node.locality.as_ref().map(locality).filter(|it| !it.is_unknown());
    let metadata = node.metadata.unwrap_or_default();
    let bytes = node.id.len() + prost::Message::encoded_len(&metadata);
    if bytes > MAX_BYTES {
        return Err(format!("node id and metadata have {bytes} bytes, more than the {MAX_BYTES} allowed"));
    }
    let metadata = object(metadata);
    let plain = metadata.get(ROUTE_TABLES).and_then(Value::as_str) == Some("plain");
    let has = |key| metadata.get(key).and_then(Value::as_str) == Some("on");
    let judges = match has(umbra_envoy::VERDICTS) && since(JUDGES) {
        true if has(umbra_envoy::CONTENTS) => Judges::Bodies,
        true => Judges::Lines,
        false => Judges::Nothing,
    };
    let observes = has(umbra_envoy::OBSERVE);
    Ok(Identity {
        id: node.id,
        observes,
        metadata: Value::Object(metadata),
        takes_hosts: since(TAKES_HOSTS) && !plain,
        edits_copies: since(EDITS_COPIES),
        judges,
        locality,
    })
}

/// The longest name of a region or zone, that of a label's value and more than any cloud's.
const MAX_PLACE: usize = 253;

/// A name that is too long is none: it would be kept as long as the stream lives.
fn locality(from: &envoy::Locality) -> Locality {
    let part = |text: &str| if text.len() <= MAX_PLACE { text.into() } else { "".into() };
    Locality { region: part(&from.region), zone: part(&from.zone), subzone: part(&from.sub_zone) }
}

/// Major and minor version of an Envoy. Of nobody else is it known what it can.
fn envoy_version(node: &Node) -> Option<(u32, u32)> {
    let Some(UserAgentVersionType::UserAgentBuildVersion(build)) = &node.user_agent_version_type else {
        return None;
    };
    let version = build.version.as_ref().filter(|_| node.user_agent_name == "envoy")?;
    Some((version.major_number, version.minor_number))
}

/// The depth is bounded: the protobuf decoder refuses messages nested more than 100 deep.
fn object(from: protobuf::Struct) -> Map<String, Value> {
    from.fields.into_iter().map(|(key, value)| (key, json(value))).collect()
}

fn json(from: protobuf::Value) -> Value {
    match from.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::NumberValue(number)) => Number::from_f64(number).map_or(Value::Null, Value::Number),
        Some(Kind::StringValue(text)) => Value::String(text),
        Some(Kind::BoolValue(value)) => Value::Bool(value),
        Some(Kind::StructValue(inner)) => Value::Object(object(inner)),
        Some(Kind::ListValue(list)) => Value::Array(list.values.into_iter().map(json).collect()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn value(kind: Kind) -> protobuf::Value {
        protobuf::Value { kind: Some(kind) }
    }

    fn node(fields: impl IntoIterator<Item = (&'static str, protobuf::Value)>) -> Node {
        let fields = fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        Node { id: "n".to_owned(), metadata: Some(protobuf::Struct { fields }), ..Default::default() }
    }

    #[test]
    fn metadata_become_json() {
        let labels = node([("app", value(Kind::StringValue("a".to_owned())))]).metadata.unwrap();
        let from = node([
            ("LABELS", value(Kind::StructValue(labels))),
            ("N", value(Kind::NumberValue(1.5))),
            ("NAN", value(Kind::NumberValue(f64::NAN))),
            ("B", value(Kind::BoolValue(true))),
            ("L", value(Kind::ListValue(protobuf::ListValue { values: vec![value(Kind::NullValue(0))] }))),
            ("EMPTY", protobuf::Value::default()),
        ]);
        let metadata = identity(Some(from)).unwrap().metadata;
        let expected =
            json!({"LABELS": {"app": "a"}, "N": 1.5, "NAN": null, "B": true, "L": [null], "EMPTY": null});
        assert_eq!(metadata, expected);
        assert_eq!(identity(Some(Node::default())).unwrap().metadata, json!({}));
    }

    #[test]
    fn what_an_envoy_can_by_its_version() {
        use umbra_proto::envoy::config::core::v3::BuildVersion;
        use umbra_proto::envoy::r#type::v3::SemanticVersion;
        // Whether it takes virtual hosts, and whether it changes copies.
        for (agent, version, tables, expected) in [
            ("envoy", Some((1, 37)), None, (true, true)),
            ("envoy", Some((1, 40)), Some("hosts"), (true, true)),
            ("envoy", Some((2, 0)), None, (true, true)),
            ("envoy", Some((1, 36)), None, (false, true)),
            ("envoy", Some((1, 35)), None, (false, false)),
            ("envoy", None, None, (false, false)),
            ("envoy", Some((1, 40)), Some("plain"), (false, true)),
            ("grpc-go", Some((1, 80)), None, (false, false)),
        ] {
            let build = |(major_number, minor_number)| {
                let version = Some(SemanticVersion { major_number, minor_number, patch: 0 });
                UserAgentVersionType::UserAgentBuildVersion(BuildVersion { version, metadata: None })
            };
            let tables = tables.map(|word: &str| ("ROUTE_TABLES", value(Kind::StringValue(word.to_owned()))));
            let node = Node {
                user_agent_name: agent.to_owned(),
                user_agent_version_type: version.map(build),
                ..node(tables)
            };
            let known = identity(Some(node)).unwrap();
            assert_eq!((known.takes_hosts, known.edits_copies), expected, "{agent} {version:?}");
        }
    }

    #[test]
    fn who_counts_says_so() {
        for (word, observes) in [(Some("on"), true), (Some("off"), false), (None, false)] {
            let said = word.map(|word| ("OBSERVE", value(Kind::StringValue(word.to_owned()))));
            assert_eq!(identity(Some(node(said))).unwrap().observes, observes, "{word:?}");
        }
    }

    #[test]
    fn no_node_and_a_huge_node_are_refused_with_words() {
        assert!(identity(None).unwrap_err().contains("must carry the node"));
        let huge = node([("X", value(Kind::StringValue("x".repeat(MAX_BYTES))))]);
        assert!(identity(Some(huge)).unwrap_err().contains("bytes"));
    }
}
