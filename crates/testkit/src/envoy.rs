//! A real Envoy and its admin interface.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::client::{Ask, Client};
use crate::net::Net;
use crate::process::Process;
use crate::wait::{self, PATIENCE};

/// A running Envoy; it is killed on drop.
#[derive(Debug)]
pub struct EnvoyProcess {
    process: Process,
    net: Net,
    admin: SocketAddr,
}

impl EnvoyProcess {
    /// Starts `binary` with a bootstrap (YAML or JSON), whose admin address is replaced by a free one. `folder`
    /// gets its files, `node` is its node id. It has answered on its admin port when this returns.
    ///
    /// # Errors
    /// When the bootstrap is no YAML or Envoy ends, with what it wrote.
    pub async fn start(net: &Net, binary: &Path, folder: &Path, node: &str, bootstrap: &str) -> Result<Self> {
        Self::start_by(net.command(binary), net, folder, node, bootstrap).await
    }

    /// As [`EnvoyProcess::start`] as this user and group, who may write into `folder`.
    ///
    /// # Errors
    /// As there, and when we may not be that user.
    pub async fn start_as(
        id: u32,
        net: &Net,
        binary: &Path,
        folder: &Path,
        node: &str,
        bootstrap: &str,
    ) -> Result<Self> {
        let mut command = net.command(Path::new("setpriv"));
        command
            .args([&format!("--reuid={id}"), &format!("--regid={id}"), "--clear-groups", "--"])
            .arg(binary);
        Self::start_by(command, net, folder, node, bootstrap).await
    }

    async fn start_by(
        mut command: Command,
        net: &Net,
        folder: &Path,
        node: &str,
        bootstrap: &str,
    ) -> Result<Self> {
        let mut config: Value = serde_saphyr::from_str(bootstrap).context("the bootstrap is no YAML")?;
        config["admin"]["address"] = json!({"socket_address": {"address": "127.0.0.1", "port_value": 0}});
        let file = |suffix: &str| -> PathBuf { folder.join(format!("{node}.{suffix}")) };
        std::fs::write(file("json"), serde_json::to_vec_pretty(&config)?)?;
        // That of a predecessor of the same name would be taken for this one's.
        let _ = std::fs::remove_file(file("admin"));
        command.arg("--config-path").arg(file("json")).arg("--admin-address-path").arg(file("admin"));
        command.args(["--service-node", node, "--service-cluster", "test", "--log-level", "warning"]);
        command.args(["--reject-unknown-dynamic-fields", "--disable-hot-restart", "--concurrency", "1"]);
        // A copy that is still open must not hold up the end of a test.
        command.args(["--drain-time-s", "1", "--parent-shutdown-time-s", "2"]);
        let mut process = Process::start(node, command, &file("log"))?;
        let address = wait::until(PATIENCE, || {
            // The file appears empty first.
            let address =
                std::fs::read_to_string(file("admin")).ok().and_then(|text| text.trim().parse().ok());
            std::future::ready(match process.check_alive() {
                Ok(()) => address.map(Ok),
                Err(dead) => Some(Err(dead)),
            })
        });
        let admin = address.await.with_context(|| format!("no admin address\n{}", process.tail()))??;
        Ok(Self { process, net: net.clone(), admin })
    }

    /// The admin interface's address.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The process, for its log and signals.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Ends Envoy by SIGTERM.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn terminate(self, deadline: Duration) -> Result<()> {
        self.process.terminate(deadline).await.map(|_| ())
    }

    /// The answer of the admin interface to `GET path`.
    ///
    /// # Errors
    /// When it is not a 200.
    pub async fn get(&self, path: &str) -> Result<String> {
        self.call(Ask::get("admin", path)).await
    }

    /// The answer of the admin interface to `POST path`.
    ///
    /// # Errors
    /// When it is not a 200.
    pub async fn post(&self, path: &str) -> Result<String> {
        self.call(Ask::post("admin", path, "")).await
    }

    async fn call(&self, ask: Ask) -> Result<String> {
        let answer = Client::new(&self.net, self.admin).ask(&ask).await?;
        ensure!(
            answer.status.is_success(),
            "{} {}: {} {}",
            ask.method,
            ask.path,
            answer.status,
            answer.text()
        );
        Ok(answer.text())
    }

    /// The answer as JSON.
    ///
    /// # Errors
    /// When there is none.
    pub async fn json(&self, path: &str) -> Result<Value> {
        Ok(serde_json::from_str(&self.get(path).await?)?)
    }

    /// Whether every configuration has arrived and the workers serve.
    pub async fn ready(&self) -> bool {
        self.get("/ready").await.is_ok()
    }

    /// Every counter and gauge.
    ///
    /// # Errors
    /// When the admin interface does not answer.
    pub async fn stats(&self) -> Result<BTreeMap<String, u64>> {
        let text = self.get("/stats?type=All").await?;
        let pairs = text.lines().filter_map(|line| line.split_once(": "));
        Ok(pairs.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect())
    }

    /// One counter or gauge; 0 when it does not exist (yet).
    pub async fn stat(&self, name: &str) -> u64 {
        self.stats().await.ok().and_then(|stats| stats.get(name).copied()).unwrap_or_default()
    }

    /// The configuration's section of this type (such as `RoutesConfigDump`).
    ///
    /// # Errors
    /// When the admin interface does not answer.
    pub async fn section(&self, kind: &str) -> Result<Value> {
        let dump = self.json("/config_dump").await?;
        let sections = dump["configs"].as_array().into_iter().flatten();
        let mut found =
            sections.filter(|s| s["@type"].as_str().is_some_and(|t| t.rsplit('.').next() == Some(kind)));
        Ok(found.next().cloned().unwrap_or_default())
    }

    /// The mirrors' shares of a million in the runtime, by runtime key.
    ///
    /// # Errors
    /// When the admin interface does not answer.
    pub async fn mirror_shares(&self) -> Result<BTreeMap<String, u32>> {
        let runtime = self.json("/runtime").await?;
        let entries = runtime["entries"].as_object().into_iter().flatten();
        let mirrors = entries.filter(|(key, _)| key.starts_with("mirror/"));
        Ok(mirrors
            .filter_map(|(key, entry)| Some((key.clone(), numerator(entry["final_value"].as_str()?)?)))
            .collect())
    }

    /// Whether it copies this share of a million for a mirror whose runtime key contains `key`: the runtime has the share,
    /// and a route has the key. The two arrive in either order.
    pub async fn mirrors(&self, key: &str, share: u32) -> bool {
        let shares = self.mirror_shares().await.unwrap_or_default();
        let Some((key, _)) = shares.iter().find(|(k, n)| k.contains(key) && **n == share) else {
            return false;
        };
        self.section("RoutesConfigDump").await.is_ok_and(|routes| routes.to_string().contains(key.as_str()))
    }

    /// Every cluster that a route names, for requests or for copies.
    ///
    /// # Errors
    /// When the admin interface does not answer.
    pub async fn targets(&self) -> Result<BTreeSet<String>> {
        let routes = self.section("RoutesConfigDump").await?.to_string();
        let names = routes.split("\"cluster\":\"").skip(1).filter_map(|rest| rest.split_once('"'));
        Ok(names.map(|(name, _)| name.to_owned()).collect())
    }

    /// Every cluster, and the addresses of its endpoints.
    ///
    /// # Errors
    /// When the admin interface does not answer.
    pub async fn endpoints(&self) -> Result<BTreeMap<String, BTreeSet<String>>> {
        let text = self.get("/clusters").await?;
        let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (cluster, rest) in text.lines().filter_map(|line| line.split_once("::")) {
            let endpoints = all.entry(cluster.to_owned()).or_default();
            endpoints.extend(rest.split_once("::cx_active::").map(|(address, _)| address.to_owned()));
        }
        Ok(all)
    }

    /// How often a route table was received and taken, all tables together.
    ///
    /// # Errors
    /// When the admin interface does not answer.
    pub async fn route_pushes(&self) -> Result<u64> {
        let received = |name: &str| name.contains(".rds.") && name.ends_with(".update_success");
        Ok(self.stats().await?.iter().filter(|(name, _)| received(name)).map(|(_, n)| n).sum())
    }

    /// The addresses that it listens on, by listener.
    ///
    /// # Errors
    /// When the admin interface does not answer.
    pub async fn listeners(&self) -> Result<BTreeMap<String, String>> {
        let text = self.get("/listeners").await?;
        Ok(text
            .lines()
            .filter_map(|l| l.split_once("::"))
            .map(|(n, a)| (n.to_owned(), a.to_owned()))
            .collect())
    }

    /// The counters that should be zero and are not: rejected configurations, requests that met a cluster that does not
    /// exist.
    ///
    /// Requests at a listener that is gone are left out: a connection that it accepted before it went may still send
    /// one, and what that asks for is gone as well.
    ///
    /// # Errors
    /// When the admin interface does not answer.
    pub async fn wrongs(&self) -> Result<BTreeMap<String, u64>> {
        let (mut stats, listeners) = (self.stats().await?, self.listeners().await?);
        let open = |prefix: &str| listeners.keys().any(|listener| prefix.ends_with(listener));
        stats.retain(|stat, n| {
            let wrong =
                stat.ends_with(".update_rejected") || stat.strip_suffix(".no_cluster").is_some_and(open);
            wrong && *n > 0
        });
        Ok(stats)
    }

    /// Requests and copies that are under way or wait for a connection, over all clusters but those that umbra makes for
    /// itself: a stream of configuration or of log entries is under way as long as the proxy lives.
    ///
    /// # Errors
    /// When the admin interface does not answer.
    pub async fn in_flight(&self) -> Result<u64> {
        let busy = |name: &str| {
            name.starts_with("cluster.")
                && !name.starts_with("cluster.umbra-")
                && (name.ends_with(".upstream_rq_active") || name.ends_with(".upstream_rq_pending_active"))
        };
        Ok(self.stats().await?.iter().filter(|(name, _)| busy(name)).map(|(_, n)| n).sum())
    }
}

/// Envoy shows a structured runtime value as the text of a protobuf struct.
fn numerator(text: &str) -> Option<u32> {
    let (_, field) = text.split_once("\"numerator\"")?;
    let (_, value) = field.split_once("number_value: ")?;
    let number: f64 = value.lines().next()?.trim().parse().ok()?;
    Some(number as u32)
}

#[cfg(test)]
mod tests {
    use super::numerator;

    #[test]
    fn numerators() {
        let text = |n: &str| {
            let field = |key: &str, value: &str| {
                format!("fields {{\n  key: \"{key}\"\n  value {{\n    {value}\n  }}\n}}\n")
            };
            let fields = field("denominator", "string_value: \"MILLION\"")
                + &field("numerator", &format!("number_value: {n}"));
            format!("goo.gle/debugstr   \n{fields}")
        };
        for (shown, want) in
            [("250000", Some(250_000)), ("0", Some(0)), ("1e+06", Some(1_000_000)), ("x", None)]
        {
            assert_eq!(numerator(&text(shown)), want, "{shown}");
        }
        assert_eq!(numerator("0"), None);
    }
}
