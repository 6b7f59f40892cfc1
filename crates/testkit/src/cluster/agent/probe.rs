//! The readiness of a container as its probe finds it.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Container, HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::network::Network;
use super::pod::PROBE;
use crate::client::{Ask, Client};
use crate::net::Net;

/// A container that is not ready yet is looked at this often, or at its own period when that is shorter: kubelet waits
/// the whole period, which a test need not.
const EAGER: Duration = Duration::from_millis(200);

/// How long a probe may take at least. kubelet gives up after a second unless told otherwise; here that would be a verdict
/// on a busy machine, and a Pod that is taken off its Services for it fails a test that has done nothing wrong.
const SLOW: Duration = Duration::from_secs(10);

/// One container's readiness over time.
#[derive(Debug)]
pub(super) struct Readiness {
    probe: Option<Probe>,
    next: Instant,
    good: i32,
    bad: i32,
    /// What the probe has found; without a probe a running container is ready.
    pub(super) ready: bool,
}

impl Readiness {
    /// Of a container that has just started.
    pub(super) fn started(container: &Container) -> Self {
        let probe = container.readiness_probe.clone();
        let delay = seconds(probe.as_ref().and_then(|p| p.initial_delay_seconds), 0);
        let ready = probe.is_none();
        Self { probe, next: Instant::now() + delay, good: 0, bad: 0, ready }
    }

    /// Probes when it is time to.
    pub(super) async fn look(&mut self, container: &Container, network: &Network) {
        let Some(probe) = self.probe.clone().filter(|_| Instant::now() >= self.next) else { return };
        let period = seconds(probe.period_seconds, 10);
        if passes(&probe, container, network).await {
            (self.good, self.bad) = (self.good + 1, 0);
            self.ready |= self.good >= probe.success_threshold.unwrap_or(1);
        } else {
            (self.good, self.bad) = (0, self.bad + 1);
            self.ready &= self.bad < probe.failure_threshold.unwrap_or(3);
        }
        self.next = Instant::now() + if self.ready { period } else { period.min(EAGER) };
    }
}

fn seconds(value: Option<i32>, default: u64) -> Duration {
    Duration::from_secs(value.map_or(default, |n| n.try_into().unwrap_or(default)))
}

/// Whether a probe passes now.
pub(super) async fn passes(probe: &Probe, container: &Container, network: &Network) -> bool {
    let limit = seconds(probe.timeout_seconds, 1).max(SLOW);
    let look = async {
        if let Some(get) = &probe.http_get {
            return http(get, container, network).await.is_some_and(|status| (200..400).contains(&status));
        }
        if let Some(tcp) = &probe.tcp_socket {
            let port = port(&tcp.port, container);
            return match port {
                Some(port) => Net::here().connect((network.address, port).into()).await.is_ok(),
                None => false,
            };
        }
        // Nothing can be executed in an echo service, so that an `exec` probe passes.
        probe.exec.is_some()
    };
    tokio::time::timeout(limit, look).await.unwrap_or(false)
}

/// The status of the answer to a GET from the node.
pub(super) async fn http(get: &HTTPGetAction, container: &Container, network: &Network) -> Option<u16> {
    let address = (network.address, port(&get.port, container)?).into();
    let host = get.host.clone().unwrap_or_else(|| network.address.to_string());
    let mut ask = Ask::get(&host, get.path.as_deref().unwrap_or("/")).header("user-agent", PROBE);
    for header in get.http_headers.iter().flatten() {
        ask = ask.header(&header.name, &header.value);
    }
    Some(Client::new(&super::containers::prober(), address).ask(&ask).await.ok()?.status.as_u16())
}

fn port(port: &IntOrString, container: &Container) -> Option<u16> {
    match port {
        IntOrString::Int(number) => u16::try_from(*number).ok(),
        IntOrString::String(name) => {
            let mut ports = container.ports.iter().flatten();
            let found = ports.find(|p| p.name.as_ref() == Some(name))?;
            u16::try_from(found.container_port).ok()
        }
    }
}
