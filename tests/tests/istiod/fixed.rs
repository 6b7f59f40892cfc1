//! What every world has: namespaces, Pods, and an echo service at each address that requests may reach.

use anyhow::{Context, Result, ensure};
use kube::Client;
use serde_json::{Value, json};
use umbra_testkit::echo::Echo;
use umbra_testkit::net::Net;
use umbra_testkit::wait;

use super::control::SENTINEL_PORT;
use super::hello;

/// The mesh's root namespace, in which the gateway is too.
pub(crate) const ROOT: &str = "istio-system";
pub(crate) const NAMESPACES: &[&str] = &["one", "two", "three"];
/// What Pods listen on: one port as usual, and one by which a wrong port shows.
pub(crate) const PORTS: [u16; 2] = [8080, 9090];

/// A Service that a world may have.
pub(crate) struct App {
    pub(crate) namespace: &'static str,
    pub(crate) name: &'static str,
    /// Its own address.
    pub(crate) address: &'static str,
    /// The last parts of its Pods' addresses, by version from v1 on.
    pub(crate) pods: &'static [u8],
}

pub(crate) const APPS: &[App] = &[
    App { namespace: "one", name: "web", address: "10.96.1.1", pods: &[1, 2] },
    App { namespace: "one", name: "api", address: "10.96.1.2", pods: &[3] },
    App { namespace: "two", name: "web", address: "10.96.1.3", pods: &[4] },
    App { namespace: "two", name: "db", address: "10.96.1.4", pods: &[5, 6] },
    App { namespace: "three", name: "shop", address: "10.96.1.5", pods: &[7, 8] },
    App { namespace: "three", name: "api", address: "10.96.1.6", pods: &[9] },
    App { namespace: "three", name: HEADLESS, address: "None", pods: &[10, 11] },
];

/// A Service without an address of its own. What sidecars do with it is declared ("A headless Service is EDS everywhere"), so that
/// gateways alone are asked for it.
pub(crate) const HEADLESS: &str = "peers";

/// The Pods of the gateways, umbra's and istiod's.
pub(crate) const GATEWAYS: &[(&str, &str)] = &[("ingress-umbra", "10.9.5.2"), ("ingress-istiod", "10.9.6.2")];

/// Endpoints of ServiceEntries that are no Pods.
pub(crate) const OUTSIDE: &[u8] = &[21, 22, 23, 24];

/// The address of an echo service.
pub(crate) fn address(last: u8) -> String {
    format!("10.20.0.{last}")
}

/// Its name, by which an answer tells whose it is: two ports of one Pod differ.
fn echo_name(last: u8, port: u16) -> String {
    let app = APPS.iter().find(|app| app.pods.contains(&last));
    let name = app.map_or_else(
        || format!("outside-{last}"),
        |app| {
            let version = 1 + app.pods.iter().position(|pod| *pod == last).unwrap_or_default();
            format!("{}.{}-v{version}", app.name, app.namespace)
        },
    );
    format!("{name}:{port}")
}

/// Every address and port, answered.
pub(crate) fn echoes() -> Result<Vec<Echo>> {
    let here = Net::here();
    let all = APPS.iter().flat_map(|app| app.pods).chain(OUTSIDE);
    let mut echoes = Vec::new();
    for last in all {
        here.ip(&["address", "replace", &format!("{}/32", address(*last)), "dev", "lo"])?;
        for port in PORTS {
            let at = format!("{}:{port}", address(*last)).parse()?;
            echoes.push(Echo::start(&here, &echo_name(*last, port), at)?);
        }
        let port = hello::TARGET;
        hello::serve(&here, echo_name(*last, port), format!("{}:{port}", address(*last)).parse()?)?;
    }
    here.sysctl("net.ipv4.ip_forward", "1")?;
    Ok(echoes)
}

fn pod(app: &App, nth: usize) -> Value {
    let (version, name) = (nth + 1, app.name);
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("{name}-v{version}"), "namespace": app.namespace,
            "labels": {"app": name, "version": format!("v{version}")}},
        "spec": {"nodeName": "node", "containers": [{"name": "main", "image": "echo"}]},
        "status": {"phase": "Running", "podIP": address(app.pods[nth]), "podIPs": [{"ip": address(app.pods[nth])}],
            "conditions": [{"type": "Ready", "status": "True"}]},
    })
}

/// Namespaces, Pods, and the Service whose rule tells which world it is.
pub(crate) fn objects() -> Vec<Value> {
    let namespaces = NAMESPACES
        .iter()
        .chain([&ROOT])
        .map(|name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
    let pods = APPS.iter().flat_map(|app| (0..app.pods.len()).map(|nth| pod(app, nth)));
    let sentinel = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "sentinel", "namespace": "one"},
        "spec": {"clusterIP": "10.96.1.250", "ports": [{"name": "http", "port": SENTINEL_PORT, "protocol": "TCP"}]},
    });
    let gateways = GATEWAYS.iter().map(|(name, address)| {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": ROOT, "labels": {"istio": "ingressgateway"}},
            "spec": {"nodeName": "node", "containers": [{"name": "main", "image": "envoy"}]},
            "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
                "conditions": [{"type": "Ready", "status": "True"}]},
        })
    });
    namespaces.chain(pods).chain(gateways).chain([sentinel]).collect()
}

/// Makes them at the API server.
pub(crate) async fn create(client: &Client) -> Result<()> {
    let objects = objects();
    let (namespaces, pods): (Vec<_>, Vec<_>) = objects.iter().partition(|it| it["kind"] == "Namespace");
    for namespace in &namespaces {
        post(client, namespace).await?;
    }
    for namespace in &namespaces {
        // Without it no Pod is admitted.
        let path =
            format!("/api/v1/namespaces/{}/serviceaccounts/default", text(&namespace["metadata"]["name"]));
        let made = wait::until(wait::PATIENCE, || async { get(client, &path).await.ok() });
        made.await.context("no default ServiceAccount")?;
    }
    for pod in pods {
        post(client, pod).await?;
        if pod["status"].is_null() {
            continue;
        }
        let patch = json!({"status": pod["status"]}).to_string().into_bytes();
        let request = http::Request::patch(format!("{}/status", path(pod)))
            .header("content-type", "application/merge-patch+json")
            .body(patch)?;
        client.request::<Value>(request).await?;
    }
    Ok(())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn collection(object: &Value) -> String {
    let (kind, namespace) = (text(&object["kind"]), text(&object["metadata"]["namespace"]));
    match kind {
        "Namespace" => "/api/v1/namespaces".to_owned(),
        "EndpointSlice" => format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"),
        _ => format!("/api/v1/namespaces/{namespace}/{}s", kind.to_lowercase()),
    }
}

/// Where the API server has an object.
pub(crate) fn path(object: &Value) -> String {
    format!("{}/{}", collection(object), text(&object["metadata"]["name"]))
}

async fn get(client: &Client, path: &str) -> Result<Value> {
    Ok(client.request(http::Request::get(path).body(Vec::new())?).await?)
}

/// Creates an object, if it is not there.
pub(crate) async fn post(client: &Client, object: &Value) -> Result<()> {
    let request = http::Request::post(collection(object)).body(object.to_string().into_bytes())?;
    match client.request::<Value>(request).await {
        Err(kube::Error::Api(why)) if why.code == 409 && why.reason == "AlreadyExists" => Ok(()),
        other => other.map(|_| ()).with_context(|| object.to_string()),
    }
}

/// Deletes what stands there.
pub(crate) async fn delete(client: &Client, path: &str) -> Result<()> {
    let now = br#"{"gracePeriodSeconds": 0}"#.to_vec();
    let request = http::Request::delete(path).header("content-type", "application/json").body(now)?;
    client.request::<Value>(request).await.with_context(|| path.to_owned())?;
    let gone = wait::until(wait::PATIENCE, || async { get(client, path).await.is_err().then_some(()) });
    ensure!(gone.await.is_some(), "{path} stays");
    Ok(())
}
