//! The ConfigMaps, Secrets and tokens that a Pod mounts or takes variables from.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, ServiceAccount};
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::json;

/// Reads what the Pods of one namespace need.
pub(super) struct Objects {
    client: Client,
    namespace: String,
}

/// Files or variables by name.
pub(super) type Data = BTreeMap<String, Vec<u8>>;

impl Objects {
    pub(super) fn new(client: Client, namespace: &str) -> Self {
        Self { client, namespace: namespace.to_owned() }
    }

    /// The entries of a ConfigMap; none when it is absent and `optional`.
    pub(super) async fn config_map(&self, name: &str, optional: Option<bool>) -> Result<Data> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let Some(map) = api.get_opt(name).await? else { return absent("configmap", name, optional) };
        let text = map.data.unwrap_or_default().into_iter().map(|(k, v)| (k, v.into_bytes()));
        let bytes = map.binary_data.unwrap_or_default().into_iter().map(|(k, v)| (k, v.0));
        Ok(text.chain(bytes).collect())
    }

    /// The entries of a Secret; none when it is absent and `optional`.
    pub(super) async fn secret(&self, name: &str, optional: Option<bool>) -> Result<Data> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let Some(secret) = api.get_opt(name).await? else { return absent("secret", name, optional) };
        Ok(secret.data.unwrap_or_default().into_iter().map(|(k, v)| (k, v.0)).collect())
    }

    /// A token of the Pod's ServiceAccount, good as long as the Pod lives (TokenRequest API).
    pub(super) async fn token(
        &self,
        pod: &Pod,
        audience: Option<&str>,
        seconds: Option<i64>,
    ) -> Result<String> {
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &self.namespace);
        let account = pod.spec.as_ref().and_then(|s| s.service_account_name.as_deref()).unwrap_or("default");
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": audience.into_iter().collect::<Vec<_>>(),
                "expirationSeconds": seconds.unwrap_or(3600),
                "boundObjectRef": {
                    "apiVersion": "v1", "kind": "Pod", "name": pod.metadata.name, "uid": pod.metadata.uid,
                },
            },
        });
        let made: TokenRequest =
            api.create_subresource("token", account, &PostParams::default(), &request).await?;
        Ok(made.status.context("a token without a status")?.token)
    }
}

fn absent(kind: &str, name: &str, optional: Option<bool>) -> Result<Data> {
    if optional == Some(true) {
        return Ok(Data::new());
    }
    anyhow::bail!("{kind} \"{name}\" not found")
}
