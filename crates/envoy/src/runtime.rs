//! The layers of the runtime, which hold the share of every mirror.

use std::collections::BTreeMap;
use std::fmt;

use prost::Message;
use umbra_ir::{JUDGE_ON, RuntimeForms, RuntimeFraction, RuntimeKey};
use umbra_proto::envoy::service::runtime::v3::Runtime;
use umbra_proto::google::protobuf::{Value, value::Kind};
use xxhash_rust::xxh3::xxh3_64;

use crate::Built;
use crate::convert::{struct_value, structure, text_value};

/// The name of the layer with everything, in the bootstrap and as a resource. The others are called after it.
const WHOLE: &str = "umbra";

/// How many bits one digit of a layer's name stands for.
const BITS: u32 = 3;

/// One layer: everything (`umbra`), or those keys whose hash begins with these octal digits (`umbra-07`).
///
/// Envoy takes a layer as a whole, so the smaller one is, the less a changed percentage costs. Which layers there are,
/// a proxy's bootstrap says; any of these is served (docs/decisions/0015).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct RuntimeLayer {
    digits: u32,
    index: u32,
}

impl RuntimeLayer {
    /// All layers of so many digits, at most [`RuntimeForms::MAX_DIGITS`]: each key is in one of them.
    pub fn all(digits: u32) -> impl Iterator<Item = Self> {
        let digits = digits.min(RuntimeForms::MAX_DIGITS);
        (0..1 << (BITS * digits)).map(move |index| Self { digits, index })
    }

    /// The layer of so many digits that a key is in. Stable for ever: a proxy asks for it by name.
    pub fn of(key: &RuntimeKey, digits: u32) -> Self {
        let digits = digits.min(RuntimeForms::MAX_DIGITS);
        let hash = xxh3_64(key.as_str().as_bytes());
        Self { digits, index: hash.checked_shr(u64::BITS - BITS * digits).map_or(0, |index| index as u32) }
    }

    /// The layer of a name; `None`: it is none of ours.
    pub fn parse(name: &str) -> Option<Self> {
        let digits = name.strip_prefix(WHOLE)?;
        if digits.is_empty() {
            return Some(Self { digits: 0, index: 0 });
        }
        let digits = digits.strip_prefix('-')?;
        let count = u32::try_from(digits.len()).ok().filter(|count| *count <= RuntimeForms::MAX_DIGITS)?;
        let octal = count > 0 && digits.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
        let index = octal.then(|| u32::from_str_radix(digits, 8).ok()).flatten()?;
        Some(Self { digits: count, index })
    }

    /// Where it stands among [`RuntimeLayer::all`] of its digits.
    pub fn index(self) -> usize {
        self.index as usize
    }
}

impl fmt::Display for RuntimeLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.digits {
            0 => f.write_str(WHOLE),
            digits => write!(f, "{WHOLE}-{:0width$o}", self.index, width = digits as usize),
        }
    }
}

/// The forms of the runtime that a request for these layers asks for; `*` is everything.
pub fn runtime_forms<'a>(names: impl IntoIterator<Item = &'a str>) -> RuntimeForms {
    let forms = names.into_iter().map(|name| match RuntimeLayer::parse(name) {
        Some(layer) => RuntimeForms::of_digits(layer.digits),
        None => (name == "*").into(),
    });
    forms.fold(RuntimeForms::NONE, RuntimeForms::with)
}

/// A layer (`envoy.service.runtime.v3.Runtime`): key to fraction, zeros included.
///
/// Each is written as a whole numerator with the denominator's name: every other form of a fraction is taken as
/// a percentage or silently as the route's default, which is 0.
pub fn build_runtime(layer: RuntimeLayer, shares: &BTreeMap<RuntimeKey, RuntimeFraction>) -> Built {
    let judged = shares.iter().any(|(key, share)| key.is_judging() && *share != RuntimeFraction::NONE);
    // What logs are sampled by is no fraction but a number, of the millionths that the filter names.
    let on = Value { kind: Some(Kind::NumberValue(1e6)) };
    let fields = shares.iter().map(|(key, fraction)| (key.as_str().to_owned(), value(*fraction)));
    let fields = fields.chain(judged.then(|| (JUDGE_ON.to_owned(), on)));
    let message = Runtime { name: layer.to_string(), layer: Some(structure(fields)) };
    Built::new(layer.to_string().into(), &message, Vec::new())
}

/// The fraction, in millionths, that a layer of [`build_runtime`] holds under a key; `None`: none, or it is another's layer.
pub fn fraction_in(body: &[u8], key: &RuntimeKey) -> Option<u32> {
    let Runtime { layer, .. } = Runtime::decode(body).ok()?;
    let fields = layer?.fields;
    let Some(Kind::StructValue(value)) = &fields.get(key.as_str())?.kind else { return None };
    match value.fields.get("numerator")?.kind {
        Some(Kind::NumberValue(number)) => Some(number as u32),
        _ => None,
    }
}

fn value(fraction: RuntimeFraction) -> Value {
    let numerator = Value { kind: Some(Kind::NumberValue(fraction.millionths().into())) };
    struct_value([("numerator".to_owned(), numerator), ("denominator".to_owned(), text_value("MILLION"))])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways_and_nothing_else_is_one() {
        for digits in 0..=RuntimeForms::MAX_DIGITS {
            let all: Vec<_> = RuntimeLayer::all(digits).collect();
            assert_eq!(all.len(), 8_usize.pow(digits));
            for (index, layer) in all.into_iter().enumerate() {
                assert_eq!((RuntimeLayer::parse(&layer.to_string()), layer.index()), (Some(layer), index));
            }
        }
        for name in ["", "umbra-", "umbra-8", "umbra-+1", "umbra-000", "umbra0", "Umbra", "other"] {
            assert_eq!(RuntimeLayer::parse(name), None, "{name}");
        }
    }

    #[test]
    fn a_key_is_where_it_always_was() {
        let key = RuntimeKey::new("mirror/default/reviews/5c9f/8000|v2|reviews.default.svc.cluster.local");
        let names: Vec<String> = (0..=3).map(|digits| RuntimeLayer::of(&key, digits).to_string()).collect();
        assert_eq!(names, ["umbra", "umbra-0", "umbra-05", "umbra-05"]);
    }

    #[test]
    fn what_a_layer_holds_is_read_back() {
        let key = |text: &str| RuntimeKey::new(text);
        let share = RuntimeFraction::from_percent(12.5).unwrap();
        let layer = RuntimeLayer::of(&key("a"), 0);
        let body =
            build_runtime(layer, &BTreeMap::from([(key("a"), share), (key("b"), RuntimeFraction::NONE)]))
                .body;
        for (name, want) in [("a", Some(125_000)), ("b", Some(0)), ("c", None)] {
            assert_eq!(fraction_in(&body, &key(name)), want, "{name}");
        }
        assert_eq!(fraction_in(b"no", &key("a")), None);
    }

    #[test]
    fn what_is_asked_for() {
        for (names, digits) in [
            (&["umbra"][..], &[0][..]),
            (&["*"], &[0]),
            (&["umbra-3", "umbra-17", "umbra-20"], &[1, 2]),
            (&["other", "umbra-99"], &[]),
        ] {
            let forms = runtime_forms(names.iter().copied());
            assert_eq!(forms.digits().collect::<Vec<_>>(), digits, "{names:?}");
            assert_eq!(forms.any(), !digits.is_empty());
        }
    }
}
