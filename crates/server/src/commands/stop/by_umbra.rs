//! umbra writes the annotation itself (`POST /v1/stop`), for who has no way to the API server, and a token.

use std::time::Duration;

use anyhow::{Context, bail};
use hyper::StatusCode;
use hyper::body::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use umbra_ir::{Kind, ObjectId};

use crate::channel::resolve;
use crate::cli::StopArgs;
use crate::commands::ask::door::Door;
use crate::stop::{AllWritten, Verb, Written};

/// How long a replica may take to be reached.
const CONNECT: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
struct Told {
    #[serde(rename = "virtualServices")]
    all: Vec<One>,
}

#[derive(Deserialize)]
struct One {
    namespace: String,
    name: String,
    annotation: Option<String>,
    #[serde(default)]
    changed: bool,
    error: Option<String>,
}

/// Has the first replica that answers write it. Proxies are waited for by the one who asks.
pub(super) async fn write(verb: Verb, args: &StopArgs, door: &Door) -> anyhow::Result<AllWritten> {
    let path = match verb {
        Verb::Stop => "/v1/stop",
        Verb::Resume => "/v1/resume",
    };
    let mut order = json!({ "wait": "0s" });
    match args.all {
        true => order["all"] = true.into(),
        false => order["mirrors"] = args.mirrors.clone().into(),
    }
    if let Some(namespace) = &args.namespace {
        order["namespace"] = namespace.clone().into();
    }
    let body = serde_json::to_vec(&order)?;
    let mut silent = Vec::new();
    for server in &args.door.server {
        let addresses = match resolve(server).await {
            Ok(addresses) => addresses,
            Err(why) => {
                silent.push(format!("{server}: {why}"));
                continue;
            }
        };
        for address in addresses {
            match door.post((server, address), CONNECT, path, body.clone()).await {
                Ok((status, answer)) => return written(status, &answer).with_context(|| address.to_string()),
                Err(why) => silent.push(format!("{address}: {why}")),
            }
        }
    }
    bail!("nobody answers: {}", silent.join("; "))
}

/// What became of it.
///
/// # Errors
/// It was refused, in the words of who answered.
fn written(status: StatusCode, answer: &Bytes) -> anyhow::Result<AllWritten> {
    if !status.is_success() && status != StatusCode::CONFLICT {
        let said: Value = serde_json::from_slice(answer).unwrap_or_default();
        let words = said["message"]
            .as_str()
            .map_or_else(|| String::from_utf8_lossy(answer).into_owned(), str::to_owned);
        bail!("{words} ({status})");
    }
    let told: Told =
        serde_json::from_slice(answer).context("is it umbra's --admin or --api, of this version?")?;
    let one = |it: One| {
        let id = ObjectId::new(Kind::VirtualService, it.namespace, it.name);
        let written = Written { annotation: it.annotation, changed: it.changed };
        (id, it.error.map_or(Ok(written), Err))
    };
    Ok(told.all.into_iter().map(one).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_answered() {
        let check = |status: u16, body: &str| {
            let status = StatusCode::from_u16(status).unwrap();
            match written(status, &Bytes::from(body.to_owned())) {
                Ok(all) => {
                    all.iter().map(|(id, it)| format!("{}: {it:?}", id.name)).collect::<Vec<_>>().join(", ")
                }
                Err(error) => format!("{error:#}"),
            }
        };
        for (status, body, want) in [
            (202, r#"{"virtualServices": []}"#, ""),
            (
                202,
                r#"{"done": false, "virtualServices": [{"namespace": "a", "name": "b", "annotation": "all", "changed": true}]}"#,
                "b: Ok(Written { annotation: Some(\"all\"), changed: true })",
            ),
            (
                409,
                r#"{"virtualServices": [{"namespace": "a", "name": "b", "error": "no"}]}"#,
                "b: Err(\"no\")",
            ),
            (403, r#"{"message": "you may not"}"#, "you may not (403 Forbidden)"),
            (404, "what", "what (404 Not Found)"),
        ] {
            assert_eq!(check(status, body), want);
        }
    }
}
