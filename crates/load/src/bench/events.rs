//! The changes that are measured, in the order in which they are made.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::time::MissedTickBehavior;

use super::{Bench, LOST};
use crate::expect::{Expect, Part};
use crate::fleet::Mode;
use crate::kind::Kind;
use crate::server::Server;

/// Where a change of routing is told.
const ROUTES: &[Kind] = &[Kind::Rds, Kind::Vhds];

/// Changes a second, without a pause.
const CHURN: u32 = 100;

impl Bench {
    /// Makes every change whose name contains one of `only`, or all.
    pub(super) async fn events(&mut self, only: &[String]) -> Result<()> {
        let wanted = |name: &str| only.is_empty() || only.iter().any(|part| name.contains(part.as_str()));
        self.cold_start().await?;
        for round in 0..self.plan.repeats {
            if wanted("percentage") && self.plan.size.mirrors > 0 {
                self.percentage(round).await?;
            }
            if wanted("stop") && self.plan.size.mirrors > 0 && !self.plan.size.private {
                self.stop().await?;
            }
            if wanted("endpoint") {
                self.endpoint(round).await?;
            }
            if wanted("weights") && self.plan.size.rules > 0 {
                self.weights(round).await?;
            }
            if wanted("mirror") && self.plan.size.rules > self.plan.size.mirrors {
                self.mirror().await?;
            }
            if wanted("service") {
                self.service().await?;
            }
        }
        if wanted("churn") && !self.plan.size.private {
            self.churn().await?;
        }
        if wanted("restart") {
            self.restart().await?;
        }
        self.newcomer().await
    }

    /// Everybody connects at once.
    async fn cold_start(&mut self) -> Result<()> {
        let before = self.before().await?;
        let start = self.fleet.open(self.target()?);
        self.note("cold start", before, start).await
    }

    async fn percentage(&mut self, round: usize) -> Result<()> {
        let before = self.before().await?;
        self.expect(0, vec![Part::Any(&[Kind::Rtds])]);
        let start = self.world.mirror(0, Some(20 + round as u32))?;
        self.note("percentage", before, start).await
    }

    /// Somebody stops everything, and lets it go on: from the question to the ACK of the last layer that each proxy is told.
    async fn stop(&mut self) -> Result<()> {
        for (verb, name) in [("stop", "all mirrors stopped"), ("resume", "all mirrors resumed")] {
            let before = self.before().await?;
            self.fleet.expect(Expect::Last(&[Kind::Rtds]));
            let start = Instant::now();
            let order = serde_json::json!({ "all": true, "wait": "30s" }).to_string();
            let told = self.server.post(&format!("/v1/{verb}"), order).await?;
            let told: serde_json::Value = serde_json::from_str(&told)?;
            ensure!(told["done"] == true, "{name}: {told}");
            let last = self.fleet.last()?.into_iter();
            let times = last.map(|at| at.saturating_duration_since(start)).collect();
            self.finish(name, before, times, self.fleet.size()).await?;
        }
        Ok(())
    }

    async fn endpoint(&mut self, round: usize) -> Result<()> {
        let n = self.plan.size.services - 1;
        let name = format!("outbound|80||{}", self.world.host(n));
        let before = self.before().await?;
        self.expect(n, vec![Part::New(Kind::Eds, name)]);
        // Of no change that the churn knows.
        let start = self.world.endpoint(n, (1 << 23) + round as u32)?;
        self.note("one endpoint", before, start).await
    }

    async fn weights(&mut self, round: usize) -> Result<()> {
        let before = self.before().await?;
        let (n, v1) = (self.plan.size.rules - 1, 90 - round as u32);
        self.expect(n, vec![Part::Any(ROUTES)]);
        let start = self.world.weights(n, v1, 100 - v1)?;
        self.note("weights changed", before, start).await
    }

    async fn mirror(&mut self) -> Result<()> {
        let n = self.plan.size.mirrors;
        let cluster = format!("mirror|80|v2|{}", self.world.host(n));
        let before = self.before().await?;
        let routes = Part::Any(ROUTES);
        self.expect(n, vec![Part::New(Kind::Cds, cluster.clone()), routes.clone(), Part::Any(&[Kind::Rtds])]);
        let start = self.world.mirror(n, Some(10))?;
        self.note("mirror added", before, start).await?;
        let before = self.before().await?;
        self.expect(n, vec![Part::Gone(Kind::Cds, cluster), routes]);
        let start = self.world.mirror(n, None)?;
        self.note("mirror removed", before, start).await
    }

    async fn service(&mut self) -> Result<()> {
        let before = self.before().await?;
        let n = self.world.count();
        let name = format!("outbound|80||{}", self.world.host(n));
        let routes = Part::Any(ROUTES);
        self.expect(
            n,
            vec![Part::New(Kind::Cds, name.clone()), Part::New(Kind::Eds, name.clone()), routes.clone()],
        );
        let start = self.world.add()?;
        self.note("service added", before, start).await?;
        let before = self.before().await?;
        self.expect(n, vec![Part::Gone(Kind::Cds, name), routes]);
        let start = self.world.remove(n)?;
        self.note("service removed", before, start).await
    }

    /// Endpoints change all the time; each proxy tells how late it took each change.
    async fn churn(&mut self) -> Result<()> {
        // Services without subsets: one load assignment each.
        let services: Vec<usize> = (self.plan.size.rules..self.plan.size.services).collect();
        if services.is_empty() {
            return Ok(());
        }
        let before = self.before().await?;
        self.fleet.expect(Expect::Markers);
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / CHURN);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for n in 0..self.plan.churn.as_secs() as usize * CHURN as usize {
            ticks.tick().await;
            let service = services[n * 7 % services.len()];
            // Known before it is written: the answer must not come before it is.
            let marker = self.fleet.mark(service, Instant::now());
            self.world.endpoint(service, marker)?;
        }
        let late = self.fleet.wait_marked(LOST).await?;
        self.finish("100 endpoints/s churn", before, late, self.fleet.size()).await
    }

    /// The server dies and another starts; everybody comes back at once with what it has.
    async fn restart(&mut self) -> Result<()> {
        self.fleet.close();
        let server = Server::start(&self.launch).await?;
        std::mem::replace(&mut self.server, server).kill()?;
        let mut before = self.before().await?;
        // The whole process is new: its start counts.
        before.usage.cpu = Duration::ZERO;
        let start = self.fleet.open(self.target()?);
        self.note("killed and restarted", before, start).await
    }

    /// One more proxy in each namespace that has seen nothing: it must be told what all others hold by now.
    async fn newcomer(&mut self) -> Result<()> {
        let count = self.plan.size.namespaces;
        let before = self.before().await?;
        self.fleet.add(count, Mode::Normal)?;
        let start = self.fleet.expect_everybody();
        let done = self.fleet.wait(LOST).await?;
        let mut times: Vec<Duration> = done.iter().map(|at| at.saturating_duration_since(start)).collect();
        times.sort_unstable();
        // All others were in step before.
        let times = times.split_off(times.len() - count);
        self.finish("one proxy more", before, times, count).await
    }
}
