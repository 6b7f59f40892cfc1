//! The verbs of the command line.

mod ask;
mod bootstrap;
mod crds;
mod dump;
mod proxy;
mod validate;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use clap_complete::Shell;
use serde_json::json;

use crate::cli::{Cli, Command, Output, ServeArgs};
use crate::config::{self, Config};
use crate::failure::{self, usage};
use crate::supervise::Fault;
use crate::{logging, serve};

use ask::{mirrors, proxies};
use bootstrap::bootstrap;
use crds::crds;
use dump::dump;
use validate::validate;

/// Does what the command line says.
pub fn run() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(args) => serve(args),
        Command::Bootstrap(args) => bootstrap(&args),
        Command::Validate(args) => validate(&args),
        Command::Dump(args) => dump(&args),
        Command::Proxies(args) => proxies(&args),
        Command::Mirrors(args) => mirrors(&args),
        Command::Crds => crds(),
        Command::Version(args) => version(args.output),
        Command::Completion { shell } => completion(shell),
    };
    result.unwrap_or_else(|error| failure::tell(&error))
}

/// The settings of `--config`.
fn load_config(path: Option<&Path>) -> anyhow::Result<Config> {
    Config::load(path).map_err(usage)
}

/// Writes a result to standard output.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// `umbra serve`.
fn serve(args: ServeArgs) -> anyhow::Result<ExitCode> {
    let config = load_config(args.config.as_deref())?;
    let level = args.log.as_deref().or(config.options.log.as_deref()).unwrap_or("info");
    let format = args.log_format.or(config.options.log_format).unwrap_or_default();
    logging::start(level, format).map_err(usage)?;
    let flags = config::Options {
        dir: args.dir,
        xds: args.xds,
        xds_tls: args.xds_tls,
        tls_cert: args.tls_cert,
        tls_key: args.tls_key,
        tls_client_ca: args.tls_client_ca,
        admin: args.admin,
        probe: args.probe,
        api: args.api,
        peers: args.peers,
        kubeconfig: args.kubeconfig,
        in_cluster: Some(args.in_cluster),
        watch_namespaces: args.watch_namespaces,
        watch_selector: args.watch_selector,
        ..Default::default()
    };
    let mut options = serve::options(flags, args.config, config).map_err(usage)?;
    options.fault = fault();
    let runtime = tokio::runtime::Runtime::new()?;
    let result = runtime.block_on(serve::run(options));
    // The watching thread ends by itself; nothing worth waiting for is left.
    runtime.shutdown_background();
    result.map(|()| ExitCode::SUCCESS)
}

/// What a test makes fail. No program that is made for use listens to it.
fn fault() -> Option<Fault> {
    if !cfg!(debug_assertions) {
        return None;
    }
    std::env::var("UMBRA_TEST_FAULT").ok().and_then(|text| Fault::parse(&text))
}

/// `umbra version`.
fn version(output: Output) -> anyhow::Result<ExitCode> {
    let version = env!("CARGO_PKG_VERSION");
    match output {
        Output::Text => print(&format!("umbra {version}\n"))?,
        Output::Json => print(&format!("{}\n", json!({ "version": version })))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// `umbra completion`.
fn completion(shell: Shell) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "umbra", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}
