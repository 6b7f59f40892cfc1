//! etcd, kube-apiserver and kube-controller-manager, each of which can be killed, frozen and started again.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::{Value, json};

use super::assets;
use super::certificates::Certificates;
use super::part::Restartable;
use super::site::{HOST, Site};
use super::user::{self, User};
use crate::client::{Ask, Client as Http};
use crate::net::Net;
use crate::process::Process;
use crate::wait;

/// How long a part may take to come up: two seconds here, but a busy machine is slow.
const START: Duration = Duration::from_secs(240);

/// What the API server notes of requests: who writes Leases, and who writes statuses of Istio's objects.
const AUDIT: &str = r#"{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": [
  {"level": "Request", "verbs": ["create", "update"], "resources": [{"group": "coordination.k8s.io", "resources": ["leases"]}]},
  {"level": "Metadata", "verbs": ["patch"], "resources": [{"group": "networking.istio.io", "resources": ["*/status"]}]},
  {"level": "None"}]}
"#;

/// The token of the user `admin` of the group system:masters: this control plane is nobody's but the test's.
const ADMIN: &str = "umbra-test-admin";

/// A part of the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The store.
    Etcd,
    /// The API server.
    ApiServer,
    /// The controllers: Deployments, EndpointSlices, ServiceAccounts, namespaces, garbage collection.
    Controllers,
}

/// A running control plane; it is killed on drop.
#[derive(Debug)]
pub struct ControlPlane {
    site: Site,
    folder: PathBuf,
    certificates: Certificates,
    etcd: Restartable,
    api_server: Restartable,
    controllers: Restartable,
}

impl ControlPlane {
    /// Starts a control plane whose files and logs are in `folder`, in this process's network, which must be one of the
    /// test's own (the ports are fixed): see [`super::stage`]. It serves and its controllers work when this returns.
    ///
    /// # Errors
    /// When a program is missing, ends, or does not become ready, with what it wrote.
    pub async fn start(folder: &Path, site: Site) -> Result<Self> {
        Net::here().ip(&["address", "replace", &format!("{HOST}/32"), "dev", "lo"])?;
        let host = format!("IP:{HOST}");
        let names = ["IP:127.0.0.1", &host, "IP:10.96.0.1", "DNS:localhost", "DNS:kubernetes.default.svc"];
        let certificates = Certificates::make(folder, &names)?;
        std::fs::write(folder.join("tokens.csv"), format!("{ADMIN},admin,admin,\"system:masters\"\n"))?;
        std::fs::write(folder.join("audit.json"), AUDIT)?;
        let tool = |name: &str| assets::kubernetes(name).map_err(anyhow::Error::msg);
        let etcd = Restartable::start("etcd", tool("etcd")?, etcd_flags(folder, site), folder)?;
        let flags = api_server_flags(folder, site, &certificates);
        let api_server = Restartable::start("kube-apiserver", tool("kube-apiserver")?, flags, folder)?;
        let server = format!("https://{}", site.server);
        user::write_kubeconfig(&folder.join("admin.kubeconfig"), &server, &certificates.authority, ADMIN)?;
        let flags = controllers_flags(folder, &certificates);
        let program = tool("kube-controller-manager")?;
        let controllers = Restartable::new("kube-controller-manager", program, flags, folder);
        let mut plane = Self { site, folder: folder.to_owned(), certificates, etcd, api_server, controllers };
        plane.wait_ready().await?;
        // They give an API server ten seconds to be healthy, and end: on a busy machine that is too few.
        plane.controllers.start_again()?;
        plane.wait_controllers().await?;
        Ok(plane)
    }

    /// Where it is.
    pub fn site(&self) -> Site {
        self.site
    }

    /// The folder with its files and logs.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The certificate of the authority that signed the server's.
    pub fn authority(&self) -> &Path {
        &self.certificates.authority
    }

    /// The user who may do everything.
    pub fn admin(&self) -> User {
        User::new(self.folder.join("admin.kubeconfig"), &self.folder)
    }

    /// A kubeconfig file for whoever has this token; `server` is the URL by which the API server is reached.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn user_with_token(&self, name: &str, token: &str) -> Result<User> {
        let file = self.folder.join(format!("{name}.kubeconfig"));
        let server = format!("https://{}", self.site.server);
        user::write_kubeconfig(&file, &server, &self.certificates.authority, token)?;
        Ok(User::new(file, &self.folder))
    }

    /// A client with the rights of `admin`.
    ///
    /// # Errors
    /// When the kubeconfig cannot be read.
    pub async fn client(&self) -> Result<Client> {
        client(&self.folder.join("admin.kubeconfig")).await
    }

    fn part(&mut self, part: Part) -> &mut Restartable {
        match part {
            Part::Etcd => &mut self.etcd,
            Part::ApiServer => &mut self.api_server,
            Part::Controllers => &mut self.controllers,
        }
    }

    /// The running processes, for their ids and logs.
    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        [&self.etcd, &self.api_server, &self.controllers].into_iter().filter_map(Restartable::process)
    }

    /// Kills a part (SIGKILL); what it stored stays.
    pub fn kill(&mut self, part: Part) {
        self.part(part).kill();
    }

    /// Starts a killed part again and waits until the API server is ready.
    ///
    /// # Errors
    /// When that does not happen, with what it wrote.
    pub async fn restart(&mut self, part: Part) -> Result<()> {
        self.part(part).start_again()?;
        match part {
            Part::Etcd => Ok(()),
            Part::ApiServer | Part::Controllers => self.wait_ready().await,
        }
    }

    /// Stops a part's work (SIGSTOP) or lets it go on (SIGCONT).
    ///
    /// # Errors
    /// When it is gone.
    pub fn freeze(&mut self, part: Part, frozen: bool) -> Result<()> {
        self.part(part).freeze(frozen)
    }

    /// Waits until the API server says that it is ready.
    ///
    /// # Errors
    /// When a part has ended, or this takes longer than [`START`].
    pub async fn wait_ready(&mut self) -> Result<()> {
        let client = self.client().await?;
        let start = Instant::now();
        loop {
            let request = http::Request::get("/readyz").body(Vec::new())?;
            if client.request_text(request).await.is_ok() {
                return Ok(());
            }
            self.check_alive()?;
            ensure!(start.elapsed() < START, "the API server is not ready after {START:?}\n{}", self.tails());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The controllers work when the first of what they make is there: the default ServiceAccount, without which no Pod
    /// is admitted.
    async fn wait_controllers(&mut self) -> Result<()> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client().await?, "default");
        let made = || async { accounts.get_opt("default").await.ok().flatten() };
        let found = wait::until(START, made).await;
        self.check_alive()?;
        found.map(|_| ()).with_context(|| format!("the controllers do nothing\n{}", self.tails()))
    }

    /// Fails when a part has ended by itself.
    ///
    /// # Errors
    /// With what it wrote last.
    pub fn check_alive(&mut self) -> Result<()> {
        self.etcd.check_alive()?;
        self.api_server.check_alive()?;
        self.controllers.check_alive()
    }

    /// The last warnings and errors of every part.
    pub fn tails(&self) -> String {
        // A line of klog starts with its severity; what is only informative would bury the rest.
        let informative =
            |line: &str| line.starts_with('I') && line[1..].starts_with(|c: char| c.is_ascii_digit());
        let tails = self.processes().map(Process::tail);
        let lines: Vec<_> = tails.flat_map(|t| t.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
        lines.into_iter().filter(|line| !informative(line)).collect::<Vec<_>>().join("\n")
    }

    /// The requests that [`AUDIT`] names, in the order in which they were answered, as the API server noted them.
    ///
    /// # Errors
    /// When there is no log, or one that is none.
    pub fn audit(&self) -> Result<Vec<Value>> {
        let text = std::fs::read_to_string(self.folder.join("audit.log")).context("no audit log")?;
        // The last line may be half written.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    /// The store's revision now: every write counts one up.
    ///
    /// # Errors
    /// When etcd does not answer.
    pub async fn revision(&self) -> Result<i64> {
        // "Lg==" is ".", a key that nobody has; the header has the revision all the same.
        let answer = etcd(self.site.etcd, "/v3/kv/range", json!({"key": "Lg=="})).await?;
        let revision = answer["header"]["revision"].as_str().context("etcd names no revision")?;
        Ok(revision.parse()?)
    }

    /// Makes the store forget every revision before the present one: a watch that asks for an older one is told that it
    /// is gone (410), once the API server, which has a memory of its own, was restarted too.
    ///
    /// # Errors
    /// When etcd refuses for another reason than that it has forgotten that already.
    pub async fn compact(&self) -> Result<()> {
        let revision = self.revision().await?;
        let answer = etcd(
            self.site.etcd,
            "/v3/kv/compaction",
            json!({"revision": revision.to_string(), "physical": true}),
        )
        .await?;
        let error = answer["message"].as_str().unwrap_or_default();
        ensure!(error.is_empty() || error.contains("compacted"), "etcd: {error}");
        Ok(())
    }

    /// Loses the history of all watches: kills the API server, compacts the store and starts it again.
    ///
    /// # Errors
    /// When a step fails.
    pub async fn lose_history(&mut self) -> Result<()> {
        self.kill(Part::ApiServer);
        self.compact().await?;
        self.restart(Part::ApiServer).await?;
        self.compact().await
    }
}

/// A client for the user of a kubeconfig file.
///
/// # Errors
/// When the file is none.
pub async fn client(kubeconfig: &Path) -> Result<Client> {
    let file = Kubeconfig::read_from(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// Calls etcd's JSON gateway.
async fn etcd(address: SocketAddr, path: &str, body: Value) -> Result<Value> {
    let ask = Ask::post("etcd", path, body.to_string()).header("content-type", "application/json");
    let answer = Http::new(&Net::here(), address).ask(&ask).await.context("etcd")?;
    serde_json::from_slice(&answer.body).with_context(|| format!("etcd: {}", answer.text()))
}

fn etcd_flags(folder: &Path, site: Site) -> Vec<String> {
    let data = folder.join("etcd");
    [
        format!("--data-dir={}", data.display()),
        format!("--listen-client-urls=http://{}", site.etcd),
        format!("--advertise-client-urls=http://{}", site.etcd),
        format!("--listen-peer-urls=http://{}", site.peer),
        // Nothing here is to outlive the test.
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
    ]
    .into()
}

fn api_server_flags(folder: &Path, site: Site, certificates: &Certificates) -> Vec<String> {
    let Certificates { server, key, accounts, .. } = certificates;
    let accounts = accounts.display();
    [
        format!("--etcd-servers=http://{}", site.etcd),
        // Compaction only when a test wants it.
        "--etcd-compaction-interval=0".to_owned(),
        "--bind-address=0.0.0.0".to_owned(),
        format!("--secure-port={}", site.server.port()),
        format!("--advertise-address={HOST}"),
        format!("--tls-cert-file={}", server.display()),
        format!("--tls-private-key-file={}", key.display()),
        format!("--service-account-key-file={accounts}"),
        format!("--service-account-signing-key-file={accounts}"),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--token-auth-file={}", folder.join("tokens.csv").display()),
        "--authorization-mode=RBAC".to_owned(),
        format!("--audit-policy-file={}", folder.join("audit.json").display()),
        format!("--audit-log-path={}", folder.join("audit.log").display()),
        "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
        // Nobody forwards a Service's address here: webhooks are asked at their Pods'.
        "--enable-aggregator-routing=true".to_owned(),
        "--max-requests-inflight=2000".to_owned(),
        "--max-mutating-requests-inflight=1000".to_owned(),
    ]
    .into()
}

fn controllers_flags(folder: &Path, certificates: &Certificates) -> Vec<String> {
    let Certificates { authority, accounts, .. } = certificates;
    [
        format!("--kubeconfig={}", folder.join("admin.kubeconfig").display()),
        "--leader-elect=false".to_owned(),
        // Without a kubelet nobody keeps a Node's lease, and Pods would be evicted.
        "--controllers=*,-node-lifecycle-controller,-taint-eviction-controller,-cloud-node-lifecycle-controller,\
         -persistentvolume-binder-controller,-persistentvolume-attach-detach-controller"
            .to_owned(),
        "--secure-port=0".to_owned(),
        format!("--root-ca-file={}", authority.display()),
        format!("--service-account-private-key-file={}", accounts.display()),
        // The defaults (20 and 30) make Deployments crawl.
        "--kube-api-qps=500".to_owned(),
        "--kube-api-burst=1000".to_owned(),
    ]
    .into()
}
