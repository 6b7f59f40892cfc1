//! Certificates of umbra's own: each is kept in one Secret that all replicas read, made and renewed by the replica that holds the
//! Lease, which also tells whose certificates to believe: the API server of a webhook (`caBundle`), or everybody by a ConfigMap.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::connect::ApiServer;
use super::lease::Leadership;
use crate::Work;

/// How often the Secret and who is told are looked at.
const PERIOD: Duration = Duration::from_secs(3);
/// How long one look may take.
const LOOK: Duration = Duration::from_secs(10);
/// The annotation of the Secret that says when its certificate is to be renewed.
const RENEW: &str = "umbra.io/renew-after";
/// The annotation of the Secret that says what its certificate is for.
const FOR: &str = "umbra.io/made-for";

/// A certificate with its key and those who vouch for it, all PEM.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Pair {
    /// The certificate that is shown.
    pub certificate: String,
    /// Its private key.
    pub key: String,
    /// The authorities to believe: its own first, then the one before.
    pub authorities: String,
    /// The private key of the first of them; empty where nobody keeps it.
    pub authority_key: String,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pair")
    }
}

/// A new pair, and when it is to be renewed.
#[derive(Clone, Debug)]
pub struct Made {
    /// What was made.
    pub pair: Pair,
    /// From then on another is made.
    pub renew: Timestamp,
}

/// Makes a pair; what is given is the one before.
pub type Make = Arc<dyn Fn(Option<&Pair>) -> Result<Made, String> + Send + Sync>;

/// What is kept where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kept {
    /// Whose certificate it is, in words.
    pub owner: &'static str,
    /// The Secret, in the namespace of the credentials.
    pub secret: String,
    /// What the certificate is for, such as names of hosts: one for anything else is made anew.
    pub made_for: String,
    /// Where its authorities are told.
    pub told: Told,
}

/// Where authorities are told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Told {
    /// In each `caBundle` of this MutatingWebhookConfiguration.
    Webhook(String),
    /// As `ca.crt` of this ConfigMap, in the namespace of the credentials.
    ConfigMap(String),
}

/// How to keep a certificate until nobody asks any more; what is received is the newest that the Secret holds.
pub fn keep_certificate(
    server: &ApiServer,
    leadership: Leadership,
    kept: Kept,
    make: Make,
) -> (watch::Receiver<Option<Pair>>, Work) {
    let (publish, pair) = watch::channel(None);
    let keeper = Keeper {
        secrets: Api::default_namespaced(server.client.clone()),
        webhooks: Api::all(server.client.clone()),
        maps: Api::default_namespaced(server.client.clone()),
        kept,
        make,
    };
    (pair, Work::task("own certificate", keeper.run(leadership, publish)))
}

struct Keeper {
    secrets: Api<Secret>,
    webhooks: Api<MutatingWebhookConfiguration>,
    maps: Api<ConfigMap>,
    kept: Kept,
    make: Make,
}

impl Keeper {
    async fn run(self, mut leadership: Leadership, publish: watch::Sender<Option<Pair>>) {
        let mut complained = String::new();
        loop {
            let looked = match timeout(LOOK, self.look(leadership.holds(), &publish)).await {
                Ok(looked) => looked,
                Err(_) => Err("no answer in time".to_owned()),
            };
            match looked {
                Ok(()) => complained.clear(),
                Err(why) if why != complained => {
                    warn!(
                        of = self.kept.owner,
                        reason = why,
                        "a certificate of umbra's own cannot be looked after"
                    );
                    complained = why;
                }
                Err(_) => {}
            }
            tokio::select! {
                () = sleep(PERIOD.mul_f64(0.8 + fastrand::f64() * 0.4)) => {}
                () = leadership.changed(), if !leadership.holds() => {}
                () = publish.closed() => return,
            }
        }
    }

    async fn look(&self, leads: bool, publish: &watch::Sender<Option<Pair>>) -> Result<(), String> {
        let secret =
            self.secrets.get_opt(&self.kept.secret).await.map_err(|error| words("secrets", &error))?;
        let now = Timestamp::now();
        let mut pair = secret.as_ref().and_then(read);
        let right = |secret: &Secret| renew(secret) > now && made_for(secret) == Some(&self.kept.made_for);
        let due = pair.is_none() || !secret.as_ref().is_some_and(right);
        if due && leads {
            pair = self.renew(secret, pair.as_ref()).await?;
        }
        let Some(pair) = pair else { return Ok(()) };
        publish.send_if_modified(|before| {
            let changed = before.as_ref() != Some(&pair);
            *before = Some(pair.clone());
            changed
        });
        match &self.kept.told {
            _ if !leads => Ok(()),
            Told::Webhook(name) => self.tell_webhook(name, &pair).await,
            Told::ConfigMap(name) => self.tell_map(name, &pair).await,
        }
    }

    /// Writes a new pair on top of what was read; `None` when another replica was faster.
    async fn renew(&self, secret: Option<Secret>, before: Option<&Pair>) -> Result<Option<Pair>, String> {
        let Made { pair, renew } = (self.make)(before)?;
        let mut new = secret.clone().unwrap_or_default();
        new.metadata.name = Some(self.kept.secret.clone());
        let annotations = new.metadata.annotations.get_or_insert_default();
        annotations.insert(RENEW.to_owned(), renew.to_string());
        annotations.insert(FOR.to_owned(), self.kept.made_for.clone());
        let text = |text: &str| ByteString(text.as_bytes().to_vec());
        let parts = [
            ("tls.crt", &pair.certificate),
            ("tls.key", &pair.key),
            (AUTHORITIES, &pair.authorities),
            ("ca.key", &pair.authority_key),
        ];
        let parts = parts.into_iter().filter(|(_, part)| !part.is_empty());
        new.data = Some(parts.map(|(name, part)| (name.to_owned(), text(part))).collect());
        let parameters = PostParams::default();
        let written = match secret {
            Some(_) => self.secrets.replace(&self.kept.secret, &parameters, &new).await,
            None => {
                new.type_ = Some("kubernetes.io/tls".to_owned());
                self.secrets.create(&parameters, &new).await
            }
        };
        match written {
            Ok(_) => {
                info!(of = self.kept.owner, secret = self.kept.secret, %renew, "a new certificate");
                Ok(Some(pair))
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
            Err(error) => Err(words("secrets", &error)),
        }
    }

    /// Tells the API server whose certificates to believe.
    async fn tell_webhook(&self, name: &str, pair: &Pair) -> Result<(), String> {
        let kind = "mutatingwebhookconfigurations";
        let found = self.webhooks.get_opt(name).await.map_err(|error| words(kind, &error))?;
        let Some(patch) = found.and_then(|found| bundles(&found, &pair.authorities)) else { return Ok(()) };
        let patch = Patch::Strategic(patch);
        match self.webhooks.patch(name, &PatchParams::default(), &patch).await {
            Ok(_) => {
                info!(webhook = name, "the API server knows the injector's authority");
                Ok(())
            }
            // Somebody has changed it meanwhile: the next look sees how.
            Err(kube::Error::Api(status)) if [409, 422].contains(&status.code) => Ok(()),
            Err(error) => Err(words(kind, &error)),
        }
    }

    /// Tells everybody who may read the ConfigMap whose certificates to believe.
    async fn tell_map(&self, name: &str, pair: &Pair) -> Result<(), String> {
        let kind = "configmaps";
        let found = self.maps.get_opt(name).await.map_err(|error| words(kind, &error))?;
        let told = found.as_ref().and_then(|map| map.data.as_ref()?.get(AUTHORITIES));
        if told == Some(&pair.authorities) {
            return Ok(());
        }
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
            "data": {AUTHORITIES: pair.authorities},
        });
        let parameters = PatchParams::apply("umbra").force();
        self.maps.patch(name, &parameters, &Patch::Apply(map)).await.map_err(|error| words(kind, &error))?;
        info!(configmap = name, of = self.kept.owner, "it tells whose certificates to believe");
        Ok(())
    }
}

/// The part of a Secret, and of a ConfigMap, with the authorities to believe.
const AUTHORITIES: &str = "ca.crt";

/// A strategic merge patch that gives each webhook these authorities, where it has others; webhooks are told apart by
/// their names.
fn bundles(found: &MutatingWebhookConfiguration, authorities: &str) -> Option<Value> {
    let wrong = found.webhooks.iter().flatten().filter(|webhook| {
        webhook.client_config.ca_bundle.as_ref().is_none_or(|bundle| bundle.0 != authorities.as_bytes())
    });
    let bundle = ByteString(authorities.as_bytes().to_vec());
    let told: Vec<_> =
        wrong.map(|webhook| json!({"name": webhook.name, "clientConfig": {"caBundle": bundle}})).collect();
    (!told.is_empty()).then(|| json!({ "webhooks": told }))
}

/// The pair in a Secret; `None` when a part is missing.
fn read(secret: &Secret) -> Option<Pair> {
    let text = |key: &str| {
        let bytes = secret.data.as_ref()?.get(key)?;
        String::from_utf8(bytes.0.clone()).ok().filter(|text| !text.is_empty())
    };
    Some(Pair {
        certificate: text("tls.crt")?,
        key: text("tls.key")?,
        authorities: text(AUTHORITIES)?,
        authority_key: text("ca.key").unwrap_or_default(),
    })
}

/// What a Secret's certificate is for; `None` when it does not say.
fn made_for(secret: &Secret) -> Option<&String> {
    secret.metadata.annotations.as_ref()?.get(FOR)
}

/// When a Secret's certificate is to be renewed; at once when it does not say.
fn renew(secret: &Secret) -> Timestamp {
    let said = secret.metadata.annotations.as_ref().and_then(|all| all.get(RENEW)?.parse().ok());
    said.unwrap_or(Timestamp::MIN)
}

fn words(kind: &str, error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.code == 403 => {
            format!("umbra's role lacks a verb on resource {kind:?}: {}", status.message)
        }
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_webhook_is_told_once() {
        let configuration = |bundles: &[Option<&str>]| -> MutatingWebhookConfiguration {
            let webhooks = bundles.iter().enumerate().map(|(n, bundle)| {
                let bundle = bundle.map(|text| ByteString(text.as_bytes().to_vec()));
                json!({
                    "name": format!("w{n}"), "admissionReviewVersions": ["v1"], "sideEffects": "None",
                    "clientConfig": {"caBundle": bundle},
                })
            });
            serde_json::from_value(json!({"webhooks": webhooks.collect::<Vec<_>>()})).unwrap()
        };
        for (before, changed) in
            [(&[][..], &[][..]), (&[Some("ca")], &[]), (&[None, Some("ca"), Some("old")], &["w0", "w2"])]
        {
            let patch = bundles(&configuration(before), "ca");
            let told = patch.iter().flat_map(|it| it["webhooks"].as_array().unwrap());
            let names: Vec<_> = told.map(|it| it["name"].as_str().unwrap().to_owned()).collect();
            assert_eq!(names, changed, "{before:?}");
        }
    }

    #[test]
    fn what_a_secret_lacks_is_made_anew() {
        let secret = |data: Value, renew: &str| -> Secret {
            serde_json::from_value(json!({"metadata": {"annotations": {RENEW: renew}}, "data": data}))
                .unwrap()
        };
        let whole = json!({"tls.crt": "YQ==", "tls.key": "Yg==", "ca.crt": "Yw=="});
        let pair = read(&secret(whole.clone(), "")).unwrap();
        assert_eq!((&*pair.certificate, &*pair.key, &*pair.authorities), ("a", "b", "c"));
        for data in [
            json!({}),
            json!({"tls.crt": "YQ==", "tls.key": "Yg=="}),
            json!({"tls.crt": "", "tls.key": "Yg==", "ca.crt": "Yw=="}),
        ] {
            assert_eq!(read(&secret(data.clone(), "")), None, "{data}");
        }
        for (text, past) in
            [("", true), ("soon", true), ("2020-01-01T00:00:00Z", true), ("2999-01-01T00:00:00Z", false)]
        {
            assert_eq!(renew(&secret(whole.clone(), text)) <= Timestamp::now(), past, "{text}");
        }
    }
}
