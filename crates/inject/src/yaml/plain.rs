//! What a scalar without quotes means to `kubectl`, which reads YAML 1.1 through Go's library.

use serde_json::{Number, Value};

/// The meaning of a plain scalar.
pub(super) fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "y" | "Y" => {
            Value::Bool(true)
        }
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "n" | "N" => {
            Value::Bool(false)
        }
        _ => number(text).map_or_else(|| Value::String(text.to_owned()), Value::Number),
    }
}

fn number(text: &str) -> Option<Number> {
    if !text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) {
        return None;
    }
    let digits = text.replace('_', "");
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, digits.strip_prefix('+').unwrap_or(&digits)),
    };
    let radix = |prefix: &str, radix| {
        digits.strip_prefix(prefix).and_then(|rest| i64::from_str_radix(rest, radix).ok())
    };
    let integer = radix("0x", 16).or_else(|| radix("0b", 2)).or_else(|| radix("0o", 8)).or_else(|| {
        let octal = digits.len() > 1 && digits.starts_with('0');
        i64::from_str_radix(digits, if octal { 8 } else { 10 }).ok()
    });
    if let Some(integer) = integer {
        return Some(Number::from(sign * integer));
    }
    let shape = digits.bytes().all(|b| b.is_ascii_digit() || b".eE+-".contains(&b));
    let float: f64 = if shape { digits.parse().ok()? } else { return None };
    Number::from_f64(if sign < 0 { -float } else { float })
}
