//! What an operator says of all Pods that are given a sidecar.

use std::path::PathBuf;

use serde::Deserialize;

use crate::capture::{Capture, Interception};
use crate::{values, words};

/// `injection` of `umbra.yaml`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Settings {
    /// umbra's own image, for the init container.
    pub image: String,
    /// The image of a stock Envoy, with `/usr/local/bin/envoy`.
    pub proxy_image: String,
    /// Where umbra is, as Pods reach it: `HOST:PORT` of xDS.
    pub server: String,
    /// The authorities that umbra's certificate comes from (PEM), where `server` is over TLS: a file where the injector runs.
    pub ca_file: Option<PathBuf>,
    /// The content of that file; whoever reads files fills it in.
    #[serde(skip)]
    pub ca: Option<String>,
    /// `REDIRECT` or `NONE`.
    pub interception_mode: String,
    /// As the annotation of the same name; so are the next four.
    #[serde(rename = "includeOutboundIPRanges")]
    pub include_outbound_ip_ranges: Option<String>,
    /// Ranges that are not captured.
    #[serde(rename = "excludeOutboundIPRanges")]
    pub exclude_outbound_ip_ranges: Option<String>,
    /// Ports that are captured wherever they lead.
    pub include_outbound_ports: Option<String>,
    /// Ports that are not captured.
    pub exclude_outbound_ports: Option<String>,
    /// Interfaces by which calls leave uncaptured.
    pub exclude_interfaces: Option<String>,
    /// An init container with `restartPolicy: Always` (Kubernetes 1.29 and later); `false`: a container beside the others.
    pub native_sidecar: bool,
    /// What a sidecar asks for, where its Pod says nothing.
    pub cpu: String,
    /// Memory, likewise.
    pub memory: String,
    /// Its limits; none unless said.
    pub cpu_limit: Option<String>,
    /// Its limit of memory.
    pub memory_limit: Option<String>,
    /// Envoy's `--log-level`.
    pub log_level: String,
    /// Envoy's `--concurrency`; 0: a thread for each processor.
    pub concurrency: u32,
    /// Sidecars can tell umbra of judged requests (`umbra bootstrap --verdicts`).
    pub verdicts: bool,
    /// Where a judge is to which they can show what is answered, `HOST:PORT` (`umbra bootstrap --judge`); only with `verdicts`.
    pub judge: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            image: concat!("umbra:", env!("CARGO_PKG_VERSION")).to_owned(),
            proxy_image: "docker.io/envoyproxy/envoy:distroless-v1.40.0".to_owned(),
            server: "umbra.umbra-system.svc:15010".to_owned(),
            ca_file: None,
            ca: None,
            interception_mode: Interception::Redirect.as_str().to_owned(),
            include_outbound_ip_ranges: None,
            exclude_outbound_ip_ranges: None,
            include_outbound_ports: None,
            exclude_outbound_ports: None,
            exclude_interfaces: None,
            native_sidecar: true,
            cpu: "100m".to_owned(),
            memory: "128Mi".to_owned(),
            cpu_limit: None,
            memory_limit: None,
            log_level: "warning".to_owned(),
            concurrency: 2,
            verdicts: false,
            judge: None,
        }
    }
}

impl Settings {
    /// Reads what can be wrong.
    ///
    /// # Errors
    /// A value cannot be; the message names the key.
    pub fn check(&self) -> Result<(), String> {
        let key = |key: &str| {
            let key = key.to_owned();
            move |why: String| format!("{key}: {why}")
        };
        values::image(&self.image).map_err(key("image"))?;
        values::image(&self.proxy_image).map_err(key("proxyImage"))?;
        values::quantity(&self.cpu).map_err(key("cpu"))?;
        values::quantity(&self.memory).map_err(key("memory"))?;
        for (name, limit) in [("cpuLimit", &self.cpu_limit), ("memoryLimit", &self.memory_limit)] {
            limit.as_deref().map_or(Ok(()), values::quantity).map_err(key(name))?;
        }
        values::log_level(&self.log_level).map_err(key("logLevel"))?;
        let server = self.server.rsplit_once(':');
        let good =
            server.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|it| it > 0));
        if !good {
            return Err(format!("server: {:?} is not HOST:PORT", self.server));
        }
        self.capture().map(drop)
    }

    /// What is captured where a Pod says nothing.
    ///
    /// # Errors
    /// As [`Settings::check`].
    pub fn capture(&self) -> Result<Capture, String> {
        let said = self.options().into_iter().map(|(_, word, value)| (word.to_owned(), value)).collect();
        Capture::default().annotated(&said).map_err(|bad| {
            let key = |word: &str| word.rsplit('/').next().unwrap_or_default().to_owned();
            bad.iter().map(|bad| format!("{}: {}", key(&bad.name), bad.why)).collect::<Vec<_>>().join("; ")
        })
    }

    /// What is captured, as options of `umbra capture`: the option, the annotation that it stands for, and its value.
    pub(crate) fn options(&self) -> Vec<(&'static str, &'static str, String)> {
        [
            ("interception-mode", words::INTERCEPTION_MODE, Some(&self.interception_mode)),
            (
                "include-outbound-ip-ranges",
                words::INCLUDE_IP_RANGES,
                self.include_outbound_ip_ranges.as_ref(),
            ),
            (
                "exclude-outbound-ip-ranges",
                words::EXCLUDE_IP_RANGES,
                self.exclude_outbound_ip_ranges.as_ref(),
            ),
            ("include-outbound-ports", words::INCLUDE_PORTS, self.include_outbound_ports.as_ref()),
            ("exclude-outbound-ports", words::EXCLUDE_PORTS, self.exclude_outbound_ports.as_ref()),
            ("exclude-interfaces", words::EXCLUDE_INTERFACES, self.exclude_interfaces.as_ref()),
        ]
        .into_iter()
        .filter_map(|(option, word, value)| Some((option, word, value?.clone())))
        .collect()
    }
}
