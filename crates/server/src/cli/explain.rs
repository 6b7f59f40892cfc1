//! Arguments of `umbra explain`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;

use super::Output;

const EXPLAIN_HELP: &str = "\
Exit code: 0 somebody answers the request (a service, or the rule itself), 3 nobody takes it (no listener, virtual host
or route; it is refused), 4 it is forwarded, but nobody is there (no such cluster, or nobody ready), 5 it cannot be
judged, 1 umbra failed (with --expect: something is otherwise than it should be), 2 wrong usage.
  umbra explain http://httpbin:8000/headers --from sidecar/default/app=sleep --dir mesh -H 'x-user: tester'
  umbra explain POST https://shop.example.com/cart --from router/istio-system/istio=ingressgateway --dir mesh
  umbra explain --expect routing.yaml --dir mesh
At a gateway, --port is the port on which its proxy listens, when clients reach it by another one.";

/// Arguments of `umbra explain`.
#[derive(Debug, Args)]
#[command(after_help = EXPLAIN_HELP, override_usage = "umbra explain [METHOD] URL --from PROXY {--dir PATH|--server HOST:PORT} [OPTIONS]\n       umbra explain --expect FILE {--dir PATH|--server HOST:PORT} [OPTIONS]")]
pub struct ExplainArgs {
    /// The request: a URL such as http://httpbin:8000/headers, behind its method unless that is GET
    #[arg(value_name = "[METHOD] URL", num_args = 1..=2, required_unless_present = "expect", conflicts_with = "expect")]
    pub request: Vec<String>,
    /// A header of the request; may be repeated, Host goes in the place of the URL's host
    #[arg(short = 'H', long = "header", env = "UMBRA_HEADER", value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
    /// Whose proxy the request meets: sidecar/NS/k=v[,k=v] or router/NS/k=v[,k=v]
    #[arg(long, env = "UMBRA_FROM", value_name = "PROXY")]
    pub from: Option<String>,
    /// The port that the client connects to [default: the URL's]
    #[arg(long, env = "UMBRA_PORT", value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// The address that it connects to, where that decides: at a captured sidecar
    #[arg(long, env = "UMBRA_ADDRESS", value_name = "IP")]
    pub address: Option<IpAddr>,
    /// The folder of manifests (or one file; - is standard input)
    #[arg(long, env = "UMBRA_DIR", value_name = "PATH", required_unless_present = "server")]
    pub dir: Option<PathBuf>,
    /// Instead, the --admin of a running umbra, such as 127.0.0.1:15014: --from is then a connected proxy, also by its node id
    /// or as POD.NAMESPACE
    #[arg(short, long, env = "UMBRA_API_SERVER", value_name = "HOST:PORT")]
    pub server: Option<String>,
    /// Requests and what must become of them, as YAML: see docs/cli.md
    #[arg(long, env = "UMBRA_EXPECT", value_name = "FILE")]
    pub expect: Option<PathBuf>,
    /// The settings file umbra.yaml; none is read otherwise
    #[arg(long, env = "UMBRA_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Lines for people or JSON for tools
    #[arg(short, long, env = "UMBRA_OUTPUT", value_name = "FORM", default_value = "text")]
    pub output: Output,
}
