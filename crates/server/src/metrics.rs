//! Every metric, declared in one place; `docs/metrics.md` documents them and a test compares the two.

use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::{Metric, Registry};
use umbra_ir::{Kind, ProxyKind};
use umbra_xds::ResourceType;

use crate::logging::Lost;

/// Content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// By proxy kind.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub struct ByProxy {
    /// `sidecar` or `router`.
    pub kind: &'static str,
}

/// By resource type.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub struct ByType {
    /// `cds`, `eds`, `lds`, `rds` or `rtds`, as Istio names them.
    pub r#type: &'static str,
}

/// By object kind.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub struct ByObject {
    /// `VirtualService`, …
    pub kind: &'static str,
}

/// By diagnostic.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, EncodeLabelSet)]
pub struct ByDiagnostic {
    /// `error`, `warning` or `info`.
    pub severity: &'static str,
    /// The stable code.
    pub code: &'static str,
}

/// By watch of the API server.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub struct ByWatch {
    /// `VirtualService`, …
    pub kind: &'static str,
    /// Its namespace; empty: all.
    pub namespace: String,
}

/// By how something ended.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub struct ByResult {
    /// `written`, `failed`, `injected` and their like.
    pub result: &'static str,
}

/// By why a stream ended.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub struct ByReason {
    /// `client`, `shutdown`, `refused`, `unproven`, `expired`, `first_request_timeout`, `slow_reader`, `full`, `age` or `error`.
    pub reason: &'static str,
}

/// By port.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub struct ByPort {
    /// `xds`, `xds-tls`, `admin`, `probe`, `api` or `injector`.
    pub port: &'static str,
}

/// By what proxies have to prove.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub struct ByMode {
    /// `none`, `token` or `certificate`.
    pub mode: &'static str,
}

/// The version label of `umbra_build_info`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub struct Build {
    /// The crate version.
    pub version: &'static str,
}

/// A counter for each resource type. Its label is looked up once: thousands of streams count at the same time.
#[derive(Debug)]
pub struct TypeCounters([Counter; ResourceType::ALL.len()]);

impl TypeCounters {
    fn of(family: &Family<ByType, Counter>) -> Self {
        let labels = |ty: ResourceType| ByType { r#type: ty.short_name() };
        TypeCounters(ResourceType::ALL.map(|ty| family.get_or_create(&labels(ty)).clone()))
    }

    /// That of a type.
    pub fn get(&self, resource_type: ResourceType) -> &Counter {
        &self.0[resource_type as usize]
    }
}

type Seconds = Gauge<f64, AtomicU64>;

/// All of them. Cloning a metric shares its value; the registry is only for reading them out.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    declared: Vec<(String, &'static str)>,
    /// Label sets that had a value at the last settle, so that those that are gone go to zero.
    diagnostics_shown: Mutex<Vec<ByDiagnostic>>,
    /// `umbra_ready`.
    pub ready: Gauge,
    /// `umbra_proxies`.
    pub proxies: Family<ByProxy, Gauge>,
    /// `umbra_xds_identity`.
    pub identity: Family<ByMode, Gauge>,
    /// `umbra_api_identity`.
    pub api_identity: Family<ByMode, Gauge>,
    /// `umbra_streams_closed`.
    pub streams_closed: Family<ByReason, Counter>,
    /// `umbra_xds_pushes`.
    pub pushes: TypeCounters,
    /// `umbra_xds_push_bytes`.
    pub push_bytes: TypeCounters,
    /// `umbra_xds_acks`.
    pub acks: TypeCounters,
    /// `umbra_xds_nacks`.
    pub nacks: TypeCounters,
    /// `umbra_convergence_seconds`.
    pub convergence: Histogram,
    /// `umbra_generation`.
    pub generation: Gauge,
    /// `umbra_settle_seconds`.
    pub settle_time: Histogram,
    /// `umbra_settle_last_seconds`.
    pub settle_last: Seconds,
    /// `umbra_changes`.
    pub changes: Counter,
    /// `umbra_keys_recomputed`.
    pub keys_recomputed: Counter,
    /// `umbra_objects`.
    pub objects: Family<ByObject, Gauge>,
    /// `umbra_files`.
    pub files: Gauge,
    /// `umbra_watch_in_step`.
    pub watch_in_step: Family<ByWatch, Gauge>,
    /// `umbra_watch_failures`.
    pub watch_failures: Family<ByWatch, Counter>,
    /// `umbra_leader`.
    pub leader: Gauge,
    /// `umbra_statuses_waiting`.
    pub statuses_waiting: Gauge,
    /// `umbra_pods_without_sidecar`.
    pub pods_without_sidecar: Gauge,
    /// `umbra_injections`.
    pub injections: Family<ByResult, Counter>,
    /// `umbra_status_writes`.
    pub status_writes: Family<ByResult, Counter>,
    /// `umbra_events`.
    pub events: Counter,
    /// `umbra_mirrors`.
    pub mirrors: Gauge,
    /// `umbra_diagnostics`.
    pub diagnostics: Family<ByDiagnostic, Gauge>,
    /// `umbra_config_reloads`.
    pub reloads: Counter,
    /// `umbra_config_reload_failures`.
    pub reload_failures: Counter,
    /// `umbra_tls_reloads`.
    pub tls_reloads: Counter,
    /// `umbra_tls_reload_failures`.
    pub tls_reload_failures: Counter,
    /// `umbra_tls_handshake_failures`.
    pub tls_handshake_failures: Counter,
    /// `umbra_tls_certificate_expires_seconds`.
    pub tls_expires: Gauge,
    /// `umbra_connections_gave_way`.
    pub gave_way: Family<ByPort, Counter>,
    /// `umbra_log_lines_repeated`.
    pub log_lines_repeated: Counter,
    /// `umbra_log_lines_unread`.
    pub log_lines_unread: Counter,
}

/// Collects names while declaring.
struct Declare {
    registry: Registry,
    declared: Vec<(String, &'static str)>,
}

impl Declare {
    fn one<M: Metric + TypedMetric + Clone>(
        &mut self,
        name: &'static str,
        help: &'static str,
        metric: M,
    ) -> M {
        self.registry.register(name, help, metric.clone());
        let total = if matches!(M::TYPE, MetricType::Counter) { "_total" } else { "" };
        self.declared.push((format!("umbra_{name}{total}"), help));
        metric
    }
}

/// From a tenth of a millisecond to about 26 s.
fn seconds() -> Histogram {
    Histogram::new((0..10).map(|step| 0.0001 * 4_f64.powi(step)))
}

impl Metrics {
    /// Declares them all, at zero.
    pub fn new(lost: &Lost) -> Self {
        let mut on = Declare { registry: Registry::with_prefix("umbra"), declared: Vec::new() };
        let build = on.one(
            "build_info",
            "Always 1; the label says which umbra this is",
            Family::<Build, Gauge>::default(),
        );
        build.get_or_create(&Build { version: env!("CARGO_PKG_VERSION") }).set(1);
        let metrics = Metrics {
            ready: on.one("ready", "1 after the first load, when proxies are answered", Gauge::default()),
            proxies: on.one("proxies", "Proxies connected now", Family::default()),
            identity: on.one(
                "xds_identity",
                "Always 1; the label says what proxies have to prove",
                Family::default(),
            ),
            api_identity: on.one(
                "api_identity",
                "Always 1 with --api; the label says what its callers have to prove",
                Family::default(),
            ),
            streams_closed: on.one("streams_closed", "Streams that ended, by reason", Family::default()),
            pushes: TypeCounters::of(&on.one("xds_pushes", "Responses sent to proxies", Family::default())),
            push_bytes: TypeCounters::of(&on.one(
                "xds_push_bytes",
                "Bytes of the responses sent",
                Family::default(),
            )),
            acks: TypeCounters::of(&on.one("xds_acks", "Responses that proxies accepted", Family::default())),
            nacks: TypeCounters::of(&on.one(
                "xds_nacks",
                "Responses that proxies rejected",
                Family::default(),
            )),
            convergence: on.one(
                "convergence_seconds",
                "From the publication of a change to the last ACK of a proxy that it concerned",
                seconds(),
            ),
            generation: on.one("generation", "The newest generation that was published", Gauge::default()),
            settle_time: on.one(
                "settle_seconds",
                "Time to recompute what a batch of changes touched",
                seconds(),
            ),
            settle_last: on.one("settle_last_seconds", "The same, of the last batch", Seconds::default()),
            changes: on.one("changes", "Changes of objects that were taken in", Counter::default()),
            keys_recomputed: on.one(
                "keys_recomputed",
                "Derived values that were computed again",
                Counter::default(),
            ),
            objects: on.one("objects", "Objects in force", Family::default()),
            files: on.one("files", "Files that hold objects", Gauge::default()),
            watch_in_step: on.one(
                "watch_in_step",
                "1 while a watch of the API server is in step with it",
                Family::default(),
            ),
            watch_failures: on.one(
                "watch_failures",
                "Failures of watches of the API server; what they read last stays",
                Family::default(),
            ),
            leader: on.one("leader", "1 on the replica that writes the status of objects", Gauge::default()),
            statuses_waiting: on.one(
                "statuses_waiting",
                "Statuses of objects that wait to be written",
                Gauge::default(),
            ),
            pods_without_sidecar: on.one(
                "pods_without_sidecar",
                "Pods that should have a sidecar and have none",
                Gauge::default(),
            ),
            injections: on.one(
                "injections",
                "Questions of API servers about sidecars of new Pods",
                Family::default(),
            ),
            status_writes: on.one("status_writes", "Writes of the status of an object", Family::default()),
            events: on.one("events", "Kubernetes Events sent", Counter::default()),
            mirrors: on.one("mirrors", "Mirrors in VirtualServices", Gauge::default()),
            diagnostics: on.one(
                "diagnostics",
                "What is wrong now; see /debug/diagnostics",
                Family::default(),
            ),
            reloads: on.one(
                "config_reloads",
                "Changed umbra.yaml files that were taken in",
                Counter::default(),
            ),
            reload_failures: on.one(
                "config_reload_failures",
                "Changed umbra.yaml files that were refused; the settings before stay",
                Counter::default(),
            ),
            tls_reloads: on.one(
                "tls_reloads",
                "Changed certificates of xDS over TLS that were taken in",
                Counter::default(),
            ),
            tls_reload_failures: on.one(
                "tls_reload_failures",
                "Changed certificates that were refused; the one before stays",
                Counter::default(),
            ),
            tls_handshake_failures: on.one(
                "tls_handshake_failures",
                "Connections to xDS over TLS that did not get through the handshake",
                Counter::default(),
            ),
            tls_expires: on.one(
                "tls_certificate_expires_seconds",
                "When the certificate of xDS over TLS expires, as a Unix time; 0: there is none",
                Gauge::default(),
            ),
            gave_way: on.one(
                "connections_gave_way",
                "Connections without a stream that was let in that gave way to newer ones",
                Family::default(),
            ),
            log_lines_repeated: on.one(
                "log_lines_repeated",
                "Log lines left out since many of one kind came within a second",
                lost.repeated.clone(),
            ),
            log_lines_unread: on.one(
                "log_lines_unread",
                "Log lines left out since nobody read standard error",
                lost.unread.clone(),
            ),
            registry: on.registry,
            declared: on.declared,
            diagnostics_shown: Mutex::new(Vec::new()),
        };
        metrics.start_at_zero();
        metrics
    }

    /// Shows what is known to exist before it happens: an alarm on an increase needs the zero before it.
    fn start_at_zero(&self) {
        for kind in [ProxyKind::Sidecar, ProxyKind::Router] {
            self.proxies.get_or_create(&ByProxy { kind: kind.as_str() }).set(0);
        }
        for kind in Kind::all() {
            self.objects.get_or_create(&ByObject { kind: kind.as_str() }).set(0);
        }
    }

    /// The counter of connections to a port that gave way to others.
    pub fn gave_way(&self, port: &'static str) -> Counter {
        self.gave_way.get_or_create(&ByPort { port }).clone()
    }

    /// Sets the number of diagnostics of each sort; sorts not named go to zero and vanish.
    pub fn set_diagnostics(&self, counts: &std::collections::BTreeMap<ByDiagnostic, i64>) {
        let mut shown = self.diagnostics_shown.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for gone in shown.iter().filter(|labels| !counts.contains_key(*labels)) {
            self.diagnostics.remove(gone);
        }
        for (labels, count) in counts {
            self.diagnostics.get_or_create(labels).set(*count);
        }
        *shown = counts.keys().cloned().collect();
    }

    /// Notes one settle.
    pub fn settled(&self, took: Duration, recomputed: u64, generation: u64) {
        self.settle_time.observe(took.as_secs_f64());
        self.settle_last.set(took.as_secs_f64());
        self.keys_recomputed.inc_by(recomputed);
        self.generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
    }

    /// All values in the OpenMetrics text form, which Prometheus reads.
    pub fn encode(&self) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = text::encode(&mut out, &self.registry);
        out
    }

    /// Name and help of every metric.
    pub fn declared(&self) -> &[(String, &'static str)] {
        &self.declared
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new(&Lost::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `docs/metrics.md` has one table row for each metric and none more.
    #[test]
    fn the_documentation_names_every_metric() {
        let text = include_str!("../../../docs/metrics.md");
        // Those of mirrors are declared where they are counted.
        let ours = text.lines().filter(|line| !line.starts_with("| `umbra_mirror_"));
        let documented = ours.filter_map(|line| line.strip_prefix("| `umbra_")?.split_once('`'));
        let documented: Vec<_> = documented.map(|(name, _)| format!("umbra_{name}")).collect();
        let metrics = Metrics::default();
        let declared: Vec<_> = metrics.declared().iter().map(|(name, _)| name.clone()).collect();
        assert_eq!(documented, declared);
    }

    #[test]
    fn diagnostics_that_are_gone_vanish() {
        let metrics = Metrics::default();
        let one = ByDiagnostic { severity: "error", code: "HostNotFound" };
        metrics.set_diagnostics(&[(one, 2)].into());
        assert!(metrics.encode().contains("umbra_diagnostics{severity=\"error\",code=\"HostNotFound\"} 2"));
        metrics.set_diagnostics(&std::collections::BTreeMap::new());
        assert!(!metrics.encode().contains("HostNotFound"));
    }
}
