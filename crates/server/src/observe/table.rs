//! What was counted, by mirror cluster and by rule, of mirrors that exist and of nothing else: what a proxy may send is bounded
//! by what umbra serves. No clock and no IO of its own.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use umbra_ir::{
    AbortLimits, ClusterRef, CopiedRequests, JUDGED, ObjectId, Role, RuntimeFraction, RuntimeKey,
};

use super::counts::{Add, Copies, Counts, Primaries, Times};
use super::history::{History, Part};
use super::names::{About, Told, What};
use crate::engine_task::AllMirrors;

/// Half of the time that counts go back.
const HALF: Duration = Duration::from_secs(300);
/// How long after a change of its share what arrives about a mirror may still be of the time before: a proxy sends every five
/// seconds.
pub(crate) const HOLD: Duration = Duration::from_secs(6);

/// Everything that is counted.
#[derive(Debug)]
pub(super) struct Table {
    mirrors: BTreeMap<RuntimeKey, Mirror>,
    clusters: HashMap<Arc<str>, Entry<Copies>>,
    rules: HashMap<Arc<str>, Entry<Primaries>>,
    /// What the message that is being read says of clusters so far.
    gathered: HashMap<Arc<str>, Copies>,
    /// When the windows last turned.
    turned: Instant,
    /// When what is in them began.
    begin: Instant,
    /// The same moment on both clocks, the second in seconds since 1970.
    born: (Instant, u64),
}

/// A mirror that exists.
#[derive(Debug, PartialEq, Eq)]
struct Mirror {
    object: ObjectId,
    limits: AbortLimits,
    share: Option<RuntimeFraction>,
    rule: Arc<str>,
    clusters: Vec<Arc<str>>,
}

/// The count of one thing.
#[derive(Debug)]
struct Entry<T> {
    /// Since it is known.
    total: T,
    /// In this half of the window, and in the half before.
    now: T,
    before: T,
    /// When what is in the window began to be counted.
    since: Instant,
    /// What arrives until then is counted in `total` alone.
    hold: Instant,
    /// Who has it.
    mirrors: BTreeSet<RuntimeKey>,
    /// Several rules have this name: what is counted is of all of them.
    ambiguous: bool,
    /// By minutes.
    history: History,
}

/// The minutes of a mirror in which anything was counted, by minute since 1970: of its rule's requests, and of copies.
pub(crate) type Minutes = BTreeMap<u32, (Part, Part)>;

/// What is known of one mirror: of the last ten minutes at most, and not of the time before its share last changed.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Observation {
    /// Since when it has been counted; it may be seconds ahead.
    pub(crate) since: Instant,
    /// Of the rule's requests; nothing when its routes have another name.
    pub(crate) primaries: Primaries,
    /// Of the copies: all of the cluster's.
    pub(crate) copies: Copies,
    /// How many copies the shares ask for, of all that go to the cluster.
    pub(crate) wanted: f64,
    /// Copies of other mirrors go to the same cluster.
    pub(crate) shared: bool,
    /// Requests, and copies, a second over the last half minute.
    pub(crate) lately: (f64, f64),
}

/// A mirror with limits, as it is just now.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// The VirtualService.
    pub(crate) object: ObjectId,
    pub(crate) key: RuntimeKey,
    pub(crate) limits: AbortLimits,
    /// In millionths; 0: off, or stopped.
    pub(crate) share: u32,
    /// Something of its rule's requests is copied, there or elsewhere.
    pub(crate) copying: bool,
    /// All that was ever counted.
    pub(crate) counts: Counts,
    /// Other mirrors copy to the same cluster: what was counted of copies is of all of them.
    pub(crate) shared: bool,
    /// Why the verdict is that the target answers otherwise than the primary, where that stops it.
    pub(crate) different: Option<String>,
}

/// The same since the mirrors are known to this process, of what anything was counted of.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Counted {
    /// A mirror's rule and cluster, and what part of the rule's requests is to be copied there.
    pub(crate) shares: Vec<(Arc<str>, Arc<str>, f64)>,
    /// By rule.
    pub(crate) rules: Vec<(Arc<str>, Primaries)>,
    /// By cluster.
    pub(crate) clusters: Vec<(Arc<str>, Copies)>,
}

impl Counted {
    pub(super) fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.clusters.is_empty()
    }
}

impl Table {
    /// Nothing yet, at this moment, which is so many seconds after 1970.
    pub(super) fn new(now: Instant, seconds: u64) -> Self {
        Table {
            born: (now, seconds),
            mirrors: BTreeMap::new(),
            clusters: HashMap::new(),
            rules: HashMap::new(),
            gathered: HashMap::new(),
            turned: now,
            begin: now,
        }
    }

    fn seconds(&self, now: Instant) -> u64 {
        self.born.1 + now.saturating_duration_since(self.born.0).as_secs()
    }

    /// Takes in which mirrors there are, with their shares.
    pub(super) fn know(&mut self, all: &AllMirrors, now: Instant) {
        self.turn(now);
        let seconds = self.seconds(now);
        let mut mirrors = BTreeMap::new();
        let mut rules: HashMap<Arc<str>, Vec<(&ObjectId, usize, &CopiedRequests)>> = HashMap::new();
        let all = all.iter().flat_map(|(id, all)| all.iter().map(move |state| (id, state)));
        for (id, state) in all.filter(|(_, state)| !state.unobserved) {
            let rule: Arc<str> = state.key.rule().into();
            // Where mirrors of a rule copy other requests, what its routes count is of no single one.
            let counted = (id, state.place.rule, &state.requests);
            let all = rules.entry(rule.clone()).or_default();
            if !all.contains(&counted) {
                all.push(counted);
            }
            let roles = [Role::Mirror, Role::GrpcMirror];
            let contents = state.verdicts.is_some_and(|verdicts| verdicts.contents);
            let clusters = state
                .clusters
                .keys()
                .flat_map(|cluster| roles.map(|role| cluster.with_role(role)))
                .flat_map(|cluster| copying(&cluster).into_iter().take(if contents { 2 } else { 1 }))
                .map(|cluster| statistics_name(&cluster));
            let mirror = Mirror {
                object: id.clone(),
                limits: state.limits,
                share: state.share,
                rule,
                clusters: clusters.collect(),
            };
            mirrors.insert(state.key.clone(), mirror);
        }
        let before = std::mem::replace(&mut self.mirrors, mirrors);
        for entry in self.clusters.values_mut() {
            entry.mirrors.clear();
        }
        for entry in self.rules.values_mut() {
            entry.mirrors.clear();
        }
        for (key, mirror) in &self.mirrors {
            for name in &mirror.clusters {
                let entry = self.clusters.entry(name.clone()).or_insert_with(|| Entry::new(now, seconds));
                entry.mirrors.insert(key.clone());
            }
            let entry = self.rules.entry(mirror.rule.clone()).or_insert_with(|| Entry::new(now, seconds));
            entry.mirrors.insert(key.clone());
            entry.ambiguous = rules.get(&mirror.rule).is_some_and(|places| places.len() > 1);
        }
        self.clusters.retain(|_, entry| !entry.mirrors.is_empty());
        self.rules.retain(|_, entry| !entry.mirrors.is_empty());
        let changed = self
            .mirrors
            .iter()
            .filter(|(key, mirror)| before.get(*key).is_some_and(|before| before.share != mirror.share));
        let changed = changed.map(|(key, _)| key.clone()).collect();
        self.restart(changed, now);
    }

    /// Begins anew with these mirrors, and with all whose numbers are compared with theirs.
    fn restart(&mut self, mut todo: Vec<RuntimeKey>, now: Instant) {
        let mut done = BTreeSet::new();
        while let Some(key) = todo.pop() {
            let Some(mirror) = self.mirrors.get(&key) else { continue };
            if !done.insert(key) {
                continue;
            }
            if let Some(rule) = self.rules.get_mut(&mirror.rule) {
                rule.restart(now);
                todo.extend(rule.mirrors.iter().cloned());
            }
            for name in &mirror.clusters {
                let Some(cluster) = self.clusters.get_mut(name) else { continue };
                cluster.restart(now);
                todo.extend(cluster.mirrors.iter().cloned());
            }
        }
    }

    /// Counts what a proxy says.
    pub(super) fn take(&mut self, told: &Told<'_>, now: Instant) {
        self.turn(now);
        let Told { about, what, count, times } = *told;
        let seconds = self.seconds(now);
        match about {
            About::Cluster(name) => {
                if let Some((name, _)) = self.clusters.get_key_value(name) {
                    self.gathered.entry(name.clone()).or_default().add(&copies(what, count, times));
                }
            }
            // Requests of a rule that are judged have a route of their own, and are its requests all the same.
            About::Routes(name) => {
                let judged = name.strip_suffix(JUDGED);
                if let Some(entry) = self.rules.get_mut(judged.unwrap_or(name)) {
                    let mut more = primaries(what, count, times);
                    more.judged = judged.map_or(0, |_| more.completed);
                    entry.add(&more, now);
                    entry.history.add(seconds, &Part::of_primaries(&more));
                }
            }
        }
    }

    /// Takes in that a message is over: only now is what it says of a cluster whole.
    pub(super) fn end_message(&mut self, now: Instant) {
        let seconds = self.seconds(now);
        for (name, mut copies) in std::mem::take(&mut self.gathered) {
            let Some(entry) = self.clusters.get_mut(&name) else { continue };
            copies.tell_lost_apart(&entry.total);
            entry.add(&copies, now);
            entry.history.add(seconds, &Part::of_copies(&copies));
        }
    }

    /// The last hour of a mirror by minutes; nothing of requests that cannot be told apart.
    pub(super) fn minutes(&self, key: &RuntimeKey, now: Instant) -> Minutes {
        let (mut all, seconds) = (Minutes::new(), self.seconds(now));
        let Some(mirror) = self.mirrors.get(key) else { return all };
        let rule = self.rules.get(&mirror.rule).filter(|rule| !rule.ambiguous);
        for (minute, part) in rule.into_iter().flat_map(|rule| rule.history.minutes(seconds)) {
            all.entry(*minute).or_default().0.add(part);
        }
        let clusters = mirror.clusters.iter().filter_map(|name| self.clusters.get(name));
        for (minute, part) in clusters.flat_map(|cluster| cluster.history.minutes(seconds)) {
            all.entry(*minute).or_default().1.add(part);
        }
        all
    }

    /// What is known of a mirror; `None`: there is no such mirror.
    pub(super) fn observation(&mut self, key: &RuntimeKey, now: Instant) -> Option<Observation> {
        self.turn(now);
        let seconds = self.seconds(now);
        let mirror = self.mirrors.get(key)?;
        let mut lately = (0.0, 0.0);
        let (mut copies, mut users, mut since) = (Copies::default(), BTreeSet::from([key]), self.begin);
        for entry in mirror.clusters.iter().filter_map(|name| self.clusters.get(name)) {
            copies.add(&entry.window());
            lately.1 += entry.history.per_second(seconds);
            users.extend(&entry.mirrors);
            since = since.max(entry.since);
        }
        let rule = self.rules.get(&mirror.rule)?;
        since = since.max(rule.since);
        if !rule.ambiguous {
            lately.0 = rule.history.per_second(seconds);
        }
        let wanted = users.iter().filter_map(|key| self.wanted(key)).sum();
        Some(Observation {
            since,
            primaries: if rule.ambiguous { Primaries::default() } else { rule.window() },
            copies,
            wanted,
            shared: users.len() > 1,
            lately,
        })
    }

    /// Every mirror that has limits, with all that was ever counted of it: its rule's requests, and all copies to its clusters.
    pub(super) fn watched(&self) -> Vec<Seen> {
        let share = |mirror: &Mirror| mirror.share.map_or(0, |share| share.millionths());
        let limited = self.mirrors.iter().filter(|(_, mirror)| !mirror.limits.is_empty());
        let one = |(key, mirror): (&RuntimeKey, &Mirror)| {
            let mut copies = Copies::default();
            let clusters = || mirror.clusters.iter().filter_map(|name| self.clusters.get(name));
            clusters().for_each(|cluster| copies.add(&cluster.total));
            let rule = self.rules.get(&mirror.rule)?;
            let mut others = rule.mirrors.iter().filter_map(|key| self.mirrors.get(key));
            Some(Seen {
                object: mirror.object.clone(),
                key: key.clone(),
                limits: mirror.limits,
                share: share(mirror),
                copying: others.any(|other| share(other) > 0),
                different: None,
                shared: clusters().any(|cluster| cluster.mirrors.len() > 1),
                counts: Counts {
                    copies,
                    primaries: if rule.ambiguous { Primaries::default() } else { rule.total },
                },
            })
        };
        limited.filter_map(one).collect()
    }

    /// Of a rule's requests, since it is known: how many were answered, and how many of these were judged. `None`: they are not
    /// counted, or several rules share the name.
    pub(super) fn requests(&self, rule: &str) -> Option<(u64, u64)> {
        let rule = self.rules.get(rule).filter(|rule| !rule.ambiguous)?;
        Some((rule.total.completed, rule.total.judged))
    }

    /// How many copies a mirror's share asks for.
    fn wanted(&self, key: &RuntimeKey) -> Option<f64> {
        let mirror = self.mirrors.get(key)?;
        let rule = self.rules.get(&mirror.rule).filter(|rule| !rule.ambiguous)?;
        let requests = rule.window().completed as f64;
        Some(requests * f64::from(mirror.share?.millionths()) / 1e6)
    }

    /// What was counted since it is known: of so many rules and clusters at most, in the order of their names.
    pub(super) fn counted(&self, most: usize) -> Counted {
        let rules = self.rules.iter().filter(|(_, rule)| rule.total != Primaries::default());
        let clusters = self.clusters.iter().filter(|(_, cluster)| cluster.total != Copies::default());
        let rules = first(rules.map(|(name, entry)| (name.clone(), entry.total)).collect(), most);
        let clusters = first(clusters.map(|(name, entry)| (name.clone(), entry.total)).collect(), most);
        let shown = |name: &Arc<str>| clusters.binary_search_by(|(known, _)| known.cmp(name)).is_ok();
        let mut shares = BTreeMap::new();
        for mirror in self.mirrors.values() {
            let Some(share) = mirror.share else { continue };
            for cluster in mirror.clusters.iter().filter(|cluster| shown(cluster)) {
                let share = f64::from(share.millionths()) / 1e6;
                shares.insert((mirror.rule.clone(), cluster.clone()), share);
            }
        }
        let shares = shares.into_iter().map(|((rule, cluster), share)| (rule, cluster, share)).collect();
        Counted { shares, rules, clusters }
    }

    /// Lets go what is too old.
    fn turn(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.turned);
        if age < HALF {
            return;
        }
        // After a long silence both halves are empty.
        let turns = if age < 2 * HALF { 1 } else { 2 };
        for _ in 0..turns {
            self.clusters.values_mut().for_each(|entry| entry.turn(self.turned));
            self.rules.values_mut().for_each(|entry| entry.turn(self.turned));
            (self.begin, self.turned) = (self.turned, now);
        }
    }
}

impl<T: Add> Entry<T> {
    fn new(now: Instant, seconds: u64) -> Self {
        Entry {
            history: History::new(seconds),
            total: T::default(),
            now: T::default(),
            before: T::default(),
            since: now,
            hold: now,
            mirrors: BTreeSet::new(),
            ambiguous: false,
        }
    }

    fn restart(&mut self, now: Instant) {
        (self.now, self.before) = (T::default(), T::default());
        self.hold = now + HOLD;
        self.since = self.hold;
    }

    fn add(&mut self, count: &T, now: Instant) {
        self.total.add(count);
        if now >= self.hold {
            self.now.add(count);
        }
    }

    /// Another half begins; the one that ends began at `begin`.
    fn turn(&mut self, begin: Instant) {
        self.before = std::mem::take(&mut self.now);
        self.since = self.since.max(begin);
    }

    fn window(&self) -> T {
        let mut window = self.before;
        window.add(&self.now);
        window
    }
}

/// What Envoy calls a cluster in names of statistics: another sign is in the place of a colon.
pub(super) fn statistics_name(cluster: &ClusterRef) -> Arc<str> {
    umbra_envoy::cluster_name(cluster).replace(':', "_").into()
}

/// The clusters that copies to this one may take.
pub(super) fn copying(cluster: &ClusterRef) -> [ClusterRef; 2] {
    [cluster.clone(), cluster.with_contents()]
}

/// The first of these by name.
fn first<T>(mut all: Vec<(Arc<str>, T)>, most: usize) -> Vec<(Arc<str>, T)> {
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    all.truncate(most);
    all
}

fn copies(what: What, count: u64, times: Times) -> Copies {
    let mut copies = Copies::default();
    match what {
        What::Begun => copies.begun = count,
        What::Class(class) => copies.classes[class] = count,
        What::NoEndpoint => copies.no_endpoint = count,
        What::Overflow => copies.overflow = count,
        What::Ejected => copies.ejected = count,
        What::Timeout => copies.timeout = count,
        What::Reset => copies.reset = count,
        What::Broken => copies.broken = count,
        What::Time => copies.times = times,
        What::Code(503) => copies.unavailable = count,
        What::Completed | What::Code(_) => {}
    }
    copies
}

fn primaries(what: What, count: u64, times: Times) -> Primaries {
    let mut primaries = Primaries::default();
    match what {
        What::Completed => primaries.completed = count,
        What::Class(class) => primaries.classes[class] = count,
        What::Time => primaries.times = times,
        _ => {}
    }
    primaries
}

#[cfg(test)]
mod tests;
