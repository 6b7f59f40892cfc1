//! How workloads answered, of requests and of copies, by what the clusters of proxies count: what Istio's metrics tell, of the
//! destinations of rules that exist and of nothing else. No clock and no IO of its own.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use umbra_ir::{Answerer, ClusterRef, Destinations, Kind, Role};

use super::counts::{Add, Times};
use super::names::{About, Told, What};
use super::table::{copying, statistics_name};

/// Label sets at most, each with two kilobytes here and about fifty lines for each reporter; those of the first clusters by name.
const MAX_SERIES: usize = 500;
/// Codes that are told apart in each; more are counted as the first of their class.
const MAX_CODES: usize = 16;
/// What is there before it happens: an increase needs the zero before it.
const FIRST_CODES: [u16; 4] = [200, 500, 503, 504];
/// The code of a copy that got no answer in time: Envoy counts none.
const TIMED_OUT: u16 = 504;
/// For how long what nothing is counted in any longer goes on to be told: as long as queries look back.
const KEPT: Duration = Duration::from_secs(900);
/// Who answers where several workloads do, or it is not known which: Istio's word.
const UNKNOWN: &str = "unknown";

/// Where requests went, as labels say it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Labels {
    /// The whole host.
    pub(super) service: Arc<str>,
    /// The Service's own name, or the host of another's.
    pub(super) service_name: Arc<str>,
    pub(super) service_namespace: Arc<str>,
    pub(super) workload: Arc<str>,
    pub(super) workload_namespace: Arc<str>,
    /// They were copies.
    pub(super) shadow: bool,
}

/// What was counted under some labels.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Series {
    pub(super) codes: BTreeMap<u16, u64>,
    pub(super) times: Times,
    /// When something belonged to it last.
    last: Instant,
}

/// A cluster that exists.
#[derive(Debug)]
struct Cluster {
    labels: Arc<Labels>,
    /// Of copies: begun or tried, answered (by Envoy too), given up after their time; and how many of the latter had no answer.
    tried: u64,
    answered: u64,
    given_up: u64,
    unanswered: u64,
}

/// Everything that is counted.
#[derive(Debug, Default)]
pub(super) struct Workloads {
    clusters: HashMap<Arc<str>, Cluster>,
    series: BTreeMap<Arc<Labels>, Series>,
}

impl Workloads {
    /// Takes in which clusters there are, and who answers there. Where nobody does just now, who did it last is meant.
    pub(super) fn know(&mut self, all: &Destinations, now: Instant) {
        let mut clusters = HashMap::new();
        let mut shown = BTreeMap::new();
        for (cluster, answerer) in all {
            let roles: &[Role] = match cluster.role.is_mirror() {
                true => &[Role::Mirror, Role::GrpcMirror],
                false => &[cluster.role],
            };
            let named = roles.iter().flat_map(|role| copying(&cluster.with_role(*role)));
            for name in named.map(|cluster| statistics_name(&cluster)).collect::<BTreeSet<_>>() {
                let known = self.clusters.remove(&name);
                let labels = Arc::new(labels(cluster, answerer, known.as_ref().map(|it| &*it.labels)));
                if shown.len() == MAX_SERIES && !shown.contains_key(&labels) {
                    continue;
                }
                let labels = shown.entry(labels.clone()).or_insert(labels).clone();
                let cluster = match known {
                    Some(known) => Cluster { labels, ..known },
                    None => Cluster { labels, tried: 0, answered: 0, given_up: 0, unanswered: 0 },
                };
                clusters.insert(name, cluster);
            }
        }
        self.clusters = clusters;
        for labels in shown.into_values() {
            self.series.entry(labels).or_insert_with(|| Series::new(now)).last = now;
        }
        self.series.retain(|_, series| now.saturating_duration_since(series.last) < KEPT);
        // Those that nothing belongs to any longer are the first to make room.
        while self.series.len() > 2 * MAX_SERIES {
            let oldest = self.series.iter().min_by_key(|(_, series)| series.last).map(|(it, _)| it.clone());
            oldest.and_then(|oldest| self.series.remove(&oldest));
        }
    }

    /// Counts what a proxy says.
    pub(super) fn take(&mut self, told: &Told<'_>, now: Instant) {
        let About::Cluster(name) = told.about else { return };
        let Some(cluster) = self.clusters.get_mut(name) else { return };
        let Some(series) = self.series.get_mut(&cluster.labels) else { return };
        series.last = now;
        match told.what {
            What::Code(code) => {
                series.count(code, told.count);
                cluster.answered = cluster.answered.saturating_add(told.count);
            }
            What::Time => series.times.add(&told.times),
            What::Begun | What::NoEndpoint | What::Overflow | What::Ejected => {
                cluster.tried = cluster.tried.saturating_add(told.count);
            }
            What::Timeout => cluster.given_up = cluster.given_up.saturating_add(told.count),
            What::Completed | What::Class(_) | What::Reset | What::Broken => {}
        }
        // One that was cut off within its answer has a code already. What is under way only makes the first term larger, and
        // what was counted stays counted.
        let unanswered = cluster.tried.saturating_sub(cluster.answered).min(cluster.given_up);
        if cluster.labels.shadow && unanswered > cluster.unanswered {
            series.count(TIMED_OUT, unanswered - cluster.unanswered);
            cluster.unanswered = unanswered;
        }
    }

    /// All of it, in the order of labels.
    pub(super) fn counted(&self) -> Vec<(Arc<Labels>, Series)> {
        self.series.iter().map(|(labels, series)| (labels.clone(), series.clone())).collect()
    }
}

impl Series {
    fn new(now: Instant) -> Self {
        let codes = FIRST_CODES.map(|code| (code, 0));
        Series { codes: codes.into(), times: Times::default(), last: now }
    }

    fn count(&mut self, code: u16, count: u64) {
        let known = self.codes.len() < MAX_CODES || self.codes.contains_key(&code);
        let code = if known { code } else { code - code % 100 };
        let to = self.codes.entry(code).or_default();
        *to = to.saturating_add(count);
    }
}

/// `before`: what they were.
fn labels(cluster: &ClusterRef, answerer: &Answerer, before: Option<&Labels>) -> Labels {
    let object = &cluster.service.object;
    let service = cluster.spelling.clone();
    let service_name = if object.kind == Kind::Service { object.name.clone() } else { service.clone() };
    let (workload, workload_namespace) = match (answerer, before) {
        (Answerer::One(workload), _) => (workload.name.clone(), workload.namespace.clone()),
        (Answerer::Nobody, Some(before)) => (before.workload.clone(), before.workload_namespace.clone()),
        (Answerer::Nobody, None) | (Answerer::Several, _) => (UNKNOWN.into(), UNKNOWN.into()),
    };
    Labels {
        service,
        service_name,
        service_namespace: object.namespace.clone(),
        workload,
        workload_namespace,
        shadow: cluster.role.is_mirror(),
    }
}

#[cfg(test)]
mod tests;
