//! The benchmark: a server, a mesh, a fleet, one change after the other, and a table of what each has cost.

mod baseline;
mod events;
mod report;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use crate::expect::{Expect, Part};
use crate::fleet::{Fleet, Mode};
use crate::node::Identity;
use crate::proxy::Manner;
use crate::server::{Launch, Server, Usage};
use crate::stream::{Target, trust};
use crate::world::{Size, World};

pub use baseline::Counted;
pub use report::{Report, Row, Run};

/// How large a benchmark is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
#[value(rename_all = "UPPER")]
pub enum Scenario {
    /// 100 services of 5 endpoints, 20 rules, 10 mirrors, 100 proxies
    S,
    /// 1000 services of 10 endpoints, 200 rules, 100 mirrors, 1000 proxies
    M,
    /// As M, with 5000 proxies
    C,
}

/// What a scenario comes to.
#[derive(Clone, Copy, Debug)]
struct Plan {
    size: Size,
    proxies: usize,
    /// How often each single change is made.
    repeats: usize,
    /// How long endpoints change without a pause.
    churn: Duration,
}

impl Scenario {
    fn plan(self) -> Plan {
        let small =
            Size { services: 100, endpoints: 5, rules: 20, mirrors: 10, namespaces: 1, private: false };
        let large =
            Size { services: 1000, endpoints: 10, rules: 200, mirrors: 100, namespaces: 1, private: false };
        let long = Duration::from_secs(30);
        match self {
            Scenario::S => Plan { size: small, proxies: 100, repeats: 5, churn: Duration::from_secs(5) },
            Scenario::M => Plan { size: large, proxies: 1000, repeats: 3, churn: long },
            Scenario::C => Plan { size: large, proxies: 5000, repeats: 3, churn: long },
        }
    }
}

/// The arguments of `umbra-load bench`.
#[derive(Clone, Debug, Args)]
pub struct BenchArgs {
    /// How large
    #[arg(long, value_enum, default_value = "S", ignore_case = true)]
    pub scenario: Scenario,
    /// Another number of proxies
    #[arg(long)]
    pub proxies: Option<usize>,
    /// Another number of services
    #[arg(long)]
    pub services: Option<usize>,
    /// Another number of mirrors (rules of their own for each)
    #[arg(long)]
    pub mirrors: Option<usize>,
    /// Over how many namespaces services and proxies are spread
    #[arg(long)]
    pub namespaces: Option<usize>,
    /// Services and rules are visible in their own namespace alone
    #[arg(long)]
    pub private: bool,
    /// How often each single change is made; the table has the middle and the worst
    #[arg(long)]
    pub repeats: Option<usize>,
    /// Only changes whose name contains one of these: cold, restart, percentage, stop, mirror, weights, service, endpoint, churn
    #[arg(long, value_delimiter = ',', value_name = "NAME,...")]
    pub only: Vec<String>,
    /// The umbra to measure; unless told otherwise the one beside this program
    #[arg(long, value_name = "FILE")]
    pub umbra: Option<PathBuf>,
    /// Further arguments for `umbra serve`
    #[arg(long = "serve", value_name = "ARGUMENT", allow_hyphen_values = true)]
    pub arguments: Vec<String>,
    /// Measure over TLS: the folder has tls.crt and tls.key (for 127.0.0.1) and ca.crt
    #[arg(long, value_name = "FOLDER")]
    pub tls: Option<PathBuf>,
    /// As many proxies more that stop reading once they were served
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub slow: usize,
    /// As many proxies more that reject every route table
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub nacking: usize,
    /// As many proxies more that connect anew each second
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub flapping: usize,
    /// Compare bytes, messages and keys computed with this file, and fail where they have grown; never on time
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
    /// Write that file
    #[arg(long, value_name = "FILE")]
    pub write_baseline: Option<PathBuf>,
    /// Put the table into this page, between the marks of this scenario and variant (`<!-- bench M delta -->`, `<!-- end -->`)
    #[arg(long, value_name = "FILE")]
    pub renew: Option<PathBuf>,
    /// How proxies behave.
    #[command(flatten)]
    pub manner: MannerArgs,
}

/// How proxies behave, and who they say they are.
#[derive(Clone, Debug, Args)]
pub struct MannerArgs {
    /// State of the world instead of delta
    #[arg(long)]
    pub sotw: bool,
    /// Whole route tables, for an Envoy that takes virtual hosts as resources of their own
    #[arg(long, conflicts_with = "sotw")]
    pub plain: bool,
    /// How many layers of the runtime the proxies' bootstrap declares, as `umbra bootstrap --runtime-layers` does
    #[arg(long, default_value = "64", value_parser = ["1", "8", "64"])]
    pub runtime_layers: String,
    /// These layers instead: what another server's bootstrap declares
    #[arg(long, value_delimiter = ',', value_name = "NAME,...", conflicts_with = "runtime_layers")]
    pub layers: Vec<String>,
    /// sidecar or router
    #[arg(long, default_value = "sidecar")]
    pub kind: String,
    /// More metadata of the nodes, as a JSON object: '{"LABELS": {"app": "web"}}'
    #[arg(long, value_name = "JSON", default_value = "{}")]
    pub metadata: String,
    /// The Envoy that proxies say they are
    #[arg(long, default_value = "1.40.0", value_name = "VERSION")]
    pub envoy_version: String,
}

impl MannerArgs {
    /// A fleet of such proxies, still without any.
    ///
    /// # Errors
    /// When the metadata is no JSON object.
    pub fn fleet(&self, namespaces: usize) -> Result<Fleet> {
        let mut metadata: BTreeMap<_, _> =
            serde_json::from_str(&self.metadata).context("--metadata is no JSON object")?;
        if self.plain {
            metadata.insert("ROUTE_TABLES".to_owned(), "plain".into());
        }
        let identity =
            Identity { kind: self.kind.clone(), namespaces, metadata, version: self.envoy_version.clone() };
        Ok(Fleet::new(identity, Manner { sotw: self.sotw, layers: self.layers().into(), nacks: None }))
    }

    /// A word for each variant: `delta`, `plain`, `sotw`.
    fn variant(&self) -> &'static str {
        match (self.sotw, self.plain) {
            (true, _) => "sotw",
            (false, true) => "plain",
            (false, false) => "delta",
        }
    }

    fn layers(&self) -> Vec<String> {
        if !self.layers.is_empty() {
            return self.layers.clone();
        }
        match self.runtime_layers.as_str() {
            "8" => (0..8).map(|n| format!("umbra-{n}")).collect(),
            "64" => (0..64).map(|n| format!("umbra-{n:02o}")).collect(),
            _ => vec!["umbra".to_owned()],
        }
    }
}

/// Nobody is told anything for so long: what a change leads to is over.
const QUIET: Duration = Duration::from_millis(200);
/// How long a change may be under way before it counts as lost.
const LOST: Duration = Duration::from_secs(300);

/// A benchmark that is under way.
struct Bench {
    plan: Plan,
    world: World,
    fleet: Fleet,
    server: Server,
    launch: Launch,
    tls: Option<PathBuf>,
    rows: Vec<Row>,
}

/// Where the server stood before a change.
struct Before {
    usage: Usage,
    keys: u64,
}

impl Bench {
    fn target(&self) -> Result<Target> {
        let tls = self.tls.as_ref().map(|folder| trust(&folder.join("ca.crt"), "127.0.0.1")).transpose()?;
        Ok(Target { address: self.server.xds, tls })
    }

    /// What the proxies are waited for that see a service.
    fn expect(&self, service: usize, parts: Vec<Part>) {
        let size = self.plan.size;
        let namespace = size.private.then_some(service % size.namespaces.max(1));
        self.fleet.expect_in(namespace, Expect::Parts(parts));
    }

    async fn before(&self) -> Result<Before> {
        // To be asked costs the server milliseconds, which are none of the change.
        let keys = self.server.keys().await?;
        self.server.forget_peak();
        Ok(Before { usage: self.server.usage()?, keys })
    }

    /// Waits for what is expected since `start`, then for silence, and notes it all as one run of `name`.
    async fn note(&mut self, name: &str, before: Before, start: Instant) -> Result<()> {
        let done = self.fleet.wait(LOST).await.with_context(|| name.to_owned())?;
        let times = done.into_iter().map(|at| at.saturating_duration_since(start)).collect();
        self.finish(name, before, times, self.fleet.waited()).await
    }

    /// Notes one run that was of concern to so many proxies.
    async fn finish(
        &mut self,
        name: &str,
        before: Before,
        times: Vec<Duration>,
        proxies: usize,
    ) -> Result<()> {
        let counts = self.fleet.quiet(QUIET).await;
        self.fleet.expect(Expect::Nothing);
        let after = self.server.usage()?;
        let keys = self.server.keys().await?.saturating_sub(before.keys);
        self.fleet.compare().with_context(|| format!("after {name}"))?;
        let usage = Usage { cpu: after.cpu.saturating_sub(before.usage.cpu), ..after };
        let run = Run::new(times, usage, keys, &counts, proxies);
        match self.rows.iter_mut().find(|row| row.event == name) {
            Some(row) => row.runs.push(run),
            None => self.rows.push(Row { event: name.to_owned(), runs: vec![run] }),
        }
        Ok(())
    }
}

/// Runs it; whether it is no worse than the baseline.
///
/// # Errors
/// When the server fails, or a proxy misses a change.
pub async fn run(args: &BenchArgs, json: bool) -> Result<bool> {
    let mut plan = args.scenario.plan();
    plan.size.services = args.services.unwrap_or(plan.size.services);
    plan.size.namespaces = args.namespaces.unwrap_or(plan.size.namespaces);
    plan.size.private = args.private;
    if let Some(mirrors) = args.mirrors {
        plan.size.rules = (mirrors * 2).max(plan.size.rules);
        plan.size.mirrors = mirrors;
    }
    plan.size.rules = plan.size.rules.min(plan.size.services);
    plan.proxies = args.proxies.unwrap_or(plan.proxies);
    plan.repeats = args.repeats.unwrap_or(plan.repeats);
    let folder = tempfile::Builder::new().prefix("umbra-load").tempdir()?;
    let world = World::new(&folder.path().join("mesh"), plan.size);
    world.write()?;
    let launch = Launch {
        program: program(args.umbra.as_deref())?,
        folder: folder.path().join("mesh"),
        log: folder.path().join("umbra.log"),
        tls: args.tls.as_ref().map(|folder| (folder.join("tls.crt"), folder.join("tls.key"))),
        arguments: args.arguments.clone(),
    };
    let server = Server::start(&launch).await?;
    let mut fleet = args.manner.fleet(plan.size.namespaces)?;
    fleet.add(plan.proxies, Mode::Normal)?;
    fleet.add(args.slow, Mode::Slow)?;
    fleet.add(args.nacking, Mode::Nacks(crate::kind::Kind::Rds))?;
    fleet.add(args.flapping, Mode::Flaps(Duration::from_secs(1)))?;
    let mut bench = Bench { plan, world, fleet, server, launch, tls: args.tls.clone(), rows: Vec::new() };
    bench.events(&args.only).await?;
    let report = Report::new(args, &bench);
    report.print(json)?;
    if let Some(file) = &args.renew {
        report.renew(file, &format!("<!-- bench {:?} {} -->", args.scenario, args.manner.variant()))?;
    }
    if let Some(file) = &args.write_baseline {
        baseline::write(file, &report)?;
    }
    match &args.baseline {
        Some(file) => baseline::compare(file, &report),
        None => Ok(true),
    }
}

fn program(given: Option<&Path>) -> Result<PathBuf> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    let own = std::env::current_exe()?;
    let beside = own.parent().context("a program is in a folder")?.join("umbra");
    beside.exists().then_some(beside).context("there is no umbra beside this program: name it with --umbra")
}
