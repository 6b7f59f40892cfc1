//! What the paths over plain HTTP have in common: how a body is read, and how somebody is refused.

use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::identity::Refusal;

/// What somebody may send.
const MAX_BODY_BYTES: usize = 64 << 10;
/// How long it may take to send that.
const BODY: Duration = Duration::from_secs(10);

/// Reads a body to its end: a client that is still writing would not read the answer.
pub(super) async fn read(body: Body) -> Result<Bytes, Response> {
    match tokio::time::timeout(BODY, axum::body::to_bytes(body, MAX_BODY_BYTES)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => {
            let message = format!("the body has more than {MAX_BODY_BYTES} bytes, or broke off");
            Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, message))
        }
        Err(_) => Err(refuse(StatusCode::REQUEST_TIMEOUT, format!("no whole body within {BODY:?}"))),
    }
}

/// Says why not.
pub(super) fn refuse(status: StatusCode, message: String) -> Response {
    (status, Json(json!({ "message": message }))).into_response()
}

/// Says why this caller is not answered.
pub(super) fn refused(refusal: &Refusal) -> Response {
    let status = match refusal {
        Refusal::Unproven(_) => StatusCode::UNAUTHORIZED,
        Refusal::Foreign(_) | Refusal::Forbidden(_) => StatusCode::FORBIDDEN,
        Refusal::Later(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    refuse(status, refusal.why().to_owned())
}
