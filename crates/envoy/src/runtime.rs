//! The runtime layer that holds the share of every mirror.

use std::collections::BTreeMap;

use umbra_ir::{RuntimeFraction, RuntimeKey};
use umbra_proto::envoy::service::runtime::v3::Runtime;
use umbra_proto::google::protobuf::{Value, value::Kind};

use crate::Built;
use crate::convert::{struct_value, structure, text_value};

/// The name of the layer, in the bootstrap and as a resource.
pub const RUNTIME_LAYER: &str = "umbra";

/// The layer (`envoy.service.runtime.v3.Runtime`): key to fraction, zeros included.
///
/// Each is written as a whole numerator with the denominator's name: every other form of a fraction is taken as
/// a percentage or silently as the route's default, which is 0.
pub fn build_runtime(shares: &BTreeMap<RuntimeKey, RuntimeFraction>) -> Built {
    let fields = shares.iter().map(|(key, fraction)| (key.as_str().to_owned(), value(*fraction)));
    let layer = Runtime { name: RUNTIME_LAYER.to_owned(), layer: Some(structure(fields)) };
    Built::new(RUNTIME_LAYER.into(), &layer, Vec::new())
}

fn value(fraction: RuntimeFraction) -> Value {
    let numerator = Value { kind: Some(Kind::NumberValue(fraction.millionths().into())) };
    struct_value([("numerator".to_owned(), numerator), ("denominator".to_owned(), text_value("MILLION"))])
}
