//! Who leads a browser to a change: a page of another origin must not. A browser sends what a page asks for with the rights of
//! whoever sits before it, to the loopback too; so a change needs what no other page can have it send.

use axum::http::header::{CONTENT_TYPE, HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Uri};

use crate::host::is_here;

/// Whether no page of another origin can have led to this request; where only this machine asks (`from_here`), none of a name that
/// somebody else lets lead to it either.
///
/// # Errors
/// It may, with a status and why.
pub(super) fn check(headers: &HeaderMap, uri: &Uri, from_here: bool) -> Result<(), (StatusCode, String)> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let forbidden = |why: &str| Err((StatusCode::FORBIDDEN, why.to_owned()));
    // HTTP/2 has the host in the place of an address.
    let host = text(HOST.as_str()).or_else(|| uri.authority().map(Authority::as_str)).unwrap_or_default();
    if from_here && !is_here(host) {
        return forbidden("ask by an address such as 127.0.0.1, or as localhost");
    }
    // Browsers say so whatever a page wants (Fetch Metadata Request Headers).
    if text("sec-fetch-site").is_some_and(|site| site != "same-origin") {
        return forbidden("a page of another origin asks for this");
    }
    if let Some(origin) = text(ORIGIN.as_str()) {
        let same = origin.split_once("://").is_some_and(|(_, of)| of.eq_ignore_ascii_case(host));
        if !same {
            return forbidden("a page of another origin asks for this");
        }
    }
    // A form cannot send it, and a script of another origin only after a question that nobody answers here (CORS).
    let json = text(CONTENT_TYPE.as_str()).is_some_and(|it| {
        it.split(';').next().is_some_and(|it| it.trim().eq_ignore_ascii_case("application/json"))
    });
    match json {
        true => Ok(()),
        false => {
            Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "expected content-type: application/json".to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_lead_to_a_change() {
        const JSON: (&str, &str) = ("content-type", "application/json");
        const HERE: (&str, &str) = ("host", "127.0.0.1:15014");
        for (headers, here, want) in [
            (&[JSON, HERE][..], true, 200),
            (&[("content-type", "application/json; charset=utf-8"), HERE], true, 200),
            (
                &[JSON, HERE, ("origin", "http://127.0.0.1:15014"), ("sec-fetch-site", "same-origin")],
                true,
                200,
            ),
            (&[HERE], true, 415),
            (&[("content-type", "text/plain"), HERE], true, 415),
            (&[("content-type", "application/x-www-form-urlencoded"), HERE], true, 415),
            (&[JSON, HERE, ("origin", "http://evil.example")], true, 403),
            (&[JSON, HERE, ("origin", "http://127.0.0.1:8000")], true, 403),
            (&[JSON, HERE, ("origin", "null")], true, 403),
            (&[JSON, HERE, ("sec-fetch-site", "cross-site")], true, 403),
            (&[JSON, HERE, ("sec-fetch-site", "same-site")], true, 403),
            (&[JSON, HERE, ("sec-fetch-site", "none")], true, 403),
            // A name that its owner lets lead here is of one origin with the page.
            (&[JSON, ("host", "evil.example"), ("origin", "http://evil.example")], true, 403),
            (&[JSON, ("host", "umbra.shop.example"), ("origin", "https://umbra.shop.example")], false, 200),
            (&[JSON], true, 403),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.insert(*name, value.parse().unwrap());
            }
            let got = check(&map, &Uri::from_static("/v1/stop"), here);
            assert_eq!(got.map_or_else(|(status, _)| status.as_u16(), |()| 200), want, "{headers:?}");
        }
    }
}
