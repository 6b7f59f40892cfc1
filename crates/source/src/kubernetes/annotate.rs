//! Annotations of objects, written with the rights of whoever the way to the API server is of: who runs a verb, or umbra.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kube::Client;
use kube::core::Request;
use kube::core::params::{GetParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::time::{error::Elapsed, timeout};
use umbra_ir::{Kind, ObjectId};

use super::connect::ApiServer;
use super::resource::Resource;

/// Who writes, as `managedFields` names it, unless somebody says otherwise.
const WRITER: &str = "umbra-cli";
/// How often it is tried again when somebody else has written meanwhile.
const TRIES: u32 = 5;
/// Objects that are listed at once.
const PAGE: u32 = 500;
/// How long one answer may take: behind it others wait, who may have to stop a mirror.
const ANSWER: Duration = Duration::from_secs(10);

/// Why it was not written.
#[derive(Debug, thiserror::Error)]
pub enum AnnotateError {
    /// The API server does not have the kind, in no version that is read.
    #[error("the API server knows no {0}")]
    NoKind(Kind),
    /// There is no such object.
    #[error("there is no {0}")]
    NoObject(ObjectId),
    /// The object's present state does not allow it.
    #[error("{0}")]
    Refused(String),
    /// The API server says no, or cannot be reached.
    #[error("{0}")]
    Server(String),
}

fn late(_: Elapsed) -> AnnotateError {
    AnnotateError::Server(format!("the API server has not answered for {} s", ANSWER.as_secs()))
}

impl From<kube::Error> for AnnotateError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => AnnotateError::Server(status.message.clone()),
            error => {
                let mut last: &dyn std::error::Error = &error;
                while let Some(cause) = last.source() {
                    last = cause;
                }
                AnnotateError::Server(format!("the API server cannot be asked: {last}"))
            }
        }
    }
}

/// A way to annotations of objects of one kind.
#[derive(Clone)]
pub struct Annotations {
    client: Client,
    resource: Resource,
    version: &'static str,
    writer: &'static str,
}

impl ApiServer {
    /// For whoever runs a verb: this kubeconfig, else the one that kubectl would take, and the namespace that it names.
    ///
    /// # Errors
    /// The credentials cannot be found or used.
    pub async fn of_caller(
        kubeconfig: Option<&Path>,
        context: Option<&str>,
    ) -> Result<(Self, String), super::ConnectError> {
        let config = super::connect::of_caller(kubeconfig, context).await?;
        let namespace = config.default_namespace.clone();
        Ok((ApiServer::connect(config)?, namespace))
    }

    /// Annotations of objects of this kind, in the best version that the server has.
    ///
    /// # Errors
    /// It has none, or cannot be reached.
    pub async fn annotations(&self, kind: Kind) -> Result<Annotations, AnnotateError> {
        let resource = Resource::of(kind);
        for version in resource.versions() {
            let list = ListParams::default().limit(1);
            let request = Request::new(format!("/apis/{}", resource.api_version(version))).list(&list);
            let request = request.map_err(kube::Error::BuildRequest)?;
            match timeout(ANSWER, self.client.request::<Value>(request)).await.map_err(late)? {
                Ok(_) => {
                    let client = self.client.clone();
                    return Ok(Annotations { client, resource, version, writer: WRITER });
                }
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(AnnotateError::NoKind(kind))
    }
}

impl Annotations {
    /// The same, written by somebody of this name (`managedFields`).
    #[must_use]
    pub fn written_by(self, writer: &'static str) -> Self {
        Annotations { writer, ..self }
    }

    /// Every object of a namespace, or of all.
    ///
    /// # Errors
    /// The caller may not list them, or the server cannot be reached.
    pub async fn list(&self, namespace: Option<&str>) -> Result<Vec<Value>, AnnotateError> {
        let path = self.resource.path(self.version, namespace);
        let (mut all, mut page) = (Vec::new(), ListParams::default().limit(PAGE));
        loop {
            let request = Request::new(&path).list(&page).map_err(kube::Error::BuildRequest)?;
            let answer = timeout(ANSWER, self.client.request(request));
            let mut answer: Value = answer.await.map_err(late)??;
            if let Some(Value::Array(items)) = answer.get_mut("items").map(Value::take) {
                all.extend(items);
            }
            match answer.pointer("/metadata/continue").and_then(Value::as_str) {
                Some(next) if !next.is_empty() => page = page.continue_token(next),
                _ => return Ok(all),
            }
        }
    }

    /// Writes what `change` makes of an annotation (`None`: it is not there); gives what was there and what is now.
    ///
    /// # Errors
    /// The caller may not, the object is not there, or `change` refuses.
    pub async fn change(
        &self,
        id: &ObjectId,
        key: &str,
        change: impl Fn(Option<&str>) -> Result<Option<String>, String>,
    ) -> Result<(Option<String>, Option<String>), AnnotateError> {
        let seen = Mutex::new((None, None));
        let one = |before: &dyn Fn(&str) -> Option<String>| {
            let before = before(key);
            let after = change(before.as_deref())?;
            *seen.lock().unwrap_or_else(PoisonError::into_inner) = (before, after.clone());
            Ok(BTreeMap::from([(key.to_owned(), after)]))
        };
        self.change_all(id, one).await?;
        Ok(seen.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes what `change` makes of annotations, of which it can ask for any; those that it does not name stay.
    ///
    /// # Errors
    /// The caller may not, the object is not there, or `change` refuses.
    pub async fn change_all(
        &self,
        id: &ObjectId,
        change: impl Fn(&dyn Fn(&str) -> Option<String>) -> Result<BTreeMap<String, Option<String>>, String>,
    ) -> Result<(), AnnotateError> {
        let mut tries = 0;
        loop {
            match timeout(ANSWER, self.try_change(id, &change)).await.map_err(late)? {
                Err(kube::Error::Api(status)) if status.code == 409 && tries < TRIES => tries += 1,
                Err(kube::Error::Api(status)) if status.code == 404 => {
                    return Err(AnnotateError::NoObject(id.clone()));
                }
                Err(error) => return Err(error.into()),
                Ok(done) => return done.map_err(AnnotateError::Refused),
            }
        }
    }

    async fn try_change(
        &self,
        id: &ObjectId,
        change: impl Fn(&dyn Fn(&str) -> Option<String>) -> Result<BTreeMap<String, Option<String>>, String>,
    ) -> Result<Result<(), String>, kube::Error> {
        let path = self.resource.path(self.version, Some(&id.namespace));
        let request = Request::new(&path).get(&id.name, &GetParams::default());
        let object: Value = self.client.request(request.map_err(kube::Error::BuildRequest)?).await?;
        let annotations = object.pointer("/metadata/annotations");
        let before = |key: &str| annotations?.get(key)?.as_str().map(str::to_owned);
        let mut after = match change(&before) {
            Ok(after) => after,
            Err(why) => return Ok(Err(why)),
        };
        after.retain(|key, value| before(key) != *value);
        if !after.is_empty() {
            // On top of exactly what was read.
            let version = &object["metadata"]["resourceVersion"];
            let body = json!({ "metadata": { "resourceVersion": version, "annotations": after } });
            let params =
                PatchParams { field_manager: Some(self.writer.to_owned()), ..PatchParams::default() };
            let request = Request::new(&path).patch(&id.name, &params, &Patch::Merge(body));
            self.client.request_text(request.map_err(kube::Error::BuildRequest)?).await?;
        }
        Ok(Ok(()))
    }
}
