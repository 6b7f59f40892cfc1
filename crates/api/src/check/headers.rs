//! Header names and values that Envoy takes. One that it refuses costs a whole route table.

use super::Problem;
use umbra_ir::Code;

use crate::types::http_route::StringMatch;

/// The longest header name or value (Envoy `config.core.v3.HeaderValue`), in bytes.
const MAX_HEADER_BYTES: usize = 16_384;
/// JWT claims, which Istio matches as if they were headers.
const JWT_CLAIMS: &str = "@request.auth.claims";

/// Whether a name can be a header's (an RFC 9110 token).
pub fn check_header_name(name: &str) -> Result<(), Problem> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || name.len() > MAX_HEADER_BYTES || !name.bytes().all(token) {
        return Err(Problem::new(Code::InvalidHeader, format!("{} is no header name", quote(name))));
    }
    Ok(())
}

/// The name of a header that a condition looks at: a header, a pseudo header such as `:path`.
pub(super) fn check_match_name(name: &str) -> Result<(), Problem> {
    if name.starts_with(JWT_CLAIMS) {
        let message = "accepted, not acted on yet: conditions on JWT claims".to_owned();
        return Err(Problem::new(Code::NotActedOn, message));
    }
    check_header_name(name.strip_prefix(':').unwrap_or(name))
}

/// A `set` or `add` of a header. `:authority` and `host`, which change the request's host, are taken for the
/// request only: the caller knows the direction.
pub fn check_header_op(name: &str, value: &str) -> Result<(), Problem> {
    if is_authority(name) {
        return check_text(value);
    }
    if name.starts_with(':') {
        let message = format!("{} is a pseudo header and cannot be changed", quote(name));
        return Err(Problem::new(Code::InvalidHeader, message));
    }
    check_header_name(name)?;
    check_header_value(value)
}

/// A `remove` of a header.
pub fn check_header_remove(name: &str) -> Result<(), Problem> {
    if name.starts_with(':') || is_authority(name) {
        let message = format!("{} cannot be removed", quote(name));
        return Err(Problem::new(Code::InvalidHeader, message));
    }
    check_header_name(name)
}

/// Whether a name means the request's host.
pub fn is_authority(name: &str) -> bool {
    name == ":authority" || name.eq_ignore_ascii_case("host")
}

/// A header value: no control characters, and every `%` begins a substitution that Envoy knows.
pub fn check_header_value(value: &str) -> Result<(), Problem> {
    let bad = |why: &str| Err(Problem::new(Code::InvalidHeader, format!("the value {} {why}", quote(value))));
    if value.len() > MAX_HEADER_BYTES {
        return bad("is too long");
    }
    if value.chars().any(|c| c.is_ascii_control() && c != '\t') {
        return bad("contains control characters");
    }
    let mut rest = value;
    while let Some((_, after)) = rest.split_once('%') {
        rest = match after.strip_prefix('%') {
            Some(literal) => literal,
            None => match substitution(after) {
                Some(tail) => tail,
                None => {
                    return bad(
                        "has a % that begins no substitution that Envoy knows; a plain % is written %%",
                    );
                }
            },
        };
    }
    Ok(())
}

/// Reads `REQ(X?Y):10%` after its first `%`; the text behind it, or `None`.
fn substitution(text: &str) -> Option<&str> {
    let name_end = text.find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'))?;
    let (name, mut rest) = text.split_at(name_end);
    let mut parameter = None;
    if let Some(tail) = rest.strip_prefix('(') {
        let (inside, tail) = tail.split_once(')')?;
        parameter = Some(inside);
        rest = tail;
    }
    let mut length = false;
    if let Some(tail) = rest.strip_prefix(':') {
        let digits = tail.bytes().take_while(u8::is_ascii_digit).count();
        // More digits would not be a number that Envoy can hold.
        if !(1..=9).contains(&digits) {
            return None;
        }
        length = true;
        rest = &tail[digits..];
    }
    let tail = rest.strip_prefix('%')?;
    let known = match parameter {
        Some(inside) => !inside.is_empty() && WITH_PARAMETER.contains(&name),
        None => !length && WITHOUT_PARAMETER.contains(&name),
    };
    known.then_some(tail)
}

/// Substitutions with a parameter that may be any text (put to Envoy 1.40).
const WITH_PARAMETER: &[&str] = &["REQ", "RESP", "TRAILER", "DYNAMIC_METADATA", "QUERY_PARAM", "ENVIRONMENT"];

/// Substitutions without parameter (put to Envoy 1.40).
const WITHOUT_PARAMETER: &[&str] = &[
    "BYTES_RECEIVED",
    "BYTES_SENT",
    "CONNECTION_ID",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_LOCAL_ADDRESS",
    "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_LOCAL_PORT",
    "DOWNSTREAM_LOCAL_URI_SAN",
    "DOWNSTREAM_PEER_SUBJECT",
    "DOWNSTREAM_PEER_URI_SAN",
    "DOWNSTREAM_REMOTE_ADDRESS",
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_TLS_VERSION",
    "DURATION",
    "HOSTNAME",
    "PROTOCOL",
    "REQUESTED_SERVER_NAME",
    "RESPONSE_CODE",
    "RESPONSE_CODE_DETAILS",
    "RESPONSE_FLAGS",
    "ROUTE_NAME",
    "START_TIME",
    "STREAM_ID",
    "TRACE_ID",
    "UNIQUE_ID",
    "UPSTREAM_CLUSTER",
    "UPSTREAM_HOST",
    "UPSTREAM_LOCAL_ADDRESS",
    "UPSTREAM_REMOTE_ADDRESS",
    "VIRTUAL_CLUSTER_NAME",
];

/// Text for a host, a path or a prefix: Envoy refuses NUL and line breaks there.
pub fn check_text(text: &str) -> Result<(), Problem> {
    if text.bytes().any(|b| matches!(b, 0 | b'\n' | b'\r')) {
        return Err(Problem::new(Code::InvalidText, format!("{} contains a line break or NUL", quote(text))));
    }
    Ok(())
}

/// A condition on the text of a header or query parameter; the path has its own rules.
pub(super) fn check_value_match(condition: &StringMatch) -> Result<(), Problem> {
    match condition {
        StringMatch::Prefix(text) if text.is_empty() => {
            let message = "an empty prefix; {} asks for presence".to_owned();
            Err(Problem::new(Code::InvalidMatch, message))
        }
        // Istio's old spelling of presence.
        StringMatch::Regex(text) if text == "*" => Ok(()),
        StringMatch::Regex(text) => super::regex::check_regex(text).map(drop),
        StringMatch::Present | StringMatch::Exact(_) | StringMatch::Prefix(_) => Ok(()),
    }
}

/// The beginning of a text, in quotes.
pub(crate) fn quote(text: &str) -> String {
    let start: String = text.chars().take(60).collect();
    if start.len() < text.len() { format!("{start:?}…") } else { format!("{start:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_judged_as_envoy_does() {
        let good = [
            "",
            "a",
            "é",
            "a\tb",
            "50%% off",
            "%PROTOCOL%",
            "%REQ(X?Y):10%",
            "%REQ(x)%%REQ(y)%",
            "a %DYNAMIC_METADATA(a:b)% b",
        ];
        let bad = [
            "%",
            "100%",
            "%FOO%",
            "%REQ%",
            "%REQ()%",
            "%req(x)%",
            "%PROTOCOL:5%",
            "%PROTOCOL",
            "a%REQ(x)%b%",
            "a%20b",
            "%REQ(x):-1%",
            "%REQ(x",
            "a\nb",
            "\u{0}",
        ];
        for value in good {
            assert_eq!(check_header_value(value), Ok(()), "{value}");
        }
        for value in bad {
            assert!(check_header_value(value).is_err(), "{value}");
        }
    }

    #[test]
    fn names() {
        for (name, op, remove) in [
            ("x-a", true, true),
            ("Host", true, false),
            (":authority", true, false),
            (":path", false, false),
            ("a b", false, false),
            ("", false, false),
        ] {
            assert_eq!(check_header_op(name, "v").is_ok(), op, "{name}");
            assert_eq!(check_header_remove(name).is_ok(), remove, "{name}");
        }
    }
}
