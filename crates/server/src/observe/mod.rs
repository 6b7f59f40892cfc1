//! What really became of copies, as the proxies of this replica count it: how many there were and should have been, how their
//! target answered beside the primary, and which were lost, and why. And how workloads answered, copies or not, under the names of
//! Istio's metrics.
//!
//! Start reading at: `counts.rs` (what is counted), then `table.rs` (of what and for how long); `workloads.rs` is the other half.

mod counts;
mod history;
mod istio;
mod names;
mod prometheus;
mod table;
mod workloads;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use prost::Message;
use umbra_ir::{AbortReason, RuntimeKey};
use umbra_proto::opentelemetry::proto::metrics::v1::Metric;

use crate::engine_task::{EngineHandle, Observable};
use crate::parts::{self, NoMessage};
use crate::verdicts::Verdicts;
use names::Told;
use table::Table;
use workloads::Workloads;

pub(crate) use counts::{Add, BOUNDS, CLASSES, Copies, Counts, Primaries, Times};
pub(crate) use history::{MINUTES, Part};
pub(crate) use table::{Counted, HOLD, Minutes, Observation, Seen};

/// How often it is looked which mirrors there are.
const REFRESH: Duration = Duration::from_secs(1);
/// When no proxy has sent anything for so long, none does: it would every five seconds.
const SILENT: Duration = Duration::from_secs(30);
/// The largest metric that is read: Envoy's has one number, or one histogram.
const MAX_METRIC: usize = 64 << 10;
/// What the proxies of this replica have counted. Clones are the same.
#[derive(Clone, Debug)]
pub struct Observed {
    engine: EngineHandle,
    verdicts: Verdicts,
    state: Arc<Mutex<State>>,
    /// The same moment on both clocks.
    born: (Instant, Timestamp),
}

#[derive(Debug)]
struct State {
    table: Table,
    workloads: Workloads,
    /// Which generation the table knows the mirrors of, and when it was looked.
    known: Option<(u64, Instant)>,
    /// Nothing is to be counted.
    off: bool,
    /// Of each mirror the limits that have nothing yet to compare with.
    unbased: BTreeMap<RuntimeKey, Vec<AbortReason>>,
    /// When a proxy last sent something.
    heard: Option<Instant>,
}

impl Observed {
    /// Nothing yet, of the mirrors that `engine` has.
    pub fn new(engine: EngineHandle) -> Self {
        let born = (Instant::now(), Timestamp::now());
        let seconds = u64::try_from(born.1.as_second()).unwrap_or_default();
        let state = State {
            table: Table::new(born.0, seconds),
            workloads: Workloads::default(),
            known: None,
            off: false,
            unbased: BTreeMap::new(),
            heard: None,
        };
        Observed { engine, verdicts: Verdicts::default(), state: Arc::new(Mutex::new(state)), born }
    }

    /// A moment as people and other machines tell it.
    pub(crate) fn time(&self, moment: Instant) -> Timestamp {
        let (instant, timestamp) = self.born;
        let after = timestamp.checked_add(moment.saturating_duration_since(instant));
        after.unwrap_or(timestamp).round(jiff::Unit::Second).unwrap_or(timestamp)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks which mirrors there are, if that may have changed.
    pub(crate) async fn refresh(&self) {
        let generation = self.engine.published().generation;
        let fresh = self
            .lock()
            .known
            .is_some_and(|(known, looked)| known == generation || looked.elapsed() < REFRESH);
        if fresh {
            return;
        }
        let Observable { mirrors, destinations } = self.engine.observable().await;
        let copy_limit = self.engine.copy_limit().await.unwrap_or_default();
        let now = Instant::now();
        let mut state = self.lock();
        state.off = mirrors.is_none();
        let mirrors = mirrors.unwrap_or_default();
        self.verdicts.know(&mirrors, copy_limit);
        state.table.know(&mirrors, now);
        state.workloads.know(&destinations.unwrap_or_default(), now);
        state.known = Some((generation, now));
    }

    /// What is known of judged requests.
    pub(crate) fn verdicts(&self) -> &Verdicts {
        &self.verdicts
    }

    /// Notes that a proxy sends.
    pub(crate) fn heard(&self) {
        self.lock().heard = Some(Instant::now());
    }

    /// Counts what a message of OpenTelemetry's metrics service says. Its metrics are read one by one: one of two bytes would come
    /// to a hundred.
    ///
    /// # Errors
    /// This is no message.
    pub(crate) fn take(&self, message: &[u8]) -> Result<(), NoMessage> {
        /// `ExportMetricsServiceRequest.resource_metrics.scope_metrics.metrics`.
        const METRIC: [u32; 3] = [1, 2, 2];
        let (now, mut bad) = (Instant::now(), false);
        let read = parts::each(message, &METRIC, &mut |metric| {
            if metric.len() > MAX_METRIC {
                return;
            }
            let Ok(metric) = Metric::decode(metric) else {
                bad = true;
                return;
            };
            if let Some(told) = Told::read(&metric) {
                let mut state = self.lock();
                state.table.take(&told, now);
                state.workloads.take(&told, now);
            }
        });
        self.lock().table.end_message(now);
        read?;
        if bad { Err(NoMessage) } else { Ok(()) }
    }

    /// What is known of a mirror; `None`: nobody counts.
    pub(crate) fn of(&self, key: &RuntimeKey) -> Option<Observation> {
        let mut state = self.lock();
        if state.off || state.heard.is_none_or(|last| last.elapsed() >= SILENT) {
            return None;
        }
        state.table.observation(key, Instant::now())
    }

    /// Every mirror that has limits, with all that was ever counted of it.
    pub(crate) fn watched(&self) -> Vec<Seen> {
        self.lock().table.watched()
    }

    /// Takes in which limits of each mirror have nothing yet to compare with.
    pub(crate) fn set_unbased(&self, unbased: BTreeMap<RuntimeKey, Vec<AbortReason>>) {
        self.lock().unbased = unbased;
    }

    /// Whether a limit of a mirror has something to compare with, if it needs that.
    pub(crate) fn is_based(&self, key: &RuntimeKey, reason: AbortReason) -> bool {
        let needs = matches!(reason, AbortReason::PrimaryErrors | AbortReason::PrimaryLatency);
        !needs || self.lock().unbased.get(key).is_some_and(|unbased| !unbased.contains(&reason))
    }

    /// The last hour of these mirrors by minutes, of those of which anything was counted.
    pub(crate) fn minutes<'a>(
        &self,
        keys: impl Iterator<Item = &'a RuntimeKey>,
    ) -> Vec<(&'a RuntimeKey, Minutes)> {
        let (state, now) = (self.lock(), Instant::now());
        let each = keys.map(|key| (key, state.table.minutes(key, now)));
        each.filter(|(_, minutes)| !minutes.is_empty()).collect()
    }

    /// Of a rule's requests, since it is known here: how many were answered, and how many of these were judged. `None`: no proxy of
    /// this replica tells.
    pub(crate) fn requests(&self, rule: &str) -> Option<(u64, u64)> {
        let state = self.lock();
        if state.off || state.heard.is_none_or(|last| last.elapsed() >= SILENT) {
            return None;
        }
        state.table.requests(rule)
    }

    /// Nothing is to be counted: the settings say so.
    pub(crate) fn is_off(&self) -> bool {
        self.lock().off
    }

    fn counted(&self) -> Counted {
        self.lock().table.counted(prometheus::MAX_SHOWN)
    }

    fn answered(&self) -> Vec<(Arc<workloads::Labels>, workloads::Series)> {
        self.lock().workloads.counted()
    }

    /// What was counted of mirrors and of workloads, in the OpenMetrics text form without its end.
    pub fn encode(&self) -> String {
        let mut umbra = Registry::with_prefix("umbra");
        umbra.register_collector(Box::new(self.clone()));
        umbra.register_collector(Box::new(self.verdicts.clone()));
        let mut istio = Registry::with_prefix("istio");
        istio.register_collector(Box::new(istio::Requests(self.clone())));
        let mut out = String::new();
        for registry in [umbra, istio] {
            // Writing to a string does not fail.
            let _ = text::encode_registry(&mut out, &registry);
        }
        out
    }
}
