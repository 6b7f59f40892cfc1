//! Small values that several kinds share, as proto JSON spells them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

/// A percentage: Istio's `Percent`.
///
/// The value is as written and may be anything, not-a-number included; what is a percentage is decided by
/// [`umbra_ir::RuntimeFraction::from_percent`]. Equality is by bits, so that not-a-number equals itself and
/// an unchanged object compares equal.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Percent {
    /// Percent, 0 to 100. Absent means 0 (proto3).
    pub value: f64,
}

impl PartialEq for Percent {
    fn eq(&self, other: &Self) -> bool {
        self.value.to_bits() == other.value.to_bits()
    }
}

impl Eq for Percent {}

/// A floating-point number with equality by bits, for the same reason as [`Percent`].
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Double(pub f64);

impl PartialEq for Double {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for Double {}

/// A length of time, in whole nanoseconds; negative ones can be written and are judged by validation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Duration {
    nanos: i128,
}

/// The longest duration, about 31 years. Protobuf can express more, but Envoy refuses what it cannot hold in
/// nanoseconds, and with it everything else in the message.
const MAX_SECONDS: i128 = 1_000_000_000;

/// Units of Go's `time.ParseDuration`, longest spelling first so that `ms` is not read as `m`.
const UNITS: [(&str, i128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
];

impl Duration {
    /// From nanoseconds.
    pub const fn from_nanos(nanos: i128) -> Self {
        Duration { nanos }
    }

    /// From seconds.
    pub const fn from_secs(secs: u32) -> Self {
        Duration { nanos: secs as i128 * 1_000_000_000 }
    }

    /// From milliseconds.
    pub const fn from_millis(millis: u32) -> Self {
        Duration { nanos: millis as i128 * 1_000_000 }
    }

    /// Nanoseconds, negative when the text was.
    pub fn nanos(self) -> i128 {
        self.nanos
    }

    /// As the standard library's type; `None` when it cannot be served: negative, or above 0 and below a
    /// millisecond, which Envoy would take for 0 and so for "no limit".
    pub fn to_std(self) -> Option<std::time::Duration> {
        if (1..1_000_000).contains(&self.nanos) {
            return None;
        }
        let secs = u64::try_from(self.nanos.div_euclid(1_000_000_000)).ok()?;
        Some(std::time::Duration::new(secs, self.nanos.rem_euclid(1_000_000_000) as u32))
    }
}

impl fmt::Debug for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Duration {
    /// Proto JSON's spelling: `1.5s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, nanos) = (if self.nanos < 0 { "-" } else { "" }, self.nanos.unsigned_abs());
        let fraction = format!("{:09}", nanos % 1_000_000_000);
        let fraction = fraction.trim_end_matches('0');
        let dot = if fraction.is_empty() { "" } else { "." };
        write!(f, "{sign}{}{dot}{fraction}s", nanos / 1_000_000_000)
    }
}

/// The text is not a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a duration; write for example 5s, 1.5s, 250ms or 1h30m")]
pub struct NotADuration;

impl FromStr for Duration {
    type Err = NotADuration;

    /// Proto JSON's `1.5s` and the longer spellings of Go's `time.ParseDuration`, such as `1h1m1s1ms`, which
    /// Istio's documentation uses. A number needs a unit, but for a plain `0`.
    fn from_str(text: &str) -> Result<Self, NotADuration> {
        let (negative, mut rest) = match text.strip_prefix(['-', '+']) {
            Some(rest) => (text.starts_with('-'), rest),
            None => (false, text),
        };
        if rest == "0" {
            return Ok(Duration::default());
        }
        if rest.is_empty() {
            return Err(NotADuration);
        }
        let mut nanos: i128 = 0;
        while !rest.is_empty() {
            let (amount, tail) = take_amount(rest).ok_or(NotADuration)?;
            let (unit, scale) = UNITS.iter().find(|(unit, _)| tail.starts_with(unit)).ok_or(NotADuration)?;
            rest = &tail[unit.len()..];
            nanos += amount.scaled(*scale).ok_or(NotADuration)?;
            if nanos > MAX_SECONDS * 1_000_000_000 {
                return Err(NotADuration);
            }
        }
        Ok(Duration { nanos: if negative { -nanos } else { nanos } })
    }
}

/// A decimal number as whole part and fraction digits.
struct Amount<'a> {
    whole: &'a str,
    fraction: &'a str,
}

impl Amount<'_> {
    /// The number times `scale`, cut to a whole number.
    fn scaled(&self, scale: i128) -> Option<i128> {
        let whole: i128 = if self.whole.is_empty() { 0 } else { self.whole.parse::<u64>().ok()?.into() };
        // 15 digits are below a nanosecond even of hours.
        let digits = &self.fraction[..self.fraction.len().min(15)];
        let fraction: i128 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
        whole.checked_mul(scale)?.checked_add(fraction * scale / 10_i128.pow(digits.len() as u32))
    }
}

/// Splits a decimal number off the front; `None` when there is none.
fn take_amount(text: &str) -> Option<(Amount<'_>, &str)> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let (whole, rest) = text.split_at(digits(text));
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(digits(rest)),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    Some((Amount { whole, fraction }, rest))
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|error| de::Error::custom(format_args!("{text:?} is {error}")))
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

impl JsonSchema for Base64 {
    fn schema_name() -> Cow<'static, str> {
        "Base64".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

/// A value that proto calls int32, kept in 64 bits; numbers outside 32 bits are refused, as proto JSON does.
pub(crate) fn int32<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    Ok(Option::<i32>::deserialize(deserializer)?.map(i64::from))
}

/// Bytes, which proto JSON writes as base64 (standard or URL alphabet, padded or not).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Base64(pub Vec<u8>);

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use base64::Engine as _;
        use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
        let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        let text = String::deserialize(deserializer)?.replace('-', "+").replace('_', "/");
        GeneralPurpose::new(&base64::alphabet::STANDARD, config)
            .decode(text)
            .map(Base64)
            .map_err(|error| de::Error::custom(format_args!("not base64: {error}")))
    }
}

/// Defines an enum of proto: JSON writes a value by name or by number, absent is the value with number 0.
macro_rules! proto_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $number:literal $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// Every value with its proto name and number, in order.
            pub const ALL: &[($name, &str, i64)] = &[$(($name::$variant, $text, $number),)*];

            /// The name that manifests use.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }
        }

        impl Default for $name {
            fn default() -> Self {
                $name::ALL[0].0
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                crate::types::scalar::deserialize_enum(deserializer, $name::ALL)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            // By name only, as in Istio's own schema: kubectl users write names.
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let names: Vec<&str> = $name::ALL.iter().map(|(_, name, _)| *name).collect();
                schemars::json_schema!({ "type": "string", "enum": names })
            }
        }
    };
}
pub(crate) use proto_enum;

/// Reads a proto enum by name or by number.
pub(crate) fn deserialize_enum<'de, D: Deserializer<'de>, T: Copy>(
    deserializer: D,
    all: &'static [(T, &'static str, i64)],
) -> Result<T, D::Error> {
    struct Visitor<T: 'static>(&'static [(T, &'static str, i64)]);

    impl<T> Visitor<T> {
        fn unknown<E: de::Error>(&self, value: &dyn fmt::Display) -> E {
            let names: Vec<&str> = self.0.iter().map(|(_, name, _)| *name).collect();
            E::custom(format_args!("unknown value {value}, expected one of {}", names.join(", ")))
        }
    }

    impl<T: Copy> de::Visitor<'_> for Visitor<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let names: Vec<&str> = self.0.iter().map(|(_, name, _)| *name).collect();
            write!(f, "one of {}", names.join(", "))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            let found = self.0.iter().find(|(_, name, _)| *name == text);
            found.map(|(value, ..)| *value).ok_or_else(|| self.unknown(&format_args!("{text:?}")))
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
            let found = self.0.iter().find(|(.., n)| *n == number);
            found.map(|(value, ..)| *value).ok_or_else(|| self.unknown(&number))
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
            match i64::try_from(number) {
                Ok(number) => self.visit_i64(number),
                Err(_) => Err(self.unknown(&number)),
            }
        }
    }

    deserializer.deserialize_any(Visitor(all))
}
