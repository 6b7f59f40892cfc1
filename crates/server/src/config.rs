//! `umbra.yaml`: the settings of the mesh, and the options of `serve`.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::Deserialize;
use umbra_api::Duration;
use umbra_ir::{AccessLog, AccessLogFormat, Breakers, MirrorSettings, Settings};

use crate::logging::LogFormat;

/// What the file says, not yet checked beyond its form. Unknown keys are refused.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct File {
    root_namespace: Option<String>,
    cluster_domain: Option<String>,
    mirror: Option<Mirror>,
    access_log: Option<Log>,
    dir: Option<PathBuf>,
    xds: Option<String>,
    xds_tls: Option<String>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    tls_client_ca: Option<PathBuf>,
    admin: Option<String>,
    probe: Option<String>,
    api: Option<String>,
    peers: Option<Vec<String>>,
    kubeconfig: Option<PathBuf>,
    in_cluster: Option<bool>,
    watch_namespaces: Option<Vec<String>>,
    watch_selector: Option<String>,
    log: Option<String>,
    log_format: Option<LogFormat>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Mirror {
    shadow_suffix: Option<bool>,
    max_stream_duration: Option<Duration>,
    circuit_breakers: Option<CircuitBreakers>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct CircuitBreakers {
    max_connections: Option<u32>,
    max_pending_requests: Option<u32>,
    max_requests: Option<u32>,
    max_retries: Option<u32>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Log {
    path: Option<String>,
    format: Option<Format>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    Json,
    Text,
}

/// A checked `umbra.yaml`; its default is that of no file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Config {
    /// The mesh-wide settings; these may change while serving.
    pub settings: Settings,
    /// Options of `serve`; these count at the start only.
    pub options: Options,
}

/// Options of `serve` as the file gives them; the command line and the environment win over them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// `--dir`, relative to the working directory.
    pub dir: Option<PathBuf>,
    /// `--xds`.
    pub xds: Option<String>,
    /// `--xds-tls`.
    pub xds_tls: Option<String>,
    /// `--tls-cert`, relative to the working directory.
    pub tls_cert: Option<PathBuf>,
    /// `--tls-key`, relative to the working directory.
    pub tls_key: Option<PathBuf>,
    /// `--tls-client-ca`, relative to the working directory.
    pub tls_client_ca: Option<PathBuf>,
    /// `--admin`.
    pub admin: Option<String>,
    /// `--probe`.
    pub probe: Option<String>,
    /// `--api`.
    pub api: Option<String>,
    /// `--peers`.
    pub peers: Option<Vec<String>>,
    /// `--kubeconfig`, relative to the working directory.
    pub kubeconfig: Option<PathBuf>,
    /// `--in-cluster`.
    pub in_cluster: Option<bool>,
    /// `--watch-namespaces`.
    pub watch_namespaces: Option<Vec<String>>,
    /// `--watch-selector`.
    pub watch_selector: Option<String>,
    /// `--log`.
    pub log: Option<String>,
    /// `--log-format`.
    pub log_format: Option<LogFormat>,
}

impl Config {
    /// Reads and checks a file; `None` gives the defaults.
    ///
    /// # Errors
    /// It cannot be read, is no YAML, has an unknown key or a value out of range; the message names the key.
    pub fn load(path: Option<&Path>) -> anyhow::Result<Config> {
        let Some(path) = path else { return Ok(Config::default()) };
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Config::parse(&text).with_context(|| path.display().to_string())
    }

    /// Reads and checks the text of a file.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(text: &str) -> anyhow::Result<Config> {
        // An empty file, or one of comments only, says nothing.
        let file: Option<File> = serde_saphyr::from_str(text).map_err(|error| anyhow::anyhow!("{error}"))?;
        let File { root_namespace, cluster_domain, mirror, access_log, dir, xds, admin, .. } =
            file.clone().unwrap_or_default();
        let File { probe, api, peers, kubeconfig, in_cluster, watch_namespaces, .. } =
            file.clone().unwrap_or_default();
        let File { watch_selector, log, log_format, .. } = file.clone().unwrap_or_default();
        let File { xds_tls, tls_cert, tls_key, tls_client_ca, .. } = file.unwrap_or_default();
        let mut settings = Settings::default();
        if let Some(namespace) = root_namespace {
            not_empty("rootNamespace", &namespace)?;
            settings.root_namespace = namespace.into();
        }
        if let Some(domain) = cluster_domain {
            not_empty("clusterDomain", &domain)?;
            settings.cluster_domain = domain.trim_matches('.').into();
        }
        if let Some(mirror) = mirror {
            apply_mirror(mirror, &mut settings.mirror)?;
        }
        settings.access_log = access_log.and_then(|log| {
            let path = log.path.filter(|path| !path.is_empty())?;
            let format = match log.format {
                Some(Format::Text) => AccessLogFormat::Text,
                Some(Format::Json) | None => AccessLogFormat::Json,
            };
            Some(AccessLog { path: path.into(), format })
        });
        let options = Options {
            dir,
            xds,
            xds_tls,
            tls_cert,
            tls_key,
            tls_client_ca,
            admin,
            probe,
            api,
            peers,
            kubeconfig,
            in_cluster,
            watch_namespaces,
            watch_selector,
            log,
            log_format,
        };
        Ok(Config { settings, options })
    }
}

fn not_empty(key: &str, value: &str) -> anyhow::Result<()> {
    if value.trim_matches('.').is_empty() {
        bail!("{key}: must not be empty");
    }
    Ok(())
}

fn apply_mirror(file: Mirror, settings: &mut MirrorSettings) -> anyhow::Result<()> {
    if let Some(suffix) = file.shadow_suffix {
        settings.shadow_suffix = suffix;
    }
    if let Some(duration) = file.max_stream_duration {
        // Envoy reads 0 as "no limit", and a target that hangs would hold copies for ever.
        let limit = duration.to_std().filter(|limit| !limit.is_zero());
        settings.max_stream_duration =
            limit.context("mirror.maxStreamDuration: must be more than 0s, such as 60s")?;
    }
    let Some(file) = file.circuit_breakers else { return Ok(()) };
    let Breakers { max_connections, max_pending_requests, max_requests, max_retries } =
        &mut settings.breakers;
    for (key, value, least, target) in [
        ("maxConnections", file.max_connections, 1, max_connections),
        ("maxPendingRequests", file.max_pending_requests, 1, max_pending_requests),
        ("maxRequests", file.max_requests, 1, max_requests),
        ("maxRetries", file.max_retries, 0, max_retries),
    ] {
        if let Some(value) = value {
            if value < least {
                bail!("mirror.circuitBreakers.{key}: must be at least {least}");
            }
            *target = value;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &str = "
rootNamespace: mesh
clusterDomain: example.org
mirror:
  shadowSuffix: false
  maxStreamDuration: 1m30s
  circuitBreakers: {maxConnections: 1, maxPendingRequests: 2, maxRequests: 3, maxRetries: 0}
accessLog: {path: /dev/stdout, format: text}
dir: manifests
xds: 0.0.0.0:1
xdsTls: 0.0.0.0:4
tlsCert: c
tlsKey: d
tlsClientCa: e
admin: 0.0.0.0:2
probe: 0.0.0.0:3
api: 0.0.0.0:4
peers: [umbra-peers:4]
kubeconfig: k
inCluster: true
watchNamespaces: [a, b]
watchSelector: rev=a
log: debug
logFormat: json
";

    #[test]
    fn every_key_counts() {
        let config = Config::parse(ALL).unwrap();
        let breakers =
            Breakers { max_connections: 1, max_pending_requests: 2, max_requests: 3, max_retries: 0 };
        let settings = Settings {
            root_namespace: "mesh".into(),
            cluster_domain: "example.org".into(),
            mirror: MirrorSettings {
                shadow_suffix: false,
                max_stream_duration: std::time::Duration::from_secs(90),
                breakers,
            },
            access_log: Some(AccessLog { path: "/dev/stdout".into(), format: AccessLogFormat::Text }),
        };
        assert_eq!(config.settings, settings);
        let options = Options {
            dir: Some("manifests".into()),
            xds: Some("0.0.0.0:1".to_owned()),
            xds_tls: Some("0.0.0.0:4".to_owned()),
            tls_cert: Some("c".into()),
            tls_key: Some("d".into()),
            tls_client_ca: Some("e".into()),
            admin: Some("0.0.0.0:2".to_owned()),
            probe: Some("0.0.0.0:3".to_owned()),
            api: Some("0.0.0.0:4".to_owned()),
            peers: Some(vec!["umbra-peers:4".to_owned()]),
            kubeconfig: Some("k".into()),
            in_cluster: Some(true),
            watch_namespaces: Some(vec!["a".to_owned(), "b".to_owned()]),
            watch_selector: Some("rev=a".to_owned()),
            log: Some("debug".to_owned()),
            log_format: Some(LogFormat::Json),
        };
        assert_eq!(config.options, options);
    }

    #[test]
    fn what_says_nothing_changes_nothing() {
        for text in ["", "# nothing\n", "---\n", "{}", "mirror: {}", "accessLog: {path: \"\"}", "mirror:\n"] {
            assert_eq!(Config::parse(text).unwrap(), Config::default(), "{text:?}");
        }
    }

    #[test]
    fn mistakes_name_the_key() {
        for (text, part) in [
            ("rootNamspace: x", "rootNamspace"),
            ("mirror: {shadow: true}", "shadow"),
            ("mirror: {circuitBreakers: {maxConnection: 1}}", "maxConnection"),
            ("mirror: {circuitBreakers: {maxConnections: 0}}", "mirror.circuitBreakers.maxConnections"),
            ("mirror: {maxStreamDuration: 0s}", "mirror.maxStreamDuration"),
            ("mirror: {maxStreamDuration: soon}", "soon"),
            ("accessLog: {format: xml}", "xml"),
            ("rootNamespace: ''", "rootNamespace"),
            ("- a", "line 1"),
            ("a: [", "line 1"),
        ] {
            let error = format!("{:#}", Config::parse(text).unwrap_err());
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
