//! The verbs of the command line.

mod ask;
mod bootstrap;
mod capture;
mod crds;
mod dump;
mod explain;
mod http;
mod inject;
mod judge;
mod plan;
mod prepare;
mod proxy;
mod stop;
mod validate;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory, FromArgMatches};
use clap_complete::Shell;
use serde_json::json;

use crate::cli::{Cli, Command, Output, ServeArgs};
use crate::config::{Config, Options};
use crate::failure::{self, usage};
use crate::serve::Setup;
use crate::supervise::Fault;
use crate::{logging, serve};

use ask::{mirrors, proxies};
use bootstrap::bootstrap;
use capture::capture;
use crds::crds;
use dump::dump;
use explain::explain;
use inject::inject;
use judge::judge;
use plan::plan;
use prepare::prepare;
use validate::validate;

/// Does what the command line says.
pub fn run() -> ExitCode {
    let matches = match Cli::command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) if error.use_stderr() && asks_for_plan() => {
            // 2 says that something changes.
            let _ = error.print();
            return ExitCode::FAILURE;
        }
        Err(error) => error.exit(),
    };
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let arguments = matches.subcommand().map_or(&matches, |(_, arguments)| arguments);
    let result = match cli.command {
        Command::Serve(args) => serve(*args, arguments),
        Command::Bootstrap(args) => bootstrap(&args),
        Command::Validate(args) => validate(&args),
        Command::Dump(args) => dump(&args),
        Command::Explain(args) => explain(&args),
        Command::Plan(args) => plan(&args),
        Command::Proxies(args) => proxies(&args),
        Command::Mirrors(args) => mirrors(&args),
        Command::Stop(args) => stop::stop(&args),
        Command::Resume(args) => stop::resume(&args),
        Command::Judge(args) => judge(&args),
        Command::Inject(args) => inject(&args),
        Command::Prepare(args) => prepare(&args),
        Command::Capture(args) => capture(&args),
        Command::Crds => crds(),
        Command::Version(args) => version(args.output),
        Command::Completion { shell } => completion(shell),
    };
    result.unwrap_or_else(|error| failure::tell(&error))
}

/// Whether the verb is `plan`, also where the rest cannot be understood.
fn asks_for_plan() -> bool {
    std::env::args_os().nth(1).is_some_and(|verb| verb == "plan")
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

/// `umbra serve`, with its arguments as clap has them.
fn serve(args: ServeArgs, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let config = load_config(args.config.as_deref())?;
    let options = Options::merge(config.options.clone(), matches)?;
    // Till the end of the process: then what is still in its queue is written.
    let (_queue, lost) =
        logging::start(options.log(), options.log_format.unwrap_or_default()).map_err(usage)?;
    let setup = Setup { options, config_file: args.config, config, lost, fault: fault(), ..Setup::default() };
    let runtime = tokio::runtime::Runtime::new()?;
    let result = runtime.block_on(serve::run(setup));
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
