//! By which name a port was asked that only this machine reaches. A browser on the machine asks it for any page whose name its author lets lead
//! to 127.0.0.1 (DNS rebinding), and hands that page the answer: so only names that nobody else can own are answered.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::{StatusCode, header, uri::Authority};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// Answers only who asks by an address, or by a name of this machine.
pub(crate) async fn check(request: Request, next: Next) -> Response {
    let named = request.headers().get(header::HOST).map(|value| value.to_str().unwrap_or_default());
    // HTTP/2 has it in the place of an address; where both are, both count.
    let asked = named.into_iter().chain(request.uri().authority().map(Authority::as_str));
    match asked.into_iter().all(is_here) {
        true => next.run(request).await,
        false => {
            let text = "ask by an address such as 127.0.0.1, or as localhost; names with dots may be somebody else's\n";
            (StatusCode::FORBIDDEN, text).into_response()
        }
    }
}

/// Whether nobody elsewhere can make this `HOST[:PORT]` lead somewhere: an address, `localhost` or below that (RFC 6761, 6.3), or
/// a name without a dot, which no public name is.
pub(crate) fn is_here(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host().trim_end_matches('.').to_ascii_lowercase();
    let address = name.trim_start_matches('[').trim_end_matches(']');
    address.parse::<IpAddr>().is_ok()
        || name.ends_with(".localhost")
        || (!name.is_empty() && !name.contains('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_machine() {
        for (host, here) in [
            ("127.0.0.1:15014", true),
            ("[::1]:15014", true),
            ("10.0.0.1", true),
            ("localhost", true),
            ("LOCALHOST.:15014", true),
            ("umbra.localhost:1", true),
            ("evil.example", false),
            ("localhost.evil.example:15014", false),
            ("127.0.0.1.evil.example", false),
            ("umbra:15014", true),
            (".", false),
            ("evil@127.0.0.1 x", false),
            ("", false),
        ] {
            assert_eq!(is_here(host), here, "{host:?}");
        }
    }
}
