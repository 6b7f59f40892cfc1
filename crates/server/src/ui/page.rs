//! What all pages have around them, and what a browser may do with them.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};

use crate::identity::Refusal;

/// Nothing from elsewhere, nothing that is written into a page runs, and nobody frames it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Headers of every answer.
const HEADERS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Adds them.
pub(super) async fn guard(response: Response) -> Response {
    let mut response = response;
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// A page of this kind, whose parts are replaced one by one while it is shown, with its main part.
pub(super) fn page(status: StatusCode, title: &str, kind: &str, replica: &str, main: &Markup) -> Response {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                link rel="stylesheet" href="app.css";
                // No picture: browsers would ask for one.
                link rel="icon" href="data:,";
                script src="app.js" defer {}
            }
            body {
                a.skip href="#main" { "To the mirrors" }
                header {
                    h1 { a href="./" { "umbra" } }
                    span.faint { "mirrors of this mesh" }
                    output #say role="status" aria-live="polite" {}
                }
                main #main data-page=(kind) { (main) }
                footer {
                    "umbra " (env!("CARGO_PKG_VERSION")) ", told by replica " (replica) ". Figures are of the last ten minutes at most, lines of the last hour. "
                    noscript { "Without scripts this page is not renewed, and its buttons do nothing: " code { "umbra stop" } " stops mirrors too." }
                }
                dialog aria-labelledby="ask" {
                    form method="dialog" {
                        p #ask {}
                        div.row { button value="no" { "Cancel" } button.stop value="yes" {} }
                    }
                }
            }
        }
    };
    (status, Html(markup.into_string())).into_response()
}

/// What somebody sees who may not see more.
pub(super) fn refused(refusal: &Refusal, replica: &str) -> Response {
    let (status, unproven) = match refusal {
        Refusal::Unproven(_) => (StatusCode::UNAUTHORIZED, true),
        Refusal::Foreign(_) | Refusal::Forbidden(_) => (StatusCode::FORBIDDEN, false),
        Refusal::Later(_) => (StatusCode::SERVICE_UNAVAILABLE, false),
    };
    let main = html! {
        h2 { @if unproven { "Who are you?" } @else { "You may not see this" } }
        p { (refusal.why()) }
        @if !unproven { p { "Of one namespace: " code { "?namespace=NAME" } "." } }
        form #proof {
            p { label { "A token of the audience umbra, as " code { "kubectl create token NAME --audience umbra" } " makes one:" } }
            p { input name="token" type="password" autocomplete="off" required data-focus="token" aria-label="Token"; " " button { "Show" } }
        }
        p.faint { "It stays in this tab, and is sent to umbra alone." }
    };
    page(status, "umbra", "refused", replica, &main)
}

/// What somebody sees who asks for something that is not there.
pub(super) fn missing(what: &str, replica: &str) -> Response {
    let main = html! { h2 { "Not here" } p { (what) } p { a href="./" { "All mirrors" } } };
    page(StatusCode::NOT_FOUND, "umbra: not here", "missing", replica, &main)
}
