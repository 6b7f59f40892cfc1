//! Arguments of `umbra plan`.

use std::path::PathBuf;

use clap::Args;
use clap::builder::BoolishValueParser;

use super::Output;

const PLAN_HELP: &str = "\
Nothing is applied. Without --proxy a sidecar is looked at for each namespace, for the labels of each Pod and for all
sourceLabels, and a gateway for each selector.
Exit code: 0 nothing changes, 2 something changes, 1 it failed (wrong usage too).
  umbra plan new-rule.yaml --dir mesh
  umbra plan --delete old-rule.yaml --dir mesh
  umbra plan new-rule.yaml --server 127.0.0.1:15014
  umbra plan --prune pull-request/mesh --dir main/mesh";

/// Arguments of `umbra plan`.
#[derive(Debug, Args)]
#[command(after_help = PLAN_HELP)]
pub struct PlanArgs {
    /// Files and folders that would be applied; - is standard input
    #[arg(value_name = "FILE", required_unless_present = "delete")]
    pub files: Vec<PathBuf>,
    /// Files and folders whose objects would be deleted
    #[arg(long, env = "UMBRA_DELETE", value_name = "FILE", value_delimiter = ',')]
    pub delete: Vec<PathBuf>,
    /// The files are all there is: what is in the mesh and not among them would be deleted
    #[arg(long, env = "UMBRA_PRUNE", value_parser = BoolishValueParser::new(), conflicts_with = "delete")]
    pub prune: bool,
    /// The folder of manifests that are in force (or one file)
    #[arg(long, env = "UMBRA_DIR", value_name = "PATH", required_unless_present = "server")]
    pub dir: Option<PathBuf>,
    /// Instead, the --admin of a running umbra, such as 127.0.0.1:15014: its objects, and the proxies that are connected to it
    #[arg(short, long, env = "UMBRA_API_SERVER", value_name = "HOST:PORT", conflicts_with_all = ["prune", "proxy", "config"])]
    pub server: Option<String>,
    /// Only these proxies: sidecar/NS/k=v[,k=v] or router/NS/k=v[,k=v]; may be repeated
    #[arg(long, env = "UMBRA_PROXY", value_name = "PROXY")]
    pub proxy: Vec<String>,
    /// The settings file umbra.yaml; none is read otherwise
    #[arg(long, env = "UMBRA_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Lines for people or JSON for tools
    #[arg(short, long, env = "UMBRA_OUTPUT", value_name = "FORM", default_value = "text")]
    pub output: Output,
}
