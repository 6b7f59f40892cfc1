//! What a token says of itself (RFC 7519), before anybody vouches for it: enough to turn away what cannot be good without
//! asking, and to know when it ends once somebody has.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::Deserialize;

/// The claims that matter here.
#[derive(Deserialize)]
struct Claims {
    exp: i64,
    #[serde(default)]
    sub: String,
}

/// The token in an `authorization` header.
///
/// # Errors
/// There is none.
pub(super) fn bearer(authorization: Option<&[u8]>) -> Result<&str, &'static str> {
    const MISSING: &str =
        "no token: this port asks for `authorization: Bearer TOKEN` (umbra bootstrap --token FILE)";
    let text = authorization.and_then(|bytes| std::str::from_utf8(bytes).ok()).ok_or(MISSING)?;
    let (scheme, token) = text.split_once(' ').ok_or(MISSING)?;
    let token = token.trim();
    if scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() { Ok(token) } else { Err(MISSING) }
}

/// When a ServiceAccount's token expires, by its own word.
///
/// # Errors
/// It is none, or has expired.
pub(super) fn expiry(token: &str, now: Timestamp) -> Result<Timestamp, &'static str> {
    const NONE: &str = "the token is none of a ServiceAccount";
    let mut parts = token.split('.');
    let (Some(_), Some(payload), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(NONE);
    };
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(payload).map_err(|_| NONE)?;
    let claims: Claims = serde_json::from_slice(&bytes).map_err(|_| NONE)?;
    if !claims.sub.starts_with("system:serviceaccount:") {
        return Err(NONE);
    }
    let until = Timestamp::from_second(claims.exp).map_err(|_| NONE)?;
    if until <= now { Err("the token has expired") } else { Ok(until) }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A token that nobody has signed.
    pub(in super::super) fn token(claims: &Value) -> String {
        format!("e30.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    #[test]
    fn a_header_with_a_token() {
        for (header, want) in [
            (None, None),
            (Some(&b""[..]), None),
            (Some(b"abc"), None),
            (Some(b"Basic abc"), None),
            (Some(b"Bearer "), None),
            (Some(b"Bearer \xff"), None),
            (Some(b"Bearer abc"), Some("abc")),
            (Some(b"bearer abc"), Some("abc")),
        ] {
            assert_eq!(bearer(header).ok(), want, "{header:?}");
        }
    }

    #[test]
    fn when_a_token_ends() {
        let now = Timestamp::from_second(1000).unwrap();
        let sub = "system:serviceaccount:a:b";
        for (token, want) in [
            (String::new(), None),
            ("a.b.c".to_owned(), None),
            ("..".to_owned(), None),
            (token(&json!({"exp": 2000})), None),
            (token(&json!({"sub": sub})), None),
            (token(&json!({"sub": sub, "exp": "2000"})), None),
            (token(&json!({"sub": sub, "exp": i64::MAX})), None),
            (token(&json!({"sub": sub, "exp": 1000})), None),
            (token(&json!({"sub": "eve", "exp": 2000})), None),
            (token(&json!({"sub": sub, "exp": 2000})), Some(2000)),
            (token(&json!({"sub": sub, "exp": 2000})) + ".x", None),
        ] {
            assert_eq!(expiry(&token, now).ok().map(Timestamp::as_second), want, "{token}");
        }
    }
}
