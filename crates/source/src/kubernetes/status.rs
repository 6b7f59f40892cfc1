//! Statuses on their way to the API server: by the leader alone, only where they differ from what is there, at
//! a bounded rate. Server-side apply under a field manager of our own: what others write stays theirs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use kube::core::Request;
use kube::core::params::{Patch, PatchParams};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};
use umbra_ir::ObjectId;

use super::connect::ApiServer;
use super::lease::{Leadership, NAME};
use super::resource::Resource;

/// Changes of this long are written as one: a rule that is applied together with its subsets settles meanwhile.
const COALESCE: Duration = Duration::from_millis(300);
/// The pause after each write: at most 25 a second.
const PACE: Duration = Duration::from_millis(40);
/// The pause after a write failed.
const RETRY: Duration = Duration::from_secs(2);
/// How long a write may take.
const REQUEST: Duration = Duration::from_secs(5);

/// A condition of an object, but for its time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Condition {
    /// `Accepted`, …
    pub kind: &'static str,
    /// Whether it holds.
    pub holds: bool,
    /// One word for tools.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// What the status of an object should say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// The version (`metadata.generation`) of the object that this is about.
    pub generation: i64,
    /// In the order in which they are listed.
    pub conditions: Vec<Condition>,
    /// All mirrors in one line; empty: none.
    pub mirrors: String,
    /// Istio's `validationMessages`, which its tools show.
    pub messages: Vec<Value>,
}

/// Every status that should be there.
pub type Statuses = BTreeMap<ObjectId, Status>;

/// What the API server's objects say now: version of the API, and `status`.
#[derive(Clone, PartialEq, Debug)]
pub struct Observed {
    pub(crate) api_version: String,
    pub(crate) status: Value,
}

/// Of every Istio object of the cluster.
pub type AllObserved = BTreeMap<ObjectId, Arc<Observed>>;

impl Status {
    /// Whether `observed` says this already, apart from what others say there.
    fn is_in(&self, observed: &Value) -> bool {
        let conditions = observed["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
        let same = |wanted: &Condition| {
            conditions.iter().any(|is| {
                is["type"] == wanted.kind
                    && is["status"] == truth(wanted.holds)
                    && is["reason"] == wanted.reason
                    && is["message"] == wanted.message
                    && number(&is["observedGeneration"]) == Some(self.generation)
            })
        };
        let gone = !self.conditions.iter().any(|c| c.kind == MIRRORS_READY)
            && conditions.iter().any(|is| is["type"] == MIRRORS_READY);
        let messages = observed["validationMessages"].as_array().map(Vec::as_slice).unwrap_or_default();
        self.conditions.iter().all(same)
            && !gone
            && observed["mirrors"].as_str().unwrap_or_default() == self.mirrors
            && messages == self.messages
    }

    /// The text to apply; a condition that does not change keeps its time.
    fn body(&self, id: &ObjectId, observed: &Observed, now: &str) -> Value {
        let before = observed.status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
        let conditions: Vec<Value> = self
            .conditions
            .iter()
            .map(|condition| {
                let status = truth(condition.holds);
                let since = before.iter().find(|is| is["type"] == condition.kind && is["status"] == status);
                let since = since.and_then(|is| is["lastTransitionTime"].as_str()).unwrap_or(now);
                json!({
                    "type": condition.kind,
                    "status": status,
                    "reason": condition.reason,
                    "message": condition.message,
                    "observedGeneration": self.generation,
                    "lastTransitionTime": since,
                })
            })
            .collect();
        let mut status = json!({ "conditions": conditions });
        if !self.mirrors.is_empty() {
            status["mirrors"] = self.mirrors.clone().into();
        }
        if !self.messages.is_empty() {
            status["validationMessages"] = self.messages.clone().into();
        }
        json!({
            "apiVersion": observed.api_version,
            "kind": id.kind.as_str(),
            "metadata": {"name": &*id.name, "namespace": &*id.namespace},
            "status": status,
        })
    }
}

/// The condition about the mirrors of a VirtualService; there is none without mirrors.
pub const MIRRORS_READY: &str = "MirrorsReady";

fn truth(holds: bool) -> &'static str {
    if holds { "True" } else { "False" }
}

/// Istio's writers send generations as text.
fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

/// Writes what `wanted` says and `observed` does not, while `leadership` lasts.
pub async fn write(
    server: ApiServer,
    mut leadership: Leadership,
    mut observed: watch::Receiver<AllObserved>,
    mut wanted: watch::Receiver<Arc<Statuses>>,
) {
    // What was written last, on top of what: the API server may have reasons to store something else.
    let mut written: BTreeMap<ObjectId, (Status, Option<Arc<Observed>>)> = BTreeMap::new();
    let mut complained = String::new();
    loop {
        sleep(COALESCE).await;
        let (now, should) = (observed.borrow_and_update().clone(), wanted.borrow_and_update().clone());
        written.retain(|id, _| now.contains_key(id));
        let mut failed = false;
        for (id, status) in should.iter() {
            let Some(is) = now.get(id) else { continue };
            let before = written.get(id);
            let done = before.is_some_and(|(what, on)| what == status && on.as_ref() == Some(is));
            if done || status.is_in(&is.status) {
                continue;
            }
            if !leadership.holds() {
                break;
            }
            match timeout(REQUEST, patch(&server.client, id, status, is)).await {
                Ok(Ok(())) => {
                    written.insert(id.clone(), (status.clone(), Some(is.clone())));
                }
                Ok(Err(error)) => failed |= !passes(&mut complained, id, &error),
                Err(_) => failed = true,
            }
            sleep(PACE).await;
        }
        if failed {
            sleep(RETRY).await;
            continue;
        }
        tokio::select! {
            () = leadership.changed() => {}
            changed = observed.changed() => if changed.is_err() { return },
            changed = wanted.changed() => if changed.is_err() { return },
        }
    }
}

/// True for an error that trying again does not cure: the object is gone.
fn passes(complained: &mut String, id: &ObjectId, error: &kube::Error) -> bool {
    let words = match error {
        kube::Error::Api(status) if status.code == 404 => return true,
        kube::Error::Api(status) if status.code == 403 => {
            let plural = Resource::of(id.kind).plural;
            format!(
                "umbra's role lacks verb \"patch\" on resource \"{plural}/status\" of apiGroup \"networking.istio.io\""
            )
        }
        error => error.to_string(),
    };
    debug!(object = %id, reason = words, "status not written");
    if *complained != words {
        warn!(object = %id, reason = words, "cannot write statuses; trying again");
        *complained = words;
    }
    false
}

async fn patch(client: &Client, id: &ObjectId, status: &Status, is: &Observed) -> Result<(), kube::Error> {
    let now = k8s_openapi::jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let version = is.api_version.rsplit('/').next().unwrap_or_default();
    let path = Resource::of(id.kind).path(version, Some(&id.namespace));
    let params = PatchParams::apply(NAME).force();
    let body = Patch::Apply(status.body(id, is, &now));
    let request = Request::new(path).patch_subresource("status", &id.name, &params, &body);
    client.request::<Value>(request.map_err(kube::Error::BuildRequest)?).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        Status {
            generation: 3,
            conditions: vec![Condition {
                kind: "Accepted",
                holds: true,
                reason: "Accepted".to_owned(),
                message: "fine".to_owned(),
            }],
            mirrors: "v2 10%".to_owned(),
            messages: Vec::new(),
        }
    }

    fn observed(status: Value) -> Observed {
        Observed { api_version: "networking.istio.io/v1".to_owned(), status }
    }

    const ID: fn() -> ObjectId = || ObjectId::new(umbra_ir::Kind::VirtualService, "shop", "a");

    /// What was written is not written again; what others add does not matter, what they change does.
    #[test]
    fn written_once() {
        let body = status().body(&ID(), &observed(json!({})), "T1");
        let written = body["status"].clone();
        assert!(status().is_in(&written));
        let changed = |edit: &dyn Fn(&mut Value)| {
            let mut value = written.clone();
            edit(&mut value);
            status().is_in(&value)
        };
        for (what, same, edit) in [
            (
                "another's condition",
                true,
                (&|v: &mut Value| {
                    v["conditions"]
                        .as_array_mut()
                        .unwrap()
                        .push(json!({"type": "Reconciled", "status": "True"}));
                }) as &dyn Fn(&mut Value),
            ),
            ("another's field", true, &|v| v["observedGeneration"] = "3".into()),
            ("a generation as text", true, &|v| v["conditions"][0]["observedGeneration"] = "3".into()),
            ("an old generation", false, &|v| v["conditions"][0]["observedGeneration"] = 2.into()),
            ("another message", false, &|v| v["conditions"][0]["message"] = "x".into()),
            ("another summary", false, &|v| v["mirrors"] = "".into()),
            ("a message that is no more", false, &|v| v["validationMessages"] = json!([{"level": "ERROR"}])),
            ("mirrors that are no more", false, &|v| {
                v["conditions"]
                    .as_array_mut()
                    .unwrap()
                    .push(json!({"type": "MirrorsReady", "status": "True"}));
            }),
        ] {
            assert_eq!(changed(edit), same, "{what}");
        }
    }

    #[test]
    fn a_condition_keeps_its_time_until_it_turns() {
        let first = status().body(&ID(), &observed(json!({})), "T1")["status"].clone();
        let mut same = status();
        same.conditions[0].message = "still fine".to_owned();
        let body = same.body(&ID(), &observed(first.clone()), "T2");
        assert_eq!(body["status"]["conditions"][0]["lastTransitionTime"], "T1");
        let mut turned = status();
        turned.conditions[0].holds = false;
        let body = turned.body(&ID(), &observed(first), "T2");
        assert_eq!(body["status"]["conditions"][0]["lastTransitionTime"], "T2");
        assert_eq!(body["apiVersion"], "networking.istio.io/v1");
    }
}
