//! What a plain (unquoted) YAML scalar means.
//!
//! Kubernetes reads YAML 1.1 (`sigs.k8s.io/yaml`), everybody else 1.2. Where the two agree, so do we; where
//! they don't (`yes`, `010`, `1_000`) the text is ambiguous: a boolean field takes YAML 1.1's booleans,
//! everything else is an error that asks for quotes or another spelling. The single letters `y` and `n` are text:
//! nobody writes them for a boolean, and as a name they are plain.

use super::tree::Value;

/// Resolves plain text.
pub(crate) fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        "yes" | "Yes" | "YES" | "on" | "On" | "ON" => return ambiguous(text, Some(true)),
        "no" | "No" | "NO" | "off" | "Off" | "OFF" => return ambiguous(text, Some(false)),
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Value::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Value::Float(f64::NEG_INFINITY),
        _ => {}
    }
    if text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) {
        number(text).unwrap_or_else(|| Value::String(text.to_owned()))
    } else {
        Value::String(text.to_owned())
    }
}

fn ambiguous(text: &str, boolean: Option<bool>) -> Value {
    Value::Ambiguous { text: text.to_owned(), boolean }
}

/// A number, or `None` for text such as `1.2.3` or `-x`.
fn number(text: &str) -> Option<Value> {
    let (negative, digits) = match text.strip_prefix(['+', '-']) {
        Some(digits) => (text.starts_with('-'), digits),
        None => (false, text),
    };
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if let Some(digits) = digits.strip_prefix(prefix) {
            let value =
                i64::from_str_radix(digits, radix).ok().filter(|_| !digits.starts_with(['+', '-']))?;
            return Some(Value::Int(if negative { -value } else { value }));
        }
    }
    let bytes = digits.as_bytes();
    if bytes.first().is_some_and(u8::is_ascii_digit) && bytes.iter().all(|b| b.is_ascii_digit() || *b == b'_')
    {
        let octal = bytes.len() > 1 && bytes[0] == b'0';
        if octal || bytes.contains(&b'_') {
            return Some(ambiguous(text, None));
        }
        return Some(match (text.parse(), text.parse()) {
            (Ok(value), _) => Value::Int(value),
            (Err(_), Ok(value)) => Value::Uint(value),
            _ => Value::Float(text.parse().ok()?),
        });
    }
    is_float(digits).then(|| text.parse().ok().map(Value::Float))?
}

/// `[0-9]+(\.[0-9]*)?` or `\.[0-9]+`, then an optional exponent.
fn is_float(text: &str) -> bool {
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(index) => (&text[..index], Some(&text[index + 1..])),
        None => (text, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let mantissa_ok = match mantissa.split_once('.') {
        Some(("", fraction)) => digits(fraction),
        Some((whole, fraction)) => digits(whole) && (fraction.is_empty() || digits(fraction)),
        None => digits(mantissa),
    };
    mantissa_ok && exponent.is_none_or(|e| digits(e.strip_prefix(['+', '-']).unwrap_or(e)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars() {
        for (text, want) in [
            ("", "Null"),
            ("null", "Null"),
            ("true", "Bool(true)"),
            ("5", "Int(5)"),
            ("-5", "Int(-5)"),
            ("+5", "Int(5)"),
            ("0", "Int(0)"),
            ("0x1F", "Int(31)"),
            ("0o17", "Int(15)"),
            ("0x-1", "String(\"0x-1\")"),
            ("18446744073709551615", "Uint(18446744073709551615)"),
            ("1.5", "Float(1.5)"),
            ("1.", "Float(1.0)"),
            (".5", "Float(0.5)"),
            ("1e3", "Float(1000.0)"),
            (".nan", "Float(NaN)"),
            ("-.inf", "Float(-inf)"),
            ("1.2.3", "String(\"1.2.3\")"),
            ("1.5s", "String(\"1.5s\")"),
            ("10.0.0.1", "String(\"10.0.0.1\")"),
            ("-", "String(\"-\")"),
            (".", "String(\".\")"),
            ("1e", "String(\"1e\")"),
            ("v1", "String(\"v1\")"),
            ("n", "String(\"n\")"),
            ("yes", "Ambiguous { text: \"yes\", boolean: Some(true) }"),
            ("off", "Ambiguous { text: \"off\", boolean: Some(false) }"),
            ("010", "Ambiguous { text: \"010\", boolean: None }"),
            ("1_000", "Ambiguous { text: \"1_000\", boolean: None }"),
        ] {
            assert_eq!(format!("{:?}", resolve(text)), want, "{text}");
        }
    }
}
