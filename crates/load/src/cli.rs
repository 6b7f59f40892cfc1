//! What people type.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand, ValueEnum};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::bench::{self, BenchArgs, MannerArgs};
use crate::fleet::Mode;
use crate::kind::Kind;
use crate::stream::{Target, trust};
use crate::world::{Size, World};

const EXAMPLES: &str = "\
Examples:
  umbra-load bench                                   # 100 services, 100 proxies: the table in a minute
  umbra-load bench --scenario M --only cold,endpoint # 1000 services, 1000 proxies, two of the changes
  umbra-load bench --sotw -o json > sotw.json
  umbra-load world /tmp/mesh --services 500          # the mesh alone, as files for `umbra serve --dir`
  umbra-load proxies --server 127.0.0.1:15010 -n 1000 --seconds 60";

/// Thousands of proxies in one process: what a change costs umbra until the last of them has taken it.
///
/// Each proxy speaks ADS as Envoy does (delta or state of the world, all clusters and listeners, endpoints and routes by
/// name, ACKs withheld while clusters warm) and has no data plane.
#[derive(Debug, Parser)]
#[command(name = "umbra-load", version, after_help = EXAMPLES, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    command: Command,
    /// How results are printed
    #[arg(short, long, value_enum, default_value = "table", global = true)]
    output: Output,
}

/// The verbs.
#[derive(Debug, Subcommand)]
enum Command {
    /// Start umbra on a generated mesh, connect proxies, change things, print what each change cost
    Bench(Box<BenchArgs>),
    /// Connect proxies to a server that runs already, and print what they are told
    Proxies(ProxiesArgs),
    /// Write a generated mesh
    World {
        /// Where to; the folder need not exist
        folder: PathBuf,
        /// How large
        #[command(flatten)]
        size: Size,
    },
}

/// How results are printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Output {
    /// For people
    Table,
    /// For tools
    Json,
}

#[derive(Debug, Args)]
struct ProxiesArgs {
    /// The server's xDS port
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:15010")]
    server: String,
    /// Connect over TLS: the authorities that its certificate must come from
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// The name that its certificate must have; the server's host unless told otherwise
    #[arg(long, value_name = "NAME", requires = "tls_ca")]
    tls_name: Option<String>,
    /// How many proxies
    #[arg(short = 'n', long, default_value_t = 100)]
    count: usize,
    /// Over how many namespaces (ns-0, ns-1, ...) they are spread
    #[arg(long, default_value_t = 1)]
    namespaces: usize,
    /// As many more that stop reading once they were served
    #[arg(long, default_value_t = 0, value_name = "N")]
    slow: usize,
    /// As many more that reject every response of the type --nack
    #[arg(long, default_value_t = 0, value_name = "N")]
    nacking: usize,
    /// What those reject: rtds, cds, eds, lds, rds or vhds
    #[arg(long, default_value = "rds", value_parser = Kind::parse)]
    nack: Kind,
    /// As many more that connect anew every second
    #[arg(long, default_value_t = 0, value_name = "N")]
    flapping: usize,
    /// How long they stay after they are in step, a line each second; 0: until interrupted
    #[arg(long, default_value_t = 0)]
    seconds: u64,
    /// How proxies behave.
    #[command(flatten)]
    manner: MannerArgs,
}

/// Does what was asked; whether nothing is worse than it may be.
///
/// # Errors
/// When it cannot be done.
pub fn run(cli: Cli) -> Result<bool> {
    let json = cli.output == Output::Json;
    match cli.command {
        Command::World { folder, size } => World::new(&folder, size).write().map(|()| true),
        Command::Bench(args) => on_one_thread(bench::run(&args, json)),
        Command::Proxies(args) => on_one_thread(proxies(&args, json)).map(|()| true),
    }
}

fn on_one_thread<T>(what: impl Future<Output = Result<T>>) -> Result<T> {
    let limit = getrlimit(Resource::Nofile);
    // A socket for each proxy; where it cannot be raised, connecting says so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, what)
}

async fn proxies(args: &ProxiesArgs, json: bool) -> Result<()> {
    let found = tokio::net::lookup_host(&args.server).await.with_context(|| args.server.clone())?.next();
    let address = found.with_context(|| format!("{} has no address", args.server))?;
    let host = args.server.rsplit_once(':').map_or(args.server.as_str(), |(host, _)| host);
    let name = args.tls_name.as_deref().unwrap_or(host);
    let tls = args.tls_ca.as_ref().map(|file| trust(file, name)).transpose()?;
    let mut fleet = args.manner.fleet(args.namespaces)?;
    fleet.add(args.count, Mode::Normal)?;
    fleet.add(args.slow, Mode::Slow)?;
    fleet.add(args.nacking, Mode::Nacks(args.nack))?;
    fleet.add(args.flapping, Mode::Flaps(Duration::from_secs(1)))?;
    let start = fleet.open(Target { address, tls });
    let done = fleet.wait(Duration::from_secs(600)).await?;
    let last = done.into_iter().max().unwrap_or(start).saturating_duration_since(start);
    let say = |what: &str, seconds: f64| {
        let counts = fleet.take_counts();
        if json {
            let counts = serde_json::json!({
                "event": what, "seconds": seconds, "bytes": counts.all_bytes(), "messages": counts.all_messages(),
                "requests": counts.requests, "requestBytes": counts.request_bytes, "streamsEnded": counts.ended,
                "held": fleet.held(),
            });
            println!("{counts}");
        } else {
            println!(
                "{what} {seconds:.2} s: {} bytes in {} responses, {} requests, {} streams ended {}; each holds {:?}",
                counts.all_bytes(),
                counts.all_messages(),
                counts.requests,
                counts.ended,
                counts.reason,
                fleet.held()
            );
        }
    };
    say("in step after", last.as_secs_f64());
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.tick().await;
    for second in 1.. {
        tokio::select! {
            _ = ticks.tick() => say("second", second as f64),
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
        if second == args.seconds {
            break;
        }
    }
    fleet.compare()
}
