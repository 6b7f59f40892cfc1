//! A real Prometheus that asks umbra for its metrics.

#![allow(clippy::expect_used, reason = "only tests call this, and to fail is its way to speak")]

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::PATIENCE;
use crate::client::{Ask, Client};
use crate::gate;
use crate::net::Net;
use crate::process::Process;

/// The running program; dropped, it is killed.
#[derive(Debug)]
pub struct Scraper {
    address: SocketAddr,
    process: Process,
}

impl Scraper {
    /// Starts it at `address` of this process's network, with its data in `folder`. It asks `target` every so many seconds. `None` after a
    /// loud line: there is no Prometheus.
    ///
    /// # Errors
    /// When it does not become ready.
    ///
    /// # Panics
    /// When it is missing and `REQUIRE_PROMETHEUS=1`.
    pub async fn start(
        address: SocketAddr,
        target: SocketAddr,
        seconds: u32,
        folder: &Path,
    ) -> Result<Option<Self>> {
        if Command::new("prometheus").arg("--version").output().is_err() {
            gate::skip("a real Prometheus: there is none", "REQUIRE_PROMETHEUS");
            return Ok(None);
        }
        let config = folder.join("prometheus.yaml");
        let text = format!(
            "global: {{scrape_interval: {seconds}s}}\nscrape_configs: [{{job_name: umbra, static_configs: [{{targets: ['{target}']}}]}}]\n"
        );
        std::fs::write(&config, text)?;
        let mut command = Command::new("prometheus");
        command.arg("--config.file").arg(&config);
        command.arg("--storage.tsdb.path").arg(folder.join("prometheus"));
        command.arg(format!("--web.listen-address={address}"));
        let process = Process::start("prometheus", command, &folder.join("prometheus.log"))?;
        let mut scraper = Self { address, process };
        let start = Instant::now();
        while scraper.query("vector(1)").await.is_err() {
            scraper.process.check_alive()?;
            if start.elapsed() > PATIENCE {
                bail!("not ready after {PATIENCE:?}\n{}", scraper.process.tail());
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        Ok(Some(scraper))
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What a query comes to now: the value of each of its samples.
    ///
    /// # Errors
    /// When it is no query, or Prometheus is not ready.
    pub async fn query(&self, query: &str) -> Result<Vec<f64>> {
        let escaped: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let ask = Ask::get("localhost", &format!("/api/v1/query?query={escaped}"));
        let answer = Client::new(&Net::here(), self.address).ask(&ask).await?;
        let answer: serde_json::Value = serde_json::from_str(&answer.text())?;
        let all = answer["data"]["result"].as_array().with_context(|| answer.to_string())?;
        let value = |sample: &serde_json::Value| sample["value"][1].as_str()?.parse().ok();
        Ok(all.iter().filter_map(value).collect())
    }
}
