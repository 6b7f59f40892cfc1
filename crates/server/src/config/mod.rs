//! `umbra.yaml`: the settings of the mesh, and the options of `serve`.

mod mesh;
pub mod options;

use std::path::Path;

use anyhow::{Context, bail};
use umbra_ir::Settings;

pub use options::Options;

/// A checked `umbra.yaml`; its default is that of no file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Config {
    /// The mesh-wide settings; these may change while serving.
    pub settings: Settings,
    /// What Pods are given that get a sidecar; the file with certificates that it names is not read yet.
    pub injection: umbra_inject::settings::Settings,
    /// Options of `serve`; these count at the start only.
    pub options: Options,
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
        let file: Option<Options> =
            serde_saphyr::from_str(text).map_err(|error| anyhow::anyhow!("{error}"))?;
        let mut options = file.unwrap_or_default();
        let mut settings = Settings::default();
        if let Some(namespace) = options.root_namespace.take() {
            not_empty("rootNamespace", &namespace)?;
            settings.root_namespace = namespace.into();
        }
        if let Some(domain) = options.cluster_domain.take() {
            not_empty("clusterDomain", &domain)?;
            settings.cluster_domain = domain.trim_matches('.').into();
        }
        if let Some(mirror) = options.mirror.take() {
            mirror.apply(&mut settings.mirror)?;
        }
        if let Some(hops) = options.gateway_topology.take().and_then(|it| it.num_trusted_proxies) {
            settings.trusted_proxies = hops;
        }
        if let Some(policy) = options.outbound_traffic_policy.take().and_then(|it| it.policy()) {
            settings.outbound_policy = policy;
        }
        if let Some(ownership) = options.host_ownership.take() {
            settings.host_ownership = ownership.into();
        }
        if let Some(compatible) = options.istio_compatible.take() {
            settings.istio_compatible = compatible;
        }
        if let Some(tables) = options.route_tables.take() {
            settings.route_tables = tables.into();
        }
        if let Some(log) = options.access_log.take() {
            settings.access_log = log.access_log()?;
        }
        if let Some(paths) = options.path_normalization.take() {
            settings.path_normalization = paths.normalization();
        }
        if let Some(http10) = options.http10.take() {
            settings.http10 = http10.http10()?;
        }
        if let Some(count) = options.istio_metrics.take() {
            settings.istio_metrics = count;
        }
        let injection = options.injection.take().unwrap_or_default();
        injection.check().map_err(|why| anyhow::anyhow!("injection.{why}"))?;
        Ok(Config { settings, injection, options })
    }
}

fn not_empty(key: &str, value: &str) -> anyhow::Result<()> {
    if value.trim_matches('.').is_empty() {
        bail!("{key}: must not be empty");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use umbra_ir::{
        AccessLog, AccessLogFormat, Breakers, HostOwnership, Http10, LogProtocol, LogService, MirrorSettings,
        OutboundPolicy, PathNormalization, PortNumber, RouteTables,
    };

    use super::*;

    const ALL: &str = "
rootNamespace: mesh
clusterDomain: example.org
mirror:
  shadowSuffix: false
  maxStreamDuration: 1m30s
  observe: false
  mark: true
  deadMan: 10m
  circuitBreakers: {maxConnections: 1, maxPendingRequests: 2, maxRequests: 3, maxRetries: 0}
gatewayTopology: {numTrustedProxies: 2}
outboundTrafficPolicy: {mode: REGISTRY_ONLY}
hostOwnership: consent
routeTables: plain
istioCompatible: true
istioMetrics: false
pathNormalization: {normalization: MERGE_SLASHES}
http10: {accept: true, defaultHost: a.example.com}
accessLog:
  path: /dev/stdout
  format: text
  copies: true
  service: {host: logs.example.com, port: 4317, protocol: opentelemetry, logName: mesh}
injection: {concurrency: 7, includeOutboundIPRanges: 10.0.0.0/8}
dir: manifests
";

    #[test]
    fn every_setting_counts() {
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
                mark: true,
                observe: false,
                dead_man: Some(std::time::Duration::from_secs(600)),
            },
            trusted_proxies: 2,
            outbound_policy: OutboundPolicy::RegistryOnly,
            host_ownership: HostOwnership::Consent,
            route_tables: RouteTables::Plain,
            istio_compatible: true,
            istio_metrics: false,
            path_normalization: PathNormalization::MergeSlashes,
            http10: Some(Http10 { default_host: "a.example.com".into() }),
            access_log: Some(AccessLog {
                path: Some("/dev/stdout".into()),
                format: AccessLogFormat::Text,
                service: Some(LogService {
                    host: "logs.example.com".into(),
                    port: PortNumber::new(4317).unwrap(),
                    protocol: LogProtocol::OpenTelemetry,
                    log_name: "mesh".into(),
                }),
                copies: true,
            }),
        };
        assert_eq!(config.settings, settings);
        assert_eq!(config.injection.concurrency, 7);
        assert_eq!(config.injection.include_outbound_ip_ranges.as_deref(), Some("10.0.0.0/8"));
        let options = Options { dir: Some("manifests".into()), ..Options::default() };
        assert_eq!(config.options, options);
    }

    #[test]
    fn what_says_nothing_changes_nothing() {
        for text in [
            "",
            "# nothing\n",
            "---\n",
            "{}",
            "mirror: {}",
            "mirror: {deadMan: 0s}",
            "accessLog: {path: \"\"}",
            "mirror:\n",
        ] {
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
            ("mirror: {deadMan: 2s}", "mirror.deadMan"),
            ("gatewayTopology: {numTrustedProxies: -1}", "-1"),
            ("outboundTrafficPolicy: {mode: DENY}", "DENY"),
            ("hostOwnership: mine", "mine"),
            ("routeTables: some", "some"),
            ("accessLog: {format: xml}", "xml"),
            ("accessLog: {service: {host: a}}", "port"),
            ("accessLog: {service: {host: a, port: 0}}", "accessLog.service.port"),
            ("accessLog: {service: {host: 'a b', port: 1}}", "accessLog.service.host"),
            ("accessLog: {service: {host: a, port: 1, protocol: tcp}}", "tcp"),
            ("pathNormalization: {normalization: ALL}", "ALL"),
            ("http10: {accept: true, defaultHost: 'a b'}", "http10.defaultHost"),
            ("rootNamespace: ''", "rootNamespace"),
            ("injection: {cpu: much}", "injection.cpu"),
            ("injection: {server: umbra}", "injection.server"),
            ("injection: {excludeOutboundPorts: all}", "injection.excludeOutboundPorts"),
            ("injection: {sidecar: true}", "sidecar"),
            ("- a", "line 1"),
            ("a: [", "line 1"),
        ] {
            let error = format!("{:#}", Config::parse(text).unwrap_err());
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
