//! Asking the admin port of a running umbra.

use std::time::Duration;

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;

use super::ask::is_address;
use crate::channel::resolve;
use crate::failure::usage;
pub(super) use crate::words::escape;

/// How long an answer may take: a plan in a large mesh takes as long as a start.
const ANSWER: Duration = Duration::from_secs(120);
/// The configuration of a proxy in a large mesh has some ten megabytes.
const MAX_ANSWER_BYTES: usize = 256 << 20;

/// What `METHOD path` answers at `server` (`HOST:PORT`).
///
/// # Errors
/// Nobody answers, or with another status than 200: in the words of who answered.
pub(super) fn ask<T: DeserializeOwned>(
    server: &str,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(async {
        let exchange = exchange(server, method, path, body);
        tokio::time::timeout(ANSWER, exchange)
            .await
            .with_context(|| format!("no answer within {ANSWER:?}"))?
    });
    // A name that does not resolve holds a thread.
    runtime.shutdown_background();
    let bytes = answer.with_context(|| server.to_owned())?;
    serde_json::from_slice(&bytes)
        .with_context(|| format!("{server}: is it umbra's --admin, of this version?"))
}

async fn exchange(server: &str, method: Method, path: &str, body: Vec<u8>) -> anyhow::Result<Bytes> {
    let addresses = resolve(server).await.map_err(anyhow::Error::msg)?;
    let stream = TcpStream::connect(addresses.as_slice()).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(hyper::header::HOST, server)
        .header(hyper::header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))?;
    let exchange = async move {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
        anyhow::Ok((status, body.map_err(anyhow::Error::from_boxed)?.to_bytes()))
    };
    // The connection ends when the exchange has.
    let (answer, _) = tokio::join!(exchange, connection);
    let (status, bytes) = answer?;
    if !status.is_success() {
        bail!("{} ({status})", String::from_utf8_lossy(&bytes).trim());
    }
    Ok(bytes)
}

/// `HOST:PORT`, checked.
///
/// # Errors
/// What is no such.
pub(super) fn address(server: &str) -> anyhow::Result<String> {
    match is_address(server) {
        true => Ok(server.to_owned()),
        false => Err(usage(format!("--server: {server:?} is not HOST:PORT, such as 127.0.0.1:15014"))),
    }
}
