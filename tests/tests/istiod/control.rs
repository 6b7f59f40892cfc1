//! The two control planes: umbra on a folder, istiod on a folder and a Kubernetes API server, both told the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Permissions;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use kube::Client;
use serde_json::{Value, json};
use umbra_testkit::capture::{self, PROXY_ID};
use umbra_testkit::client::{Ask, Client as Http};
use umbra_testkit::cluster::site::{HOST, Site};
use umbra_testkit::cluster::{ControlPlane, Part, assets};
use umbra_testkit::envoy::EnvoyProcess;
use umbra_testkit::net::Net;
use umbra_testkit::process::Process;
use umbra_testkit::umbra;
use umbra_testkit::wait::{self, PATIENCE};
use umbra_testkit::{gate, paths};

use super::fixed::{self, ROOT};
use super::world::World;

const UMBRA_XDS: u16 = 15011;
const ISTIOD_XDS: u16 = 15010;
const ISTIOD_DEBUG: u16 = 15081;
/// Where sidecars and gateways answer which world they serve.
pub(crate) const SENTINEL_PORT: u16 = 7000;
pub(crate) const GATEWAY_SENTINEL_PORT: u16 = 7001;
pub(crate) const SENTINEL: &str = "sentinel.one.svc.cluster.local";

/// What umbra does otherwise by default, and has a setting for.
const SETTINGS: &str =
    "istioCompatible: true\nmirror: {shadowSuffix: false}\noutboundTrafficPolicy: {mode: REGISTRY_ONLY}\n";

/// Whose answer it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    Umbra,
    Istiod,
}

pub(crate) const SIDES: [Side; 2] = [Side::Umbra, Side::Istiod];

/// A proxy of which each side has one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) namespace: &'static str,
    pub(crate) labels: &'static [(&'static str, &'static str)],
    pub(crate) role: Role,
}

/// How a proxy is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// A sidecar whose application calls it at 127.0.0.1.
    Called,
    /// A sidecar to which all connections of its application are handed, wherever they go.
    Captured,
    /// A gateway.
    Gateway,
}

pub(crate) const KINDS: &[Kind] = &[
    Kind {
        name: "client",
        namespace: "one",
        labels: &[("app", "client"), ("tier", "a")],
        role: Role::Called,
    },
    Kind { name: "other", namespace: "two", labels: &[("app", "other")], role: Role::Called },
    Kind { name: "ingress", namespace: ROOT, labels: &[("istio", "ingressgateway")], role: Role::Gateway },
    Kind { name: "captured", namespace: "one", labels: &[("app", "other")], role: Role::Captured },
];

/// One of both Envoys of a [`Kind`], in a network of its own, since both listen on the same ports.
struct Proxy {
    envoy: EnvoyProcess,
    net: Net,
}

/// See the module.
pub(crate) struct Control {
    folder: tempfile::TempDir,
    plane: ControlPlane,
    client: Client,
    processes: Vec<Process>,
    proxies: Vec<[Proxy; 2]>,
    /// What the API server has, by its path.
    applied: BTreeMap<String, Value>,
    worlds: usize,
}

impl Control {
    /// Starts everything in this process's network.
    pub(crate) async fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("umbra-istiod-").tempdir()?;
        let mut plane = ControlPlane::start(folder.path(), Site::nth(0)).await?;
        let client = plane.client().await?;
        fixed::create(&client).await?;
        // Whatever they would make of the objects is written down.
        plane.kill(Part::Controllers);
        for name in ["umbra", "istiod"] {
            std::fs::create_dir(folder.path().join(name))?;
        }
        let mut control = Self {
            folder,
            plane,
            client,
            processes: Vec::new(),
            proxies: Vec::new(),
            applied: BTreeMap::new(),
            worlds: 0,
        };
        control.write(Side::Umbra, &World::default())?;
        control.write(Side::Istiod, &World::default())?;
        control.start_umbra().await?;
        control.start_istiod().await?;
        for (nth, kind) in KINDS.iter().enumerate() {
            let first = u8::try_from(1 + 2 * nth)?;
            let umbra = control.start_proxy(*kind, Side::Umbra, first).await?;
            let istiod = control.start_proxy(*kind, Side::Istiod, first + 1).await?;
            control.proxies.push([umbra, istiod]);
        }
        Ok(control)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn start_umbra(&mut self) -> Result<()> {
        std::fs::write(self.path("umbra.yaml"), SETTINGS)?;
        let mut command = Net::here().command(&paths::umbra()?);
        command.arg("serve").arg("--dir").arg(self.path("umbra"));
        command.args(["--xds", &format!("0.0.0.0:{UMBRA_XDS}"), "--admin", "127.0.0.1:15016"]);
        command.arg("--config").arg(self.path("umbra.yaml"));
        self.processes.push(Process::start("umbra", command, &self.path("umbra.log"))?);
        self.wait_ready("umbra", SocketAddr::from(([127, 0, 0, 1], 15016)), "/readyz").await
    }

    async fn start_istiod(&mut self) -> Result<()> {
        let mesh = json!({
            "configSources": [{"address": format!("fs://{}", self.path("istiod").display())}],
            "rootNamespace": ROOT,
            // Certificates come from Istio's agent, which is not here.
            "enableAutoMtls": false,
            // A host that nobody defines goes nowhere here: nothing captures what an application calls.
            "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"},
        });
        std::fs::write(self.path("mesh.yaml"), mesh.to_string())?;
        let program = assets::istiod().map_err(anyhow::Error::msg)?;
        let mut command = Net::here().command(&program);
        command.current_dir(self.folder.path());
        command.arg("discovery").arg("--kubeconfig").arg(self.plane.admin().kubeconfig());
        command.arg("--meshConfig").arg(self.path("mesh.yaml"));
        command.args(["--httpAddr", "127.0.0.1:15081", "--httpsAddr", "", "--secureGRPCAddr", ""]);
        command.args([
            "--grpcAddr",
            &format!(":{ISTIOD_XDS}"),
            "--monitoringAddr",
            "127.0.0.1:15014",
            "--ctrlz_port",
            "0",
        ]);
        let variables = [
            ("POD_NAMESPACE", ROOT),
            ("POD_NAME", "istiod"),
            // Filters that only Istio's own Envoy has.
            ("PILOT_ENABLE_METADATA_EXCHANGE", "false"),
            ("PILOT_ENABLE_ALPN_FILTER", "false"),
            ("PILOT_DEBOUNCE_AFTER", "50ms"),
        ];
        command.envs(variables);
        self.processes.push(Process::start("istiod", command, &self.path("istiod.log"))?);
        self.wait_ready("istiod", SocketAddr::from(([127, 0, 0, 1], 15081)), "/ready").await
    }

    async fn wait_ready(&mut self, name: &str, at: SocketAddr, path: &str) -> Result<()> {
        let (net, ask) = (Net::here(), Ask::get("localhost", path));
        let ready = wait::until(PATIENCE, || async {
            let answer = Http::new(&net, at).ask(&ask).await;
            answer.is_ok_and(|answer| answer.status == 200).then_some(())
        });
        ready.await.with_context(|| format!("{name} is not ready\n{}", self.tails()))
    }

    async fn start_proxy(&self, kind: Kind, side: Side, nth: u8) -> Result<Proxy> {
        let (ours, theirs) = (Ipv4Addr::new(10, 9, nth, 1), Ipv4Addr::new(10, 9, nth, 2));
        let net = capture::pod(&format!("n{nth}"), IpAddr::V4(ours), IpAddr::V4(theirs))?;
        let bootstrap = match side {
            Side::Umbra => {
                let labels: Vec<_> =
                    kind.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
                let role = if kind.role == Role::Gateway { "router" } else { "sidecar" };
                let proxy = format!("{role}/{}/{}", kind.namespace, labels.join(","));
                umbra::bootstrap(&proxy, SocketAddr::from((HOST, UMBRA_XDS)))?
            }
            Side::Istiod => istio_bootstrap(kind).to_string(),
        };
        let Kind { name, namespace, .. } = kind;
        let role = if kind.role == Role::Gateway { "router" } else { "sidecar" };
        let node = format!("{role}~{theirs}~{name}.{namespace}~{namespace}.svc.cluster.local");
        let binary = gate::require_envoy().context("an Envoy")?;
        let folder = self.path(&format!("{side:?}"));
        std::fs::create_dir_all(&folder)?;
        let envoy = match kind.role {
            Role::Captured => {
                for path in [self.folder.path(), &folder] {
                    std::fs::set_permissions(path, Permissions::from_mode(0o777))?;
                }
                let bootstrap = capture::captured(&bootstrap, &[IpAddr::V4(theirs)])?;
                let envoy =
                    EnvoyProcess::start_as(PROXY_ID, &net, &binary, &folder, &node, &bootstrap).await?;
                capture::capture(&net)?;
                envoy
            }
            Role::Called | Role::Gateway => {
                EnvoyProcess::start(&net, &binary, &folder, &node, &bootstrap).await?
            }
        };
        Ok(Proxy { envoy, net })
    }

    /// What has gone wrong lately, in the words of all processes.
    pub(crate) fn tails(&self) -> String {
        let envoys = self.proxies.iter().flatten().map(|proxy| proxy.envoy.process());
        let tails = self.processes.iter().chain(envoys).map(Process::tail);
        tails.collect::<Vec<_>>().join("\n")
    }

    /// Which Envoy that is, and the network from which it is called.
    pub(crate) fn proxy(&self, kind: usize, side: Side) -> (&EnvoyProcess, &Net) {
        let proxy = &self.proxies[kind][side as usize];
        (&proxy.envoy, &proxy.net)
    }

    fn write(&self, side: Side, world: &World) -> Result<()> {
        let text =
            |objects: Vec<&Value>| objects.into_iter().map(|it| format!("---\n{it}\n")).collect::<String>();
        let sentinel = sentinel(self.worlds);
        match side {
            Side::Istiod => {
                // Certificates would be waited for by the inbound listeners of captured sidecars, which nobody calls here.
                let plaintext = json!({
                    "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
                    "metadata": {"name": "default", "namespace": ROOT}, "spec": {"mtls": {"mode": "DISABLE"}},
                });
                let own = world.objects.iter().filter(|it| is_istio(it));
                let istio = own.chain(&sentinel).chain([&plaintext]).collect();
                // In one step: it reads a folder again when anything in it moves.
                umbra::write(&self.path("istiod"), "world.yaml", &text(istio))
            }
            Side::Umbra => {
                let rest = fixed::objects();
                let all = world.objects.iter().chain(&sentinel).chain(&rest).collect();
                umbra::write(&self.path("umbra"), "world.yaml", &text(all))
            }
        }
    }

    /// Puts this world in the place of the one before, and waits until every Envoy serves it.
    ///
    /// # Errors
    /// When istiod or an Envoy of istiod's refuses it, with the words; nothing can be compared then.
    pub(crate) async fn apply(&mut self, world: &World) -> Result<()> {
        self.apply_each(world, world).await
    }

    /// As [`Control::apply`], with a world for umbra and one for istiod.
    ///
    /// # Errors
    /// As there.
    pub(crate) async fn apply_each(&mut self, own: &World, others: &World) -> Result<()> {
        self.worlds += 1;
        let before = self.refused().await?;
        self.apply_cluster(others).await?;
        let log = self.path("istiod.log");
        let logged = std::fs::metadata(&log)?.len();
        self.write(Side::Umbra, own)?;
        self.write(Side::Istiod, others)?;
        let expected = body(self.worlds);
        for (nth, kind) in KINDS.iter().enumerate() {
            for side in SIDES {
                let (_, net) = self.proxy(nth, side);
                let at = match kind.role {
                    Role::Called => SocketAddr::from(([127, 0, 0, 1], SENTINEL_PORT)),
                    Role::Captured => SocketAddr::from(([10, 96, 1, 250], SENTINEL_PORT)),
                    Role::Gateway => SocketAddr::from(([127, 0, 0, 1], GATEWAY_SENTINEL_PORT)),
                };
                let ask = Ask::get(SENTINEL, "/");
                let serves = wait::until(PATIENCE, || async {
                    let answer = Http::new(net, at).ask(&ask).await;
                    if answer.is_ok_and(|answer| answer.text() == expected) {
                        return Some(Ok(()));
                    }
                    let text = tokio::fs::read(&log).await.unwrap_or_default();
                    let new =
                        String::from_utf8_lossy(text.get(usize::try_from(logged).ok()?..)?).into_owned();
                    let refused = new.lines().find(|line| line.contains("unable to reload file"));
                    if refused.is_none() {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                    refused.map(|line| Err(anyhow::anyhow!("istiod refuses: {line}")))
                });
                let serves = serves.await;
                serves.with_context(|| {
                    format!("{} of {side:?} does not serve {expected}\n{}", kind.name, self.tails())
                })??;
            }
        }
        self.wait_quiet().await?;
        let after = self.refused().await?;
        ensure!(before == after, "an Envoy refuses: {:?}", self.words_of_refusal());
        Ok(())
    }

    /// Waits until no Envoy has got anything for a while: what is of several kinds comes in several messages.
    pub(crate) async fn wait_quiet(&self) -> Result<()> {
        const LOOKS: usize = 6;
        let mut last = (0, 0);
        for _ in 0..300 {
            let envoys = self.proxies.iter().flatten().map(|proxy| updates(&proxy.envoy));
            let sum: u64 = try_join_all(envoys).await?.into_iter().sum();
            last = if last.0 == sum { (sum, last.1 + 1) } else { (sum, 0) };
            if last.1 == LOOKS {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
        anyhow::bail!("the proxies do not come to rest")
    }

    async fn refused(&self) -> Result<Vec<u64>> {
        let envoys = self.proxies.iter().flatten().map(|proxy| refusals(&proxy.envoy));
        try_join_all(envoys).await
    }

    fn words_of_refusal(&self) -> Vec<String> {
        let logs = self.proxies.iter().flatten().map(|proxy| proxy.envoy.process().log());
        let last = |log: String| log.lines().rev().find(|line| line.contains("rejected")).map(str::to_owned);
        logs.filter_map(last).collect()
    }

    /// Waits until no request and no copy is under way.
    pub(crate) async fn settle(&self) -> Result<()> {
        let idle = wait::until(PATIENCE, || async {
            let envoys = self.proxies.iter().flatten().map(|proxy| proxy.envoy.in_flight());
            let all = try_join_all(envoys).await.ok()?;
            (all.iter().sum::<u64>() == 0).then_some(())
        });
        idle.await.context("something stays under way")
    }

    /// Brings what istiod watches at the API server to what the world has of it, one kind after the other: it is told of
    /// Services and of their endpoints by two watches, and whichever comes first may undo what the other one said.
    async fn apply_cluster(&mut self, world: &World) -> Result<()> {
        let wanted = world.objects.iter().filter(|it| !is_istio(it));
        let wanted: BTreeMap<String, Value> = wanted.map(|it| (fixed::path(it), it.clone())).collect();
        // A Service goes with its slice, so that what is made anew is made of both.
        let unlike = |path: &&String| self.applied.get(*path) != wanted.get(*path);
        let unlike: BTreeSet<String> =
            self.applied.keys().chain(wanted.keys()).filter(unlike).map(|path| service_of(path)).collect();
        let gone: Vec<String> =
            self.applied.keys().filter(|path| unlike.contains(&service_of(path))).cloned().collect();
        for path in gone {
            fixed::delete(&self.client, &path).await?;
            self.applied.remove(&path);
        }
        self.wait_known().await?;
        for kind in ["Service", "EndpointSlice"] {
            for (path, object) in wanted.iter().filter(|(_, object)| object["kind"] == kind) {
                if !self.applied.contains_key(path) {
                    fixed::post(&self.client, object).await?;
                    self.applied.insert(path.clone(), object.clone());
                }
            }
            self.wait_known().await?;
        }
        Ok(())
    }

    /// Waits until istiod knows the Services and endpoints that the API server has, and no others.
    async fn wait_known(&self) -> Result<()> {
        let known = wait::until(PATIENCE, || async {
            let services: Value = self.debug("registryz").await.ok()?;
            let shards: Value = self.debug("endpointShardz").await.ok()?;
            knows(&self.applied, &services, &shards).then_some(())
        });
        known.await.with_context(|| format!("istiod does not know {:?}", self.applied.keys()))
    }

    /// What istiod tells of itself.
    async fn debug(&self, page: &str) -> Result<Value> {
        let ask = Ask::get("localhost", &format!("/debug/{page}"));
        let answer =
            Http::new(&Net::here(), SocketAddr::from(([127, 0, 0, 1], ISTIOD_DEBUG))).ask(&ask).await?;
        serde_json::from_slice(&answer.body).with_context(|| answer.text())
    }
}

/// The path of the Service that an object is, or whose slice.
fn service_of(path: &str) -> String {
    match path.strip_suffix("-x") {
        Some(slice) => {
            slice.replace("/apis/discovery.k8s.io/v1", "/api/v1").replace("/endpointslices/", "/services/")
        }
        None => path.to_owned(),
    }
}

/// Whether istiod's Services of Kubernetes and their ready addresses are those that have been applied.
fn knows(applied: &BTreeMap<String, Value>, services: &Value, shards: &Value) -> bool {
    let host = |object: &Value, name: &str| {
        format!("{name}.{}.svc.cluster.local", object["metadata"]["namespace"].as_str().unwrap_or_default())
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of_kind = |kind: &'static str| applied.values().filter(move |object| object["kind"] == kind);
    let mut hosts: BTreeSet<String> =
        of_kind("Service").map(|it| host(it, &text(&it["metadata"]["name"]))).collect();
    hosts.insert(SENTINEL.to_owned());
    // ServiceEntries have other hosts, but for those that stand beside a Service.
    let registry = services.as_array().into_iter().flatten();
    let registry = registry.filter(|it| it["Attributes"]["ServiceRegistry"] == "Kubernetes");
    let known: BTreeSet<String> = registry.map(|it| text(&it["hostname"])).filter(|it| is_ours(it)).collect();
    let mut endpoints: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for slice in of_kind("EndpointSlice") {
        let service = host(slice, &text(&slice["metadata"]["labels"]["kubernetes.io/service-name"]));
        let ready = slice["endpoints"].as_array().into_iter().flatten();
        let ready = ready.filter(|it| it["conditions"]["ready"] != false);
        endpoints.entry(service).or_default().extend(ready.map(|it| text(&it["addresses"][0])));
    }
    endpoints.retain(|_, addresses| !addresses.is_empty());
    let mut shown: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (service, namespaces) in shards.as_object().into_iter().flatten() {
        let shards = namespaces.as_object().into_iter().flatten();
        let shards = shards.flat_map(|(_, it)| it["Shards"].as_object().into_iter().flatten());
        let own = shards.filter(|(key, _)| key.starts_with("Kubernetes/"));
        let all = own.flat_map(|(_, endpoints)| endpoints.as_array().into_iter().flatten());
        // 1: ready.
        let ready = all.filter(|it| it["HealthStatus"] == 1);
        let addresses: BTreeSet<String> = ready.map(|it| text(&it["Addresses"][0])).collect();
        if !addresses.is_empty() && is_ours(service) {
            shown.insert(service.clone(), addresses);
        }
    }
    hosts == known && endpoints == shown
}

/// Of the namespaces of worlds.
fn is_ours(host: &str) -> bool {
    fixed::NAMESPACES.iter().chain([&ROOT]).any(|it| host.ends_with(&format!(".{it}.svc.cluster.local")))
}

fn is_istio(object: &Value) -> bool {
    object["apiVersion"].as_str().is_some_and(|version| version.contains("istio.io"))
}

fn body(world: usize) -> String {
    format!("world {world}")
}

/// A rule by which every proxy tells which world it serves.
fn sentinel(world: usize) -> Vec<Value> {
    let rule = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "sentinel", "namespace": "one"},
        "spec": {"hosts": [SENTINEL], "gateways": ["mesh", format!("{ROOT}/sentinel")],
            "http": [{"directResponse": {"status": 200, "body": {"string": body(world)}}}]},
    });
    let gateway = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": {"name": "sentinel", "namespace": ROOT},
        "spec": {"selector": {"istio": "ingressgateway"}, "servers": [{
            "port": {"number": GATEWAY_SENTINEL_PORT, "name": "http", "protocol": "HTTP"}, "hosts": [SENTINEL]}]},
    });
    vec![rule, gateway]
}

/// How many messages an Envoy has taken.
async fn updates(envoy: &EnvoyProcess) -> Result<u64> {
    sum(envoy, "update_success").await
}

async fn refusals(envoy: &EnvoyProcess) -> Result<u64> {
    sum(envoy, "update_rejected").await
}

async fn sum(envoy: &EnvoyProcess, counter: &str) -> Result<u64> {
    let text = envoy.get(&format!("/stats?filter=%5C.{counter}%24")).await?;
    let numbers = text.lines().filter_map(|line| line.rsplit_once(": ")?.1.parse::<u64>().ok());
    Ok(numbers.sum())
}

/// A bootstrap as Istio's agent writes it, as far as it says who the proxy is; its id is the command line's.
fn istio_bootstrap(kind: Kind) -> Value {
    let labels: serde_json::Map<String, Value> =
        kind.labels.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
    let mut metadata = json!({
        "NAME": kind.name, "NAMESPACE": kind.namespace, "LABELS": labels, "CLUSTER_ID": "Kubernetes",
        "ISTIO_VERSION": "1.29.0", "MESH_ID": "cluster.local", "SERVICE_ACCOUNT": "default",
    });
    if kind.role == Role::Called {
        metadata["INTERCEPTION_MODE"] = json!("NONE");
    }
    // What the tests' Envoys ask about as "under way" leaves out clusters of this name.
    let cluster = "umbra-istiod";
    let http2 = json!({
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    });
    let address = json!({"socket_address": {"address": HOST.to_string(), "port_value": ISTIOD_XDS}});
    let source = json!({"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"});
    json!({
        "node": {"cluster": kind.name, "metadata": metadata},
        "admin": {},
        "dynamic_resources": {
            "lds_config": source, "cds_config": source,
            "ads_config": {"api_type": "DELTA_GRPC", "transport_api_version": "V3", "set_node_on_first_message_only": true,
                "grpc_services": [{"envoy_grpc": {"cluster_name": cluster}}]},
        },
        "static_resources": {"clusters": [{
            "name": cluster, "type": "STATIC", "connect_timeout": "5s",
            "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2},
            "load_assignment": {"cluster_name": cluster, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]},
        }]},
    })
}

/// Whether istiod can be started here; `false` comes after one loud line.
pub(crate) fn available() -> bool {
    assets::require_apiserver()
        && assets::require_tool(assets::istiod()).is_some()
        && gate::require_envoy().is_some()
}
