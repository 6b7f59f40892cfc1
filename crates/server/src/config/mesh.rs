//! The settings of the mesh as `umbra.yaml` writes them.

use std::sync::Arc;

use anyhow::{Context, bail};
use serde::Deserialize;
use umbra_api::Duration;
use umbra_ir::{
    AccessLog, AccessLogFormat, Breakers, HostOwnership, Http10, LogProtocol, LogService, MirrorSettings,
    OutboundPolicy, PathNormalization, PortNumber, RouteTables,
};

/// `mirror`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Mirror {
    shadow_suffix: Option<bool>,
    max_stream_duration: Option<Duration>,
    circuit_breakers: Option<CircuitBreakers>,
    observe: Option<bool>,
    mark: Option<bool>,
    dead_man: Option<Duration>,
}

/// The shortest dead man's time: it is repeated each third of it.
const DEAD_MAN: std::time::Duration = std::time::Duration::from_secs(3);

#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct CircuitBreakers {
    max_connections: Option<u32>,
    max_pending_requests: Option<u32>,
    max_requests: Option<u32>,
    max_retries: Option<u32>,
}

/// `gatewayTopology`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct GatewayTopology {
    pub(super) num_trusted_proxies: Option<u32>,
}

/// `hostOwnership`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Ownership {
    Open,
    Own,
    Consent,
}

impl From<Ownership> for HostOwnership {
    fn from(written: Ownership) -> Self {
        match written {
            Ownership::Open => HostOwnership::Open,
            Ownership::Own => HostOwnership::Own,
            Ownership::Consent => HostOwnership::Consent,
        }
    }
}

/// `routeTables`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Tables {
    Plain,
    Hosts,
}

impl From<Tables> for RouteTables {
    fn from(tables: Tables) -> Self {
        match tables {
            Tables::Plain => RouteTables::Plain,
            Tables::Hosts => RouteTables::Hosts,
        }
    }
}

/// `outboundTrafficPolicy`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct OutboundTrafficPolicy {
    mode: Option<OutboundMode>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum OutboundMode {
    AllowAny,
    RegistryOnly,
}

impl OutboundTrafficPolicy {
    /// `None`: it says nothing.
    pub(super) fn policy(self) -> Option<OutboundPolicy> {
        self.mode.map(|mode| match mode {
            OutboundMode::AllowAny => OutboundPolicy::AllowAny,
            OutboundMode::RegistryOnly => OutboundPolicy::RegistryOnly,
        })
    }
}

/// `accessLog`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Log {
    path: Option<String>,
    format: Option<Format>,
    service: Option<Service>,
    copies: bool,
}

/// `accessLog.service`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Service {
    host: String,
    port: i64,
    #[serde(default)]
    protocol: ServiceProtocol,
    #[serde(default)]
    log_name: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ServiceProtocol {
    #[default]
    Envoy,
    OpenTelemetry,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    Json,
    Text,
}

impl Mirror {
    /// Changes what the file says.
    ///
    /// # Errors
    /// A value is out of range; the message names the key.
    pub(super) fn apply(self, settings: &mut MirrorSettings) -> anyhow::Result<()> {
        if let Some(suffix) = self.shadow_suffix {
            settings.shadow_suffix = suffix;
        }
        if let Some(mark) = self.mark {
            settings.mark = mark;
        }
        if let Some(observe) = self.observe {
            settings.observe = observe;
        }
        if let Some(duration) = self.dead_man {
            let limit = duration.to_std().filter(|limit| limit.is_zero() || *limit >= DEAD_MAN);
            let limit = limit.context("mirror.deadMan: must be 0s (never) or at least 3s, such as 10m")?;
            settings.dead_man = Some(limit).filter(|limit| !limit.is_zero());
        }
        if let Some(duration) = self.max_stream_duration {
            // Envoy reads 0 as "no limit", and a target that hangs would hold copies for ever.
            let limit = duration.to_std().filter(|limit| !limit.is_zero());
            settings.max_stream_duration =
                limit.context("mirror.maxStreamDuration: must be more than 0s, such as 60s")?;
        }
        let Some(file) = self.circuit_breakers else { return Ok(()) };
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
}

impl Log {
    /// `None`: neither path nor service, no log.
    ///
    /// # Errors
    /// The service is none; the message names the key.
    pub(super) fn access_log(self) -> anyhow::Result<Option<AccessLog>> {
        let path: Option<Arc<str>> = self.path.filter(|path| !path.is_empty()).map(Into::into);
        let format = match self.format {
            Some(Format::Text) => AccessLogFormat::Text,
            Some(Format::Json) | None => AccessLogFormat::Json,
        };
        let service = self.service.map(Service::resolve).transpose()?;
        let any = path.is_some() || service.is_some();
        Ok(any.then_some(AccessLog { path, format, service, copies: self.copies }))
    }
}

impl Service {
    fn resolve(self) -> anyhow::Result<LogService> {
        let bad = self.host.is_empty() || self.host.chars().any(|c| c.is_control() || c.is_whitespace());
        if bad || self.host.contains('/') {
            bail!("accessLog.service.host: must be a name in DNS or an address");
        }
        let port = PortNumber::new(self.port).context("accessLog.service.port: must be from 1 to 65535")?;
        let protocol = match self.protocol {
            ServiceProtocol::Envoy => LogProtocol::Envoy,
            ServiceProtocol::OpenTelemetry => LogProtocol::OpenTelemetry,
        };
        let log_name = if self.log_name.is_empty() { "umbra".into() } else { self.log_name.into() };
        Ok(LogService { host: self.host.into(), port, protocol, log_name })
    }
}

/// `pathNormalization`, as in Istio's MeshConfig.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Paths {
    normalization: Option<Normalization>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Normalization {
    Default,
    None,
    Base,
    MergeSlashes,
    DecodeAndMergeSlashes,
}

impl Paths {
    /// Istio's default is `BASE`.
    pub(super) fn normalization(self) -> PathNormalization {
        match self.normalization {
            None | Some(Normalization::Default | Normalization::Base) => PathNormalization::Base,
            Some(Normalization::None) => PathNormalization::None,
            Some(Normalization::MergeSlashes) => PathNormalization::MergeSlashes,
            Some(Normalization::DecodeAndMergeSlashes) => PathNormalization::DecodeAndMergeSlashes,
        }
    }
}

/// `http10`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct OldHttp {
    accept: bool,
    default_host: String,
}

impl OldHttp {
    /// `None`: such clients are not served.
    ///
    /// # Errors
    /// The host is none.
    pub(super) fn http10(self) -> anyhow::Result<Option<Http10>> {
        if self.default_host.chars().any(|c| c.is_control() || c.is_whitespace()) {
            bail!("http10.defaultHost: must be a host, such as web.example.com");
        }
        Ok(self.accept.then_some(Http10 { default_host: self.default_host.into() }))
    }
}
