//! What people type.

use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::config::options::{self, Options};

mod explain;
mod judge;
mod plan;

pub use explain::ExplainArgs;
pub use judge::JudgeArgs;
pub use plan::PlanArgs;

const EXAMPLES: &str = "\
Try it:
  umbra serve --dir deploy/examples/httpbin-mirror/mesh
  umbra bootstrap --proxy sidecar/default/app=sleep --server 127.0.0.1:15010 > envoy.yaml
  envoy -c envoy.yaml --service-node sleep-1 --service-cluster sleep

See what a proxy would get, and what is wrong with your rules, without any server:
  umbra validate deploy/examples/httpbin-mirror/mesh
  umbra dump --dir deploy/examples/httpbin-mirror/mesh --proxy sidecar/default/app=sleep --type rds,rtds";

/// A control plane for traffic mirroring: Istio's VirtualServices in, configuration for stock Envoy out.
///
/// Every option can also be given as an environment variable (named behind it), and those of `serve` in
/// umbra.yaml (see `umbra serve --help`). An option wins over its variable, and both win over the file.
#[derive(Debug, Parser)]
#[command(name = "umbra", version, after_help = EXAMPLES, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve proxies from a cluster or a directory of YAML, until SIGTERM or SIGINT
    Serve(Box<ServeArgs>),
    /// Print a complete bootstrap for a stock Envoy
    Bootstrap(BootstrapArgs),
    /// Check files: every mistake, with file and line
    Validate(ValidateArgs),
    /// Print what a proxy would get; no server needed
    Dump(DumpArgs),
    /// Tell what becomes of a request, and why; or hold a list of requests to what must become of them
    Explain(ExplainArgs),
    /// Tell what would change if files were applied or deleted, for which proxies
    Plan(PlanArgs),
    /// List the proxies that are connected to running replicas, and how far each has come
    Proxies(AskArgs),
    /// List the mirrors of running replicas: target, share, endpoints, and on how many proxies each is live
    Mirrors(AskArgs),
    /// Stop mirrors: their shares become 0 on all proxies at once, and stay so until they are resumed
    Stop(StopArgs),
    /// Let mirrors that were stopped go on
    Resume(StopArgs),
    /// Compare what shadows answer with what their primaries answer, for verdicts on contents, until SIGTERM or SIGINT
    #[command(after_help = judge::HELP)]
    Judge(JudgeArgs),
    /// Print manifests with an Envoy in their Pods, for kubectl apply -f -
    #[command(alias = "kube-inject")]
    Inject(InjectArgs),
    /// Do what the init container of an injected Pod has to: write the bootstrap, apply the rules of capture
    Prepare(PrepareArgs),
    /// Print, or apply, the rules that lead a Pod's calls to its sidecar
    Capture(CaptureArgs),
    /// Print the definitions (CRDs) of the kinds that a cluster must know; kubectl apply --server-side -f - takes them
    Crds,
    /// Print the version
    Version(VersionArgs),
    /// Print a completion script for a shell
    Completion {
        /// Which shell
        shell: Shell,
    },
}

/// How results are printed for machines and people.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Output {
    /// Lines for people
    Text,
    /// JSON for tools
    Json,
}

/// How resources are printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum DumpOutput {
    /// YAML, easier to read
    Yaml,
    /// JSON for tools
    Json,
}

/// What `umbra.yaml` may say. The options are listed from their declaration.
fn serve_help() -> String {
    let keys = options::declared()
        .iter()
        .map(|it| format!("\n  {}: {}", options::key(it), options::value(it)))
        .collect::<String>();
    format!(
        "\
umbra.yaml (--config), all keys optional, unknown keys refused, reloaded when it changes:
  rootNamespace: istio-system
  clusterDomain: cluster.local
  mirror:
    shadowSuffix: true            # Host: httpbin-shadow:8000
    maxStreamDuration: 60s        # how long one copy may take
    circuitBreakers: {{maxConnections: 1024, maxPendingRequests: 1024, maxRequests: 1024, maxRetries: 3}}
    mark: false                   # true: copies say by the header x-shadow of which mirror they are
    deadMan: 0s                   # such as 10m: proxies that do not hear of umbra for so long copy nothing
    observe: true                 # count what becomes of copies and of their originals
  outboundTrafficPolicy: {{mode: ALLOW_ANY}}  # or REGISTRY_ONLY: captured connections to what nobody defines end
  hostOwnership: open             # or own, consent: whose rules count for calls to another namespace's services
  istioCompatible: false          # true: as Istio where a destination names no port, and DestinationRules differ in exportTo
  istioMetrics: true              # istio_requests_total and its like in /metrics, of the destinations of rules
  routeTables: hosts              # or plain: whole route tables also for Envoys that take virtual hosts as resources
  gatewayTopology: {{numTrustedProxies: 0}}   # proxies before every gateway whose x-forwarded-* are believed
  accessLog: {{path: \"\", format: json, copies: false}}   # e.g. /dev/stdout; empty: none; format json or text; copies: marked ones too
and, read at the start only, the options of this command:{keys}"
    )
}

/// Arguments of `umbra serve`.
#[derive(Debug, Args)]
#[command(after_help = serve_help())]
pub struct ServeArgs {
    /// The settings file umbra.yaml; none is read otherwise
    #[arg(long, env = "UMBRA_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The others.
    #[command(flatten)]
    pub options: Options,
}

const PROXY_FORM: &str = "\
A proxy is written as KIND/NAMESPACE[/LABEL=VALUE,...], for example
  sidecar/default/app=sleep     beside an application, for its calls
  router/istio-system/istio=ingressgateway     a gateway";

/// Arguments of `umbra bootstrap`.
#[derive(Debug, Args)]
#[command(after_help = PROXY_FORM)]
pub struct BootstrapArgs {
    /// What the Envoy is: sidecar/NS/k=v[,k=v] or router/NS/k=v[,k=v]
    #[arg(long, env = "UMBRA_PROXY", value_name = "PROXY")]
    pub proxy: String,
    /// Where umbra is, as the Envoy reaches it
    #[arg(long, env = "UMBRA_SERVER", value_name = "HOST:PORT", default_value = "127.0.0.1:15010")]
    pub server: String,
    /// How calls reach the sidecar: NONE, it listens on 127.0.0.1; REDIRECT, they are captured (see umbra capture)
    #[arg(long, env = "UMBRA_INTERCEPTION_MODE", value_name = "MODE", default_value = "NONE")]
    pub interception_mode: String,
    /// Write this node id into the file; without it, start Envoy with --service-node, one id for each replica
    #[arg(long, env = "UMBRA_NODE_ID", value_name = "ID")]
    pub node_id: Option<String>,
    /// Connect over TLS and take only a certificate from these authorities: a file on the Envoy's machine (PEM)
    #[arg(long, env = "UMBRA_TLS_CA", value_name = "FILE", visible_alias = "ca")]
    pub tls_ca: Option<String>,
    /// The Envoy's own certificate, for mutual TLS: a file on its machine (PEM); needs --tls-key and --tls-ca
    #[arg(long, env = "UMBRA_TLS_CERT", value_name = "FILE", requires = "tls_key", requires = "tls_ca")]
    pub tls_cert: Option<String>,
    /// The private key of that certificate
    #[arg(long, env = "UMBRA_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<String>,
    /// The name (SNI) to ask for and to find in the certificate [default: the host of --server]
    #[arg(long, env = "UMBRA_TLS_NAME", value_name = "NAME", requires = "tls_ca")]
    pub tls_name: Option<String>,
    /// Prove who it is by the token in this file on the Envoy's machine, as a projected volume of audience umbra holds it;
    /// needs --tls-ca, since nobody else may read it on its way
    #[arg(long, env = "UMBRA_TOKEN", value_name = "FILE", requires = "tls_ca")]
    pub token: Option<String>,
    /// The file on the Envoy's machine that leads it to the token; Envoy does not start without it
    #[arg(
        long,
        env = "UMBRA_TOKEN_SECRET",
        value_name = "FILE",
        default_value = "/etc/envoy/token-secret.json"
    )]
    pub token_secret: String,
    /// Print that file instead of the bootstrap
    #[arg(long, env = "UMBRA_PRINT_TOKEN_SECRET", requires = "token", value_parser = BoolishValueParser::new())]
    pub print_token_secret: bool,
    /// Envoy's own admin address
    #[arg(long, env = "UMBRA_ENVOY_ADMIN", value_name = "ADDR", default_value = "127.0.0.1:15000")]
    pub envoy_admin: String,
    /// Answer /ready and /stats/prometheus there, for kubelets and Prometheus on a pod's network [default: nowhere]
    #[arg(long, env = "UMBRA_ENVOY_READY", value_name = "ADDR")]
    pub envoy_ready: Option<String>,
    /// Into how many layers the runtime is divided, 1, 8 or 64: of more, a changed percentage is a smaller message, and Envoy starts
    /// later when there are thousands of mirrors
    #[arg(long, env = "UMBRA_RUNTIME_LAYERS", value_name = "COUNT", default_value = "64", value_parser = runtime_digits)]
    pub runtime_layers: u32,
    /// Leave out the statistics of mirrors that the Envoy would send to umbra every five seconds (for Envoys before 1.40)
    #[arg(long, env = "UMBRA_NO_OBSERVE", value_parser = BoolishValueParser::new())]
    pub no_observe: bool,
    /// Be able to tell umbra of requests that are judged (annotation umbra.io/verdicts): log filters that say no, and a connection
    /// for lines (for Envoys of 1.40 and later)
    #[arg(long, env = "UMBRA_VERDICTS", value_parser = BoolishValueParser::new())]
    pub verdicts: bool,
    /// Be able to show a judge what judged requests and their copies are answered (annotation umbra.io/contents): where it is, as the
    /// Envoy reaches it, over TLS where umbra is; needs --verdicts
    #[arg(long, env = "UMBRA_JUDGE", value_name = "HOST:PORT", requires = "verdicts")]
    pub judge: Option<String>,
    /// The form of the bootstrap; Envoy reads both
    #[arg(short, long, env = "UMBRA_OUTPUT", value_name = "FORM", default_value = "yaml")]
    pub output: DumpOutput,
}

/// The number of octal digits that so many layers are told apart by.
fn runtime_digits(text: &str) -> Result<u32, String> {
    match text {
        "1" => Ok(0),
        "8" => Ok(1),
        "64" => Ok(2),
        _ => Err("expected 1, 8 or 64".to_owned()),
    }
}

const INJECT_HELP: &str = "\
The settings are those of the key `injection` of umbra.yaml. A Pod that cannot have a sidecar stays as it is, and
standard error says why. What is not changed stays as it is byte for byte; a second time changes nothing.
Exit code: 0 done, 1 a manifest is no YAML, 2 wrong usage (a file that cannot be read included).
  umbra inject -f deployment.yaml | kubectl apply -f -";

/// Arguments of `umbra inject`.
#[derive(Debug, Args)]
#[command(after_help = INJECT_HELP)]
pub struct InjectArgs {
    /// Manifests: files, and folders with *.yaml, *.yml and *.json; - is standard input
    #[arg(
        short,
        long = "filename",
        env = "UMBRA_FILENAME",
        value_name = "FILE",
        value_delimiter = ',',
        required = true
    )]
    pub filenames: Vec<PathBuf>,
    /// Write there [default: standard output]
    #[arg(short, long, env = "UMBRA_INJECT_OUTPUT", value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The namespace of objects that name none
    #[arg(short, long, env = "UMBRA_NAMESPACE", value_name = "NS", default_value = "default")]
    pub namespace: String,
    /// The settings file umbra.yaml; none is read otherwise
    #[arg(long, env = "UMBRA_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// umbra's own image, for the init container [default: the settings' `injection.image`]
    #[arg(long, env = "UMBRA_IMAGE", value_name = "IMAGE")]
    pub image: Option<String>,
    /// Where umbra is, as Pods reach it [default: the settings' `injection.server`; with --ca its port 15012]
    #[arg(long, env = "UMBRA_SERVER", value_name = "HOST:PORT")]
    pub server: Option<String>,
    /// The authorities of umbra's certificate (PEM): sidecars connect over TLS, and prove whose they are by a token [default: the settings' `injection.caFile`]
    #[arg(long, env = "UMBRA_TLS_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,
}

/// Arguments of `umbra prepare`.
#[derive(Debug, Args)]
pub struct PrepareArgs {
    /// Where umbra is, as the Pod reaches it
    #[arg(long, env = "UMBRA_SERVER", value_name = "HOST:PORT")]
    pub server: String,
    /// The Pod's namespace
    #[arg(long, env = "UMBRA_NAMESPACE", value_name = "NS")]
    pub namespace: String,
    /// The Pod's addresses, its first one first
    #[arg(long, env = "UMBRA_ADDRESS", value_name = "IP,...", value_delimiter = ',', required = true)]
    pub address: Vec<std::net::IpAddr>,
    /// The folder where the downward API has the files `labels` and `annotations`
    #[arg(long, env = "UMBRA_POD_INFO", value_name = "DIR")]
    pub pod_info: PathBuf,
    /// Where to write the bootstrap
    #[arg(long, env = "UMBRA_BOOTSTRAP", value_name = "FILE")]
    pub bootstrap: PathBuf,
    /// The authorities that umbra's certificate must come from (PEM, not a file): connect over TLS
    #[arg(long, env = "UMBRA_CA", value_name = "PEM", allow_hyphen_values = true)]
    pub ca: Option<String>,
    /// Where the sidecar has its token: over TLS it proves by it whose Pod it is in
    #[arg(long, env = "UMBRA_TOKEN", value_name = "FILE", requires = "ca")]
    pub token: Option<String>,
    /// Be able to tell umbra of requests that are judged (for Envoys of 1.40 and later)
    #[arg(long, env = "UMBRA_VERDICTS", value_parser = BoolishValueParser::new())]
    pub verdicts: bool,
    /// Be able to show a judge, which is there, what judged requests and their copies are answered; needs --verdicts
    #[arg(long, env = "UMBRA_JUDGE", value_name = "HOST:PORT", requires = "verdicts")]
    pub judge: Option<String>,
    /// The rules of capture.
    #[command(flatten)]
    pub rules: CaptureRules,
}

const CAPTURE_HELP: &str = "\
Outbound TCP of every user but 1337 (the sidecar's) is led to port 15001. What is not given as an option, and what a Pod
says in --annotations, has the names of Istio: an annotation wins over the option of the same name.
Exit code: 0 printed or applied, 1 neither nft nor iptables could apply it, 2 wrong usage or a value that cannot be.";

/// Arguments of `umbra capture`.
#[derive(Debug, Args)]
#[command(after_help = CAPTURE_HELP)]
pub struct CaptureArgs {
    /// Apply the rules in this network namespace, instead of printing them; needs NET_ADMIN
    #[arg(long, env = "UMBRA_APPLY", value_parser = BoolishValueParser::new())]
    pub apply: bool,
    /// A file with a Pod's annotations, as the downward API writes it (key=\"value\" lines)
    #[arg(long, env = "UMBRA_ANNOTATIONS", value_name = "FILE")]
    pub annotations: Option<PathBuf>,
    /// The rules.
    #[command(flatten)]
    pub rules: CaptureRules,
}

/// What is captured, and by whom.
#[derive(Debug, Args)]
pub struct CaptureRules {
    /// Who is given the rules; auto: nft, and iptables where nft is missing or its kernel's nat
    #[arg(long, env = "UMBRA_CAPTURE_BACKEND", value_name = "PROGRAM", default_value = "auto")]
    pub backend: CaptureBackend,
    /// REDIRECT, or NONE: nothing is captured [default: REDIRECT]
    #[arg(long, env = "UMBRA_INTERCEPTION_MODE", value_name = "MODE")]
    pub interception_mode: Option<String>,
    /// Addresses that are captured: ranges such as 10.0.0.0/8, or * for all [default: *]
    #[arg(long, env = "UMBRA_INCLUDE_OUTBOUND_IP_RANGES", value_name = "CIDR,...")]
    pub include_outbound_ip_ranges: Option<String>,
    /// Addresses that are not
    #[arg(long, env = "UMBRA_EXCLUDE_OUTBOUND_IP_RANGES", value_name = "CIDR,...")]
    pub exclude_outbound_ip_ranges: Option<String>,
    /// Ports that are captured also at addresses that are not included
    #[arg(long, env = "UMBRA_INCLUDE_OUTBOUND_PORTS", value_name = "PORT,...")]
    pub include_outbound_ports: Option<String>,
    /// Ports that are not captured anywhere
    #[arg(long, env = "UMBRA_EXCLUDE_OUTBOUND_PORTS", value_name = "PORT,...")]
    pub exclude_outbound_ports: Option<String>,
    /// Interfaces by which calls leave uncaptured
    #[arg(long, env = "UMBRA_EXCLUDE_INTERFACES", value_name = "NAME,...")]
    pub exclude_interfaces: Option<String>,
}

/// Who applies the rules of capture.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum CaptureBackend {
    /// The first of the others that can
    #[default]
    Auto,
    /// `nft -f -`
    Nft,
    /// iptables-restore and ip6tables-restore
    Iptables,
}

const VALIDATE_HELP: &str = "\
Several folders are several worlds: what one of them says does not count in another. Files, and standard input, belong to
each of them. --together makes one world of all.
Exit code: 0 nothing as bad as --fail-on says, 1 something that is, 2 wrong usage (a path that cannot be read included).
What another object may still supply, such as an unknown host or subset, is a warning.";

/// Arguments of `umbra validate`.
#[derive(Debug, Args)]
#[command(after_help = VALIDATE_HELP)]
pub struct ValidateArgs {
    /// Files and folders, each folder a world of its own; - is standard input
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// All folders are one world
    #[arg(long, env = "UMBRA_TOGETHER", value_parser = BoolishValueParser::new())]
    pub together: bool,
    /// End with 1 when something is found that is at least so bad
    #[arg(long, env = "UMBRA_FAIL_ON", value_name = "SEVERITY", default_value = "error")]
    pub fail_on: FailOn,
    /// The settings file umbra.yaml; none is read otherwise
    #[arg(long, env = "UMBRA_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Lines for people, or one of the forms that tools read
    #[arg(short, long, env = "UMBRA_OUTPUT", value_name = "FORM", default_value = "text")]
    pub output: ValidateOutput,
}

/// How findings are printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum ValidateOutput {
    /// Lines for people, with what they are about
    Text,
    /// JSON for tools
    Json,
    /// SARIF 2.1.0, for code scanners
    Sarif,
    /// Annotations for a GitHub workflow's log
    Github,
}

/// From which severity on `umbra validate` fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum FailOn {
    /// Errors alone
    Error,
    /// Errors and warnings
    Warning,
    /// Whatever is found
    Info,
    /// Nothing
    Never,
}

/// Arguments of `umbra dump`.
#[derive(Debug, Args)]
#[command(after_help = PROXY_FORM)]
pub struct DumpArgs {
    /// The folder of manifests (or one file; - is standard input)
    #[arg(long, env = "UMBRA_DIR", value_name = "PATH")]
    pub dir: PathBuf,
    /// What the proxy is: sidecar/NS/k=v[,k=v] or router/NS/k=v[,k=v]
    #[arg(long, env = "UMBRA_PROXY", value_name = "PROXY", required_unless_present = "node")]
    pub proxy: Option<String>,
    /// Its xDS node instead, as JSON: {"id": ..., "metadata": {...}}
    #[arg(long, env = "UMBRA_NODE", value_name = "FILE", conflicts_with = "proxy")]
    pub node: Option<PathBuf>,
    /// Only these resource types
    #[arg(long = "type", env = "UMBRA_TYPE", value_name = "TYPE,...", value_delimiter = ',')]
    pub types: Vec<DumpType>,
    /// The settings file umbra.yaml; none is read otherwise
    #[arg(long, env = "UMBRA_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The form
    #[arg(short, long, env = "UMBRA_OUTPUT", value_name = "FORM", default_value = "yaml")]
    pub output: DumpOutput,
}

/// A resource type on the command line and in metrics.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, ValueEnum)]
pub enum DumpType {
    /// Clusters
    Cds,
    /// Endpoints (load assignments)
    Eds,
    /// Listeners
    Lds,
    /// Routes (route configurations)
    Rds,
    /// Virtual hosts as resources of their own, as Envoy 1.37 and later get them unless `routeTables` is `plain`
    Vhds,
    /// Runtime layers
    Rtds,
    /// Secrets, without private keys
    Sds,
}

const ASK_HELP: &str = "\
A replica knows the proxies that are connected to it: name all replicas, or a name with all their addresses, to see
the whole mesh. From outside a cluster:
  kubectl -n umbra-system port-forward deployment/umbra 15014
In one, as a ServiceAccount that may list VirtualServices (kubectl create token NAME --audience umbra > token):
  umbra mirrors --server umbra-peers.umbra-system.svc:15013 --ca ca.crt --token-file token
Exit code: 0 every replica answered, 1 one or all did not, 2 wrong usage.";

/// How replicas are reached that are asked.
#[derive(Debug, Args)]
pub struct DoorArgs {
    /// Where replicas listen, their --admin or --api; every address of a name is asked
    #[arg(
        short,
        long,
        env = "UMBRA_API_SERVER",
        value_name = "HOST:PORT",
        value_delimiter = ',',
        default_value = "127.0.0.1:15014"
    )]
    pub server: Vec<String>,
    /// Connect over TLS and take only a certificate from these authorities (PEM): what an --api with --api-identity needs
    #[arg(long, env = "UMBRA_API_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// The name to ask for and to find in the certificate [default: the host of --server]
    #[arg(long, env = "UMBRA_API_TLS_NAME", value_name = "NAME", requires = "ca")]
    pub tls_name: Option<String>,
    /// Prove who asks by the token of a ServiceAccount in this file, of audience umbra; needs --ca, since nobody else may read it on its way
    #[arg(long, env = "UMBRA_API_TOKEN_FILE", value_name = "FILE", requires = "ca")]
    pub token_file: Option<PathBuf>,
}

/// Arguments of `umbra proxies` and `umbra mirrors`.
#[derive(Debug, Args)]
#[command(after_help = ASK_HELP)]
pub struct AskArgs {
    /// Where to ask.
    #[command(flatten)]
    pub door: DoorArgs,
    /// Only this namespace [default: all]
    #[arg(short, long, env = "UMBRA_NAMESPACE", value_name = "NS")]
    pub namespace: Option<String>,
    /// Go on with what changes, until interrupted; with -o json one line for each change
    #[arg(short, long, env = "UMBRA_WATCH", value_parser = BoolishValueParser::new())]
    pub watch: bool,
    /// Columns for people, more of them, or JSON for tools
    #[arg(short, long, env = "UMBRA_OUTPUT", value_name = "FORM", default_value = "table")]
    pub output: AskOutput,
}

const STOP_HELP: &str = "\
What to stop is written into the annotation umbra.io/stop of the VirtualService: with your own rights (whoever may patch
it may stop its mirrors), or into its file with --dir. Then it is waited for all proxies. What is stopped stays so, also
over a restart of umbra, until it is resumed.
  umbra stop reviews                  every mirror of that VirtualService in the namespace of your kubeconfig
  umbra stop shop/reviews/canary      those of its rule canary
  umbra stop --all                    everything
Exit code: 0 every proxy has taken it, 1 not every one, or it could not be written, 2 wrong usage.";

/// Arguments of `umbra stop` and `umbra resume`.
#[derive(Debug, Args)]
#[command(after_help = STOP_HELP)]
pub struct StopArgs {
    /// What: NAME or NAMESPACE/NAME of a VirtualService, NAMESPACE/NAME/RULE for a rule of it that has a name, or the runtime
    /// key of one mirror (KEY of `umbra mirrors -o wide`)
    #[arg(value_name = "MIRROR", required_unless_present = "all")]
    pub mirrors: Vec<String>,
    /// Every VirtualService with mirrors, of --namespace or of all
    #[arg(long, env = "UMBRA_ALL", conflicts_with = "mirrors", value_parser = BoolishValueParser::new())]
    pub all: bool,
    /// The namespace of names without one [default: that of the kubeconfig, with --dir default]
    #[arg(short, long, env = "UMBRA_NAMESPACE", value_name = "NS")]
    pub namespace: Option<String>,
    /// How to reach the API server [default: as kubectl, KUBECONFIG or ~/.kube/config]
    #[arg(long, env = "UMBRA_KUBECONFIG", value_name = "FILE", conflicts_with = "dir")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig [default: its current one]
    #[arg(long, env = "UMBRA_CONTEXT", value_name = "NAME", conflicts_with = "dir")]
    pub context: Option<String>,
    /// Write it into the files of this folder, which umbra serves, instead of a cluster
    #[arg(long, env = "UMBRA_DIR", value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Have umbra write it, at --server and for whom the token is of, where there is no way to the API server
    #[arg(
        long,
        env = "UMBRA_BY_UMBRA",
        conflicts_with_all = ["dir", "kubeconfig", "context"],
        value_parser = BoolishValueParser::new()
    )]
    pub by_umbra: bool,
    /// Where to ask.
    #[command(flatten)]
    pub door: DoorArgs,
    /// How long to wait for proxies; 0s: not at all
    #[arg(long, env = "UMBRA_TIMEOUT", value_name = "DURATION", default_value = "30s")]
    pub timeout: String,
    /// Lines for people or JSON for tools
    #[arg(short, long, env = "UMBRA_OUTPUT", value_name = "FORM", default_value = "text")]
    pub output: Output,
}

/// How what replicas say is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum AskOutput {
    /// Columns
    Table,
    /// More columns
    Wide,
    /// JSON for tools
    Json,
}

/// Arguments of `umbra version`.
#[derive(Debug, Args)]
pub struct VersionArgs {
    /// Lines for people or JSON for tools
    #[arg(short, long, env = "UMBRA_OUTPUT", value_name = "FORM", default_value = "text")]
    pub output: Output,
}

#[cfg(test)]
mod tests;
