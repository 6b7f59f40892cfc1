//! The options of `serve`, each declared once: a field here is a flag, an environment variable, a key of `umbra.yaml`, a
//! line of `--help` and one of `docs/options.md`. What is done with it stands where it is used.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::error::Error;
use clap::{Arg, ArgMatches, Args, FromArgMatches};
use serde::Deserialize;

use super::mesh;
use crate::identity::{CallerMode, IdentityMode};
use crate::logging::LogFormat;

/// Where `--xds` listens unless told otherwise.
const DEFAULT_XDS: &str = "127.0.0.1:15010";
/// Where `--admin` listens unless told otherwise.
const DEFAULT_ADMIN: &str = "127.0.0.1:15014";
/// What `--drain` is unless told otherwise.
const DEFAULT_DRAIN: &str = "20s";
/// What `--max-age` is unless told otherwise.
const DEFAULT_MAX_AGE: &str = "30m";
/// More often nobody needs it, and it would be most of what the API server has to do.
const SHORTEST_RESYNC: Duration = Duration::from_secs(60);
/// What `--resync` is unless told otherwise.
const DEFAULT_RESYNC: &str = "30m";
/// What `--log` is unless told otherwise.
const DEFAULT_LOG: &str = "info";

/// What the command line, the environment or `umbra.yaml` says, not yet checked beyond its form. Paths are relative to
/// the working directory.
// No comment for people may stand above: clap would print it as what `serve` does.
#[derive(Clone, PartialEq, Eq, Debug, Default, Args, Deserialize)]
#[command(about = None, long_about = None)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Options {
    /// The folder of manifests: *.yaml, *.yml and *.json below it, reloaded as they change
    #[arg(long, env = "UMBRA_DIR", value_name = "PATH")]
    pub dir: Option<PathBuf>,
    /// Read the cluster of this file's current context; with --dir too, files win over the cluster's objects
    #[arg(long, env = "UMBRA_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Read the cluster that umbra runs in, as its pod's service account
    #[arg(
        long,
        env = "UMBRA_IN_CLUSTER",
        value_name = "BOOL",
        value_parser = BoolishValueParser::new(),
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        hide_possible_values = true
    )]
    pub in_cluster: Option<bool>,
    /// Read only these namespaces of the cluster, and neither Namespaces nor Nodes: Roles are enough
    #[arg(long, env = "UMBRA_WATCH_NAMESPACES", value_name = "NS,...", value_delimiter = ',')]
    pub watch_namespaces: Option<Vec<String>>,
    /// Read only VirtualServices, DestinationRules, ServiceEntries, WorkloadEntries, Gateways, Sidecars and MirrorPolicies with these labels
    #[arg(long, env = "UMBRA_WATCH_SELECTOR", value_name = "LABELS")]
    pub watch_selector: Option<String>,
    /// Read the Secrets of the cluster that Gateways name, each by its name, for gateways that have proven who they are
    #[arg(
        long,
        env = "UMBRA_GATEWAY_SECRETS",
        value_name = "BOOL",
        value_parser = BoolishValueParser::new(),
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        hide_possible_values = true
    )]
    pub gateway_secrets: Option<bool>,
    /// Keep the cluster's last good state in this folder, to serve when the API server is away at the start [default: none]
    #[arg(long, env = "UMBRA_LAST_GOOD", value_name = "PATH")]
    pub last_good: Option<PathBuf>,
    /// How old that may be, such as 90m [default: 24h]
    #[arg(long, env = "UMBRA_LAST_GOOD_MAX_AGE", value_name = "DURATION")]
    pub last_good_max_age: Option<String>,
    /// How long a watch of the cluster goes on before it lists everything anew, a tenth more or less, so that what it was never told comes to light; 0s: never [default: 30m]
    #[arg(long, env = "UMBRA_RESYNC", value_name = "DURATION")]
    pub resync: Option<String>,
    /// Where proxies connect (plaintext gRPC) [default: 127.0.0.1:15010]
    #[arg(long, env = "UMBRA_XDS", value_name = "ADDR")]
    pub xds: Option<String>,
    /// Where proxies connect over TLS as well; needs --tls-cert and --tls-key [default: none]
    #[arg(long, env = "UMBRA_XDS_TLS", value_name = "ADDR")]
    pub xds_tls: Option<String>,
    /// The certificate (PEM, with those between it and the root); read again when it changes
    #[arg(long, env = "UMBRA_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, env = "UMBRA_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Make the certificate for these host names, and renew it: it is kept in the Secret umbra-xds of umbra's namespace, and the ConfigMap umbra-ca tells whom to believe; instead of --tls-cert and --tls-key
    #[arg(long, env = "UMBRA_TLS_MADE_FOR", value_name = "HOSTS")]
    pub tls_made_for: Option<String>,
    /// Mutual TLS: proxies need a certificate from one of these authorities (PEM)
    #[arg(long, env = "UMBRA_TLS_CLIENT_CA", value_name = "FILE")]
    pub tls_client_ca: Option<PathBuf>,
    /// What proxies have to prove: none, token or certificate; never asked on a loopback address without TLS [default: none]
    #[arg(long, env = "UMBRA_XDS_IDENTITY", value_name = "PROOF", hide_possible_values = true)]
    pub xds_identity: Option<IdentityMode>,
    /// The audience that a proxy's token must be for [default: umbra]
    #[arg(long, env = "UMBRA_XDS_AUDIENCE", value_name = "NAME")]
    pub xds_audience: Option<String>,
    /// Over how long proxies are sent away after SIGTERM, so that other replicas do not get them all at once [default: 20s]
    #[arg(long, env = "UMBRA_DRAIN", value_name = "DURATION")]
    pub drain: Option<String>,
    /// How long a proxy stays before it may find another replica, a tenth more or less; 0s: as long as it likes [default: 30m]
    #[arg(long, env = "UMBRA_MAX_AGE", value_name = "DURATION")]
    pub max_age: Option<String>,
    /// How long a proxy may leave what it was sent unanswered before it no longer holds a gate, such as 2m [default: none, it always does]
    #[arg(long, env = "UMBRA_LAGGARD_PATIENCE", value_name = "DURATION")]
    pub laggard_patience: Option<String>,
    /// Where people and monitoring look: /healthz, /readyz, /metrics, /debug/, the dashboard at /ui/, and what --api serves [default: 127.0.0.1:15014]
    #[arg(long, env = "UMBRA_ADMIN", value_name = "ADDR")]
    pub admin: Option<String>,
    /// Only /healthz, /readyz and /metrics, for kubelets and Prometheus on a pod's network [default: none]
    #[arg(long, env = "UMBRA_PROBE", value_name = "ADDR")]
    pub probe: Option<String>,
    /// umbra.v1 (gRPC), /v1/live, /v1/stop and /v1/resume (HTTP), for canary tools, people and other replicas [default: none]
    #[arg(long, env = "UMBRA_API", value_name = "ADDR")]
    pub api: Option<String>,
    /// What callers of that have to prove: none or token (over TLS, with the certificate of --xds-tls); never asked on a loopback address [default: none]
    #[arg(long, env = "UMBRA_API_IDENTITY", value_name = "PROOF", hide_possible_values = true)]
    pub api_identity: Option<CallerMode>,
    /// The dashboard at /ui/ on --api too, for callers who prove who they are (--admin always has it) [default: false]
    #[arg(
        long,
        env = "UMBRA_API_DASHBOARD",
        value_name = "BOOL",
        value_parser = BoolishValueParser::new(),
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        hide_possible_values = true
    )]
    pub api_dashboard: Option<bool>,
    /// A name with the addresses of all replicas and the port of their --api, such as a headless Service's:
    /// statuses and /v1/live then count the proxies of all of them [default: none, this one only]
    #[arg(long, env = "UMBRA_PEERS", value_name = "HOST:PORT,...", value_delimiter = ',')]
    pub peers: Option<Vec<String>>,
    /// Where `umbra judge` tells what the bodies of judged requests come to: its --report, by a name with the addresses of all judges
    /// [default: none]
    #[arg(long, env = "UMBRA_JUDGE", value_name = "HOST:PORT")]
    pub judge: Option<String>,
    /// Where the API server asks for the sidecars of new Pods (an admission webhook over TLS, with a certificate of its own
    /// making); needs --injector-host and --injector-webhook [default: none]
    #[arg(long, env = "UMBRA_INJECTOR", value_name = "ADDR")]
    pub injector: Option<String>,
    /// By what name the API server reaches that, such as umbra.umbra-system.svc
    #[arg(long, env = "UMBRA_INJECTOR_HOST", value_name = "NAME")]
    pub injector_host: Option<String>,
    /// The MutatingWebhookConfiguration that is told the certificate's authority
    #[arg(long, env = "UMBRA_INJECTOR_WEBHOOK", value_name = "NAME")]
    pub injector_webhook: Option<String>,
    /// error, warn, info, debug, trace, or a filter such as `info,umbra_source=debug` [default: info]
    #[arg(long, env = "UMBRA_LOG", value_name = "LEVEL")]
    pub log: Option<String>,
    /// Log lines for people or JSON for tools; logs go to standard error [default: text]
    #[arg(long, env = "UMBRA_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,

    // The settings of the mesh are keys of the same file, and no options: `config` takes them out.
    #[arg(skip)]
    pub(crate) root_namespace: Option<String>,
    #[arg(skip)]
    pub(crate) cluster_domain: Option<String>,
    #[arg(skip)]
    pub(crate) mirror: Option<mesh::Mirror>,
    #[arg(skip)]
    pub(crate) gateway_topology: Option<mesh::GatewayTopology>,
    #[arg(skip)]
    pub(crate) outbound_traffic_policy: Option<mesh::OutboundTrafficPolicy>,
    #[arg(skip)]
    pub(crate) host_ownership: Option<mesh::Ownership>,
    #[arg(skip)]
    pub(crate) route_tables: Option<mesh::Tables>,
    #[arg(skip)]
    pub(crate) istio_compatible: Option<bool>,
    #[arg(skip)]
    pub(crate) istio_metrics: Option<bool>,
    #[arg(skip)]
    pub(crate) path_normalization: Option<mesh::Paths>,
    #[arg(skip)]
    pub(crate) http10: Option<mesh::OldHttp>,
    #[arg(skip)]
    pub(crate) access_log: Option<mesh::Log>,
    #[arg(skip)]
    pub(crate) injection: Option<umbra_inject::settings::Settings>,
}

impl Options {
    /// What the command line and the environment say (`flags`), and the file where they say nothing.
    ///
    /// # Errors
    /// None that parsing the command line has not had before.
    pub fn merge(mut file: Options, flags: &ArgMatches) -> Result<Self, Error> {
        let Options { kubeconfig, in_cluster, .. } = Options::from_arg_matches(flags)?;
        // They are two ways to say one thing.
        if kubeconfig.is_some() || in_cluster == Some(true) {
            (file.kubeconfig, file.in_cluster) = (None, None);
        }
        file.update_from_arg_matches(flags)?;
        Ok(file)
    }

    /// `--xds`, or where it listens otherwise.
    pub fn xds(&self) -> &str {
        self.xds.as_deref().unwrap_or(DEFAULT_XDS)
    }

    /// `--admin`, or where it listens otherwise.
    pub fn admin(&self) -> &str {
        self.admin.as_deref().unwrap_or(DEFAULT_ADMIN)
    }

    /// `--xds-audience`, or what it is otherwise.
    pub fn xds_audience(&self) -> &str {
        self.xds_audience.as_deref().unwrap_or(umbra_inject::words::TOKEN_AUDIENCE)
    }

    /// What proxies have to prove.
    ///
    /// # Errors
    /// What vouches for proofs is not named.
    pub fn identity(&self) -> Result<IdentityMode, &'static str> {
        match self.xds_identity.unwrap_or_default() {
            IdentityMode::Token if !self.has_cluster() => Err(
                "--xds-identity token: an API server vouches for tokens: name it with --kubeconfig FILE or --in-cluster",
            ),
            IdentityMode::Certificate if self.tls_client_ca.is_none() => {
                Err("--xds-identity certificate: needs --tls-client-ca FILE, whose certificates count")
            }
            mode => Ok(mode),
        }
    }

    /// What callers of `--api` have to prove.
    ///
    /// # Errors
    /// What vouches for proofs is not named, or what keeps them secret.
    pub fn api_identity(&self) -> Result<CallerMode, &'static str> {
        let mode = self.api_identity.unwrap_or_default();
        match mode {
            CallerMode::Token if !self.has_cluster() => Err(
                "--api-identity token: an API server vouches for tokens: name it with --kubeconfig FILE or --in-cluster",
            ),
            CallerMode::Token if self.xds_tls.is_none() => Err(
                "--api-identity token: a token is shown over TLS alone: --xds-tls and what belongs to it bring the certificate",
            ),
            mode => Ok(mode),
        }
    }

    fn has_cluster(&self) -> bool {
        self.kubeconfig.is_some() || self.in_cluster.unwrap_or_default()
    }

    /// `--drain`, or what it is otherwise.
    ///
    /// # Errors
    /// It is no duration.
    pub fn drain(&self) -> Result<Duration, &'static str> {
        duration(self.drain.as_deref().unwrap_or(DEFAULT_DRAIN))
            .ok_or("--drain: expected a duration such as 20s, or 0s")
    }

    /// `--max-age`, or what it is otherwise; `None`: no age is too great.
    ///
    /// # Errors
    /// It is no duration.
    pub fn max_age(&self) -> Result<Option<Duration>, &'static str> {
        let age = duration(self.max_age.as_deref().unwrap_or(DEFAULT_MAX_AGE));
        age.map(|age| Some(age).filter(|age| !age.is_zero()))
            .ok_or("--max-age: expected a duration such as 30m, or 0s")
    }

    /// `--resync`, or what it is otherwise; `None`: never.
    ///
    /// # Errors
    /// It is no duration, or so short that the API server would do nothing else.
    pub fn resync(&self) -> Result<Option<Duration>, &'static str> {
        let period = duration(self.resync.as_deref().unwrap_or(DEFAULT_RESYNC));
        let long = period.filter(|period| period.is_zero() || *period >= SHORTEST_RESYNC);
        long.map(|period| Some(period).filter(|period| !period.is_zero()))
            .ok_or("--resync: expected a duration such as 30m, not below 1m, or 0s")
    }

    /// `--laggard-patience`; `None`: it has no end.
    ///
    /// # Errors
    /// It is no duration, or none at all.
    pub fn laggard_patience(&self) -> Result<Option<Duration>, &'static str> {
        let Some(text) = &self.laggard_patience else { return Ok(None) };
        let patience = duration(text).filter(|patience| !patience.is_zero());
        patience.map(Some).ok_or("--laggard-patience: expected a duration such as 2m")
    }

    /// `--log`, or what it is otherwise.
    pub fn log(&self) -> &str {
        self.log.as_deref().unwrap_or(DEFAULT_LOG)
    }
}

/// A duration as Istio writes it; `0s` is one here.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    text.parse::<umbra_api::Duration>().ok()?.to_std()
}

/// Every option as clap knows it.
pub(crate) fn declared() -> Vec<Arg> {
    Options::augment_args(clap::Command::new("serve")).get_arguments().cloned().collect()
}

/// An option's key in `umbra.yaml`.
pub(crate) fn key(option: &Arg) -> String {
    let mut words = option.get_long().unwrap_or_default().split('-');
    let mut key = words.next().unwrap_or_default().to_owned();
    for word in words {
        let (first, rest) = word.split_at(1.min(word.len()));
        key.push_str(&first.to_ascii_uppercase());
        key.push_str(rest);
    }
    key
}

/// What stands for an option's value: in `umbra.yaml` a list is one.
pub(crate) fn value(option: &Arg) -> String {
    let name = option.get_value_names().and_then(|names| names.first()).map_or("", |name| name.as_str());
    match name.strip_suffix(",...") {
        Some(one) => format!("[{one}, ...]"),
        None => name.to_owned(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::config::Config;

    /// What options (words such as `dir=a`, in the place of `--dir=a`) and a file say together.
    pub(crate) fn merged(flags: &str, file: &str) -> Options {
        let command = Options::augment_args(clap::Command::new("serve"));
        let words = flags.split_whitespace().map(|word| format!("--{word}"));
        let matches = command.try_get_matches_from(std::iter::once("serve".to_owned()).chain(words)).unwrap();
        Options::merge(Config::parse(file).unwrap().options, &matches).unwrap()
    }

    /// Two values of an option, as words for the command line and for YAML.
    fn samples(option: &Arg) -> [(String, String); 2] {
        let possible = option.get_possible_values();
        let names: Vec<&str> = possible.iter().map(|value| value.get_name()).collect();
        match (&names[..], value(option).as_str()) {
            (_, "BOOL") => ["true", "false"].map(|word| (word.to_owned(), word.to_owned())),
            (["none", "token"], _) => ["token", "none"].map(|word| (word.to_owned(), word.to_owned())),
            (["none", ..], _) => ["token", "certificate"].map(|word| (word.to_owned(), word.to_owned())),
            (["text", "json"], _) => ["text", "json"].map(|word| (word.to_owned(), word.to_owned())),
            ([], list) if list.starts_with('[') => {
                ["a,b", "c"].map(|word| (word.to_owned(), format!("[{word}]")))
            }
            ([], _) => ["a", "b"].map(|word| (word.to_owned(), word.to_owned())),
            other => panic!("no sample for {other:?}"),
        }
    }

    /// Each option is a flag, a variable and a key that say the same, and the flag wins over the file.
    #[test]
    fn every_option_is_a_flag_and_a_key() {
        for option in declared() {
            let (flag, key) = (option.get_long().unwrap(), key(&option));
            let variable = format!("UMBRA_{}", flag.replace('-', "_").to_uppercase());
            assert_eq!(option.get_env().and_then(|name| name.to_str()), Some(variable.as_str()));
            let [(one, one_key), (two, two_key)] = samples(&option);
            let by_flag = merged(&format!("{flag}={one}"), "");
            assert_ne!(by_flag, Options::default(), "{flag}");
            assert_eq!(merged("", &format!("{key}: {one_key}")), by_flag, "{key}");
            let both = merged(&format!("{flag}={one}"), &format!("{key}: {two_key}"));
            assert_eq!(both, by_flag, "{flag} wins over {key}");
            assert_ne!(merged(&format!("{flag}={two}"), ""), by_flag, "{flag}: no two values");
        }
    }

    #[test]
    fn one_of_two_ways_to_a_cluster_hides_the_other_of_the_file() {
        for (flags, file, kubeconfig, in_cluster) in [
            ("in-cluster", "kubeconfig: k", None, Some(true)),
            ("kubeconfig=k", "inCluster: true", Some("k"), None),
            ("in-cluster=false", "kubeconfig: k", Some("k"), Some(false)),
            ("in-cluster=no", "inCluster: true", None, Some(false)),
            ("dir=a", "kubeconfig: k", Some("k"), None),
        ] {
            let options = merged(flags, file);
            assert_eq!(
                options.kubeconfig.as_deref(),
                kubeconfig.map(std::path::Path::new),
                "{flags} | {file}"
            );
            assert_eq!(options.in_cluster, in_cluster, "{flags} | {file}");
        }
    }

    /// Where `--help` names what holds otherwise, it is what holds.
    #[test]
    fn help_names_the_defaults() {
        let none = Options::default();
        let format = format!("{:?}", none.log_format.unwrap_or_default()).to_lowercase();
        for (flag, default) in [
            ("xds", none.xds()),
            ("admin", none.admin()),
            ("log", none.log()),
            ("log-format", &format),
            ("drain", DEFAULT_DRAIN),
            ("max-age", DEFAULT_MAX_AGE),
            ("resync", DEFAULT_RESYNC),
        ] {
            let option = declared().into_iter().find(|option| option.get_long() == Some(flag)).unwrap();
            let help = option.get_help().unwrap().to_string();
            assert!(help.ends_with(&format!("[default: {default}]")), "--{flag}: {help}");
        }
    }

    #[test]
    fn how_long_proxies_stay() {
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        for (flags, drain, age) in [
            ("", Ok(20 * second), Ok(Some(30 * minute))),
            ("drain=0s max-age=0s", Ok(Duration::ZERO), Ok(None)),
            ("drain=1m max-age=1h", Ok(minute), Ok(Some(60 * minute))),
            ("drain=soon max-age=-1s", Err("--drain"), Err("--max-age")),
        ] {
            let options = merged(flags, "");
            let option = |error: &'static str| error.split(':').next().unwrap_or_default();
            assert_eq!(options.drain().map_err(option), drain, "{flags}");
            assert_eq!(options.max_age().map_err(option), age, "{flags}");
        }
        for (flags, want) in [
            ("", Ok(Some(30 * minute))),
            ("resync=1m", Ok(Some(minute))),
            ("resync=0s", Ok(None)),
            ("resync=59s", Err(())),
            ("resync=soon", Err(())),
        ] {
            assert_eq!(merged(flags, "").resync().map_err(drop), want, "{flags}");
        }
    }

    #[test]
    fn somebody_vouches() {
        for (flags, want) in [
            ("", Some(IdentityMode::None)),
            ("xds-identity=token", None),
            ("xds-identity=token in-cluster", Some(IdentityMode::Token)),
            ("xds-identity=token kubeconfig=k", Some(IdentityMode::Token)),
            ("xds-identity=certificate in-cluster", None),
            ("xds-identity=certificate tls-client-ca=f", Some(IdentityMode::Certificate)),
        ] {
            assert_eq!(merged(flags, "").identity().ok(), want, "{flags}");
        }
        for (flags, want) in [
            ("", Some(CallerMode::None)),
            ("api-identity=none", Some(CallerMode::None)),
            ("api-identity=token xds-tls=:1", None),
            ("api-identity=token in-cluster", None),
            ("api-identity=token in-cluster xds-tls=:1", Some(CallerMode::Token)),
        ] {
            assert_eq!(merged(flags, "").api_identity().ok(), want, "{flags}");
        }
    }
}
