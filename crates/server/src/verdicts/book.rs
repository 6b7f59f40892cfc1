//! What is known of each judged mirror: its pairs of the last ten minutes, and how much of its rule's requests is judged. No clock
//! and no IO of its own.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use umbra_ir::{CopiedRequests, RuntimeFraction, RuntimeKey};
use umbra_judge::{
    Copied, Counts, Ended, Example, JoinLimits, Joins, JudgeLimits, Line, Looks, Losses, Side, StreamId,
    Tally, Verdict, next_share,
};

use umbra_proto::umbra::v1;

use crate::engine_task::AllMirrors;

/// Half of the time that pairs count.
const HALF: Duration = Duration::from_secs(300);
/// How long the proxies' loggers gather lines.
const FLUSH: Duration = Duration::from_secs(1);
/// Pairs that differ and can be looked at.
const EXAMPLES: usize = 20;

/// A rule of which requests are judged.
#[derive(Debug, Default)]
struct Rule {
    /// How many requests a second are to be judged, over all proxies.
    rate: u32,
    /// Bodies are compared, too.
    contents: bool,
    /// One of its mirrors may show queries.
    queries: bool,
    /// The smallest share above 0 of its mirrors, in millionths.
    most: u32,
    /// What would be judged now if no line was lost, in millionths.
    share: u32,
    /// What lost lines make of that.
    losses: Losses,
    /// How many requests there had been, at the last looks.
    looks: Looks,
    /// The marks of a request's copies but for the control's, and which requests are copied there.
    marks: Vec<(Arc<str>, CopiedRequests)>,
    /// The control's mark.
    control: Arc<str>,
    /// Its mirrors.
    mirrors: Vec<RuntimeKey>,
    /// Lines of its requests that came, in this half of the time and in the half before.
    lines: (u64, u64),
    /// How many of its requests had been judged by the proxies' own counters when each of the two began; `None`: it is not known yet.
    begun: Option<(u64, u64)>,
}

impl Rule {
    /// The marks of all copies that a request with this method has.
    fn expected(&self, method: &str) -> Vec<Arc<str>> {
        let copied = self.marks.iter().filter(|(_, requests)| requests.takes(Some(method)));
        let control = is_safe(method).then_some(&self.control);
        copied.map(|(mark, _)| mark).chain(control).cloned().collect()
    }

    /// Whether a request with this method is copied to the mirror with this mark.
    fn expects(&self, mark: &Arc<str>, method: &str) -> bool {
        self.marks.iter().any(|(other, requests)| other == mark && requests.takes(Some(method)))
    }

    /// Whether one of its requests was let go, or ended with no copy's line of those that it should have; `None`: nobody can say. One that
    /// is answered for longer than lines are waited for has its own line too late, and what a stream leaves behind was under way. A
    /// mirror that has nobody to answer is its own trouble, as long as another has; and where requests go to no certain place there is
    /// no control.
    fn is_lost(&self, ended: &Ended) -> Option<bool> {
        if ended.closed {
            return None;
        }
        if ended.evicted {
            return Some(true);
        }
        let (primary, _) = ended.primary.as_ref()?;
        let copied = self.marks.iter().filter(|(_, requests)| requests.takes(Some(&primary.method)));
        let came: Vec<bool> = copied.map(|(mark, _)| ended.copies.contains_key(mark)).collect();
        Some(!came.is_empty() && !came.contains(&true))
    }

    /// Takes in that so many of its requests have been judged, and with `turn` that another half of the time begins.
    fn count(&mut self, judged: u64, turn: bool) {
        let (now, before) = self.begun.filter(|(now, _)| *now <= judged).unwrap_or((judged, judged));
        self.begun = Some(if turn { (judged, now) } else { (now, before) });
    }
}

/// A mirror of such a rule.
#[derive(Debug)]
struct Entry {
    /// It was stopped when it was last looked at.
    stopped: bool,
    rule: Arc<str>,
    mark: Arc<str>,
    now: Tally,
    before: Tally,
    /// Judged, and of these with a line of the copy, since it is known here.
    total: (u64, u64),
    examples: VecDeque<Example>,
    /// Its examples may show queries.
    queries: bool,
    /// Its fields that differ may show values.
    values: bool,
    /// When it went on after a stop, in milliseconds since 1970; 0: it was never stopped.
    since: i64,
}

/// What is known of one mirror.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// Its pairs of the last ten minutes at most.
    pub(crate) tally: Tally,
    /// The newest that differ.
    pub(crate) examples: Vec<Example>,
    /// Lines of its rule's judged requests of the last ten minutes at most.
    pub(crate) lines: u64,
    /// How many of these had been judged before by the proxies' own counters; `None`: it is not known yet.
    pub(crate) begun: Option<u64>,
    /// The rule, as statistics call it.
    pub(crate) rule: Arc<str>,
    /// How long a copy may take.
    pub(crate) copy_limit: Duration,
    /// What of the rule's requests is judged by proxies of this replica, in millionths.
    pub(crate) share: u32,
    /// What part that is of what is asked for, in millionths: less than all of it where lines are lost.
    pub(crate) judged_part: u32,
    /// As its copies call themselves.
    pub(crate) mark: Arc<str>,
    /// What the bodies come to, as far as anybody has told; `None`: they are not compared.
    pub(crate) contents: Option<v1::Contents>,
    /// When it went on after a stop, in milliseconds since 1970; 0: it was never stopped.
    pub(crate) since: i64,
}

/// Everything that is known.
#[derive(Debug)]
pub(super) struct Book {
    rules: HashMap<Arc<str>, Rule>,
    mirrors: BTreeMap<RuntimeKey, Entry>,
    /// Mirrors by mark: lines of anything else are passed over.
    by_mark: HashMap<Arc<str>, Option<RuntimeKey>>,
    joins: Joins,
    limits: JudgeLimits,
    /// How long a copy may take.
    copy_limit: Duration,
    turned: Instant,
    /// Lines that are of nothing that is judged.
    unknown: u64,
}

impl Book {
    pub(super) fn new(now: Instant) -> Self {
        let copy_limit = Duration::from_secs(60);
        Book {
            rules: HashMap::new(),
            mirrors: BTreeMap::new(),
            by_mark: HashMap::new(),
            joins: Joins::new(JoinLimits::new(copy_limit, FLUSH)),
            limits: JudgeLimits::default(),
            copy_limit,
            turned: now,
            unknown: 0,
        }
    }

    /// Takes in which mirrors there are, and how long their copies may take, at this time in milliseconds since 1970.
    pub(super) fn know(&mut self, all: &AllMirrors, copy_limit: Duration, now: i64) {
        self.copy_limit = copy_limit;
        self.joins.set_limits(JoinLimits::new(copy_limit, FLUSH));
        let mut before = std::mem::take(&mut self.rules);
        let mut mirrors = std::mem::take(&mut self.mirrors);
        self.by_mark.clear();
        let judged = all.values().flat_map(|states| states.iter());
        for (state, verdicts) in judged.filter_map(|state| Some((state, state.verdicts?))) {
            let name: Arc<str> = state.key.rule().into();
            let share = state.share.map_or(0, RuntimeFraction::millionths);
            let rule = self.rules.entry(name.clone()).or_insert_with(|| {
                let old = before.remove(&name).unwrap_or_default();
                let control: Arc<str> = state.key.control_mark().into();
                let (marks, mirrors) = (Vec::new(), Vec::new());
                let (rate, contents) = (verdicts.rate, verdicts.contents);
                Rule { rate, contents, queries: false, most: 0, marks, control, mirrors, ..old }
            });
            rule.rate = rule.rate.max(verdicts.rate);
            rule.contents |= verdicts.contents;
            rule.queries |= verdicts.queries;
            let mark: Arc<str> = state.key.mark().into();
            if share > 0 && !state.clusters.is_empty() {
                rule.most = if rule.most == 0 { share } else { rule.most.min(share) };
                rule.marks.push((mark.clone(), state.requests.clone()));
            }
            rule.mirrors.push(state.key.clone());
            self.by_mark.insert(rule.control.clone(), None);
            self.by_mark.insert(mark.clone(), Some(state.key.clone()));
            let mut entry = mirrors.remove(&state.key).unwrap_or_else(|| Entry {
                stopped: state.stopped,
                rule: name,
                mark,
                now: Tally::default(),
                before: Tally::default(),
                total: (0, 0),
                examples: VecDeque::new(),
                queries: false,
                values: false,
                since: 0,
            });
            (entry.queries, entry.values) = (verdicts.queries, verdicts.values);
            if !verdicts.queries {
                // What nobody may see any longer is not kept.
                entry.examples.iter_mut().for_each(|it| it.query = Arc::default());
            }
            if entry.stopped && !state.stopped {
                // Who goes on is judged anew.
                (entry.now, entry.before) = (Tally::default(), Tally::default());
                entry.examples.clear();
                entry.since = now;
            }
            entry.stopped = state.stopped;
            self.mirrors.insert(state.key.clone(), entry);
        }
        for rule in self.rules.values_mut() {
            rule.share = rule.share.min(rule.most);
        }
    }

    /// Another stream of lines.
    pub(super) fn open(&mut self) -> StreamId {
        self.joins.open()
    }

    /// Its end.
    pub(super) fn close(&mut self, stream: StreamId) {
        for ended in self.joins.close(stream) {
            self.count(&ended);
        }
    }

    /// Takes in a line.
    pub(super) fn take(&mut self, stream: StreamId, line: Line, now: Instant) {
        let known = match &line.side {
            Side::Primary(primary) => match self.rules.get_mut(&primary.rule) {
                Some(rule) => {
                    rule.lines.0 += 1;
                    true
                }
                None => false,
            },
            Side::Copy { mark } => self.by_mark.contains_key(mark),
        };
        if !known {
            self.unknown += 1;
            return;
        }
        let rules = &self.rules;
        let ended = self.joins.take(
            stream,
            line,
            |primary| match rules.get(&primary.rule) {
                Some(rule) => rule.expected(&primary.method),
                None => Vec::new(),
            },
            now,
        );
        ended.iter().for_each(|ended| self.count(ended));
    }

    /// Lets go what has waited for long enough, and what is too old. By the proxies' own counters so many requests of a rule have been
    /// `judged` since somebody began to count.
    pub(super) fn turn(&mut self, judged: impl Fn(&str) -> Option<u64>, now: Instant) {
        for ended in self.joins.expire(now) {
            self.count(&ended);
        }
        for (name, rule) in &mut self.rules {
            rule.count(judged(name).unwrap_or_default(), false);
        }
        let age = now.saturating_duration_since(self.turned);
        if age < HALF {
            return;
        }
        // After a long silence both halves are empty.
        for _ in 0..if age < 2 * HALF { 1 } else { 2 } {
            for entry in self.mirrors.values_mut() {
                entry.before = std::mem::take(&mut entry.now);
            }
            for (name, rule) in &mut self.rules {
                rule.lines = (0, rule.lines.0);
                rule.count(judged(name).unwrap_or_default(), true);
            }
        }
        self.turned = now;
    }

    fn count(&mut self, ended: &Ended) {
        let patience = i64::try_from(self.joins.patience().as_millis()).unwrap_or(i64::MAX);
        let keys = match &ended.primary {
            Some((primary, _)) => self.rules.get(&primary.rule).map(|rule| rule.mirrors.clone()),
            None => {
                let keys = ended.copies.keys().filter_map(|mark| self.by_mark.get(mark)?.clone());
                Some(keys.collect())
            }
        };
        let keys = keys.unwrap_or_default();
        let first = keys.first().and_then(|key| self.mirrors.get(key));
        if let Some(rule) = first.and_then(|first| self.rules.get_mut(&first.rule))
            && let Some(lost) = rule.is_lost(ended)
        {
            rule.losses.add(lost);
        }
        for key in keys {
            let Some(entry) = self.mirrors.get_mut(&key) else { continue };
            let Some(rule) = self.rules.get(&entry.rule) else { continue };
            // Of a mirror that is off, or copies no such request, there is nothing to be missed.
            let wanted = match &ended.primary {
                Some((primary, _)) => rule.expects(&entry.mark, &primary.method),
                None => false,
            };
            if !wanted && !ended.copies.contains_key(&entry.mark) {
                continue;
            }
            // Who goes on is judged anew: not by what was under way when it was stopped. A clock that differs by more is not asked.
            let before = entry.since - i64::try_from(ended.key.start / 1000).unwrap_or(i64::MAX);
            if (1..=patience).contains(&before) {
                continue;
            }
            let copied = Copied { mark: &entry.mark, control: Some(&rule.control), limit: self.copy_limit };
            let paired = entry.now.paired;
            let example = entry.now.add(ended, copied, &self.limits);
            entry.total.0 += u64::from(ended.primary.is_some());
            entry.total.1 += entry.now.paired - paired;
            if example && let Some(example) = Example::of(ended, &entry.mark, entry.queries) {
                entry.examples.truncate(EXAMPLES - 1);
                entry.examples.push_front(example);
            }
        }
    }

    /// What part of each rule's requests is to be judged from now on, where there were `requests` since somebody began to count
    /// them and this is one of so many replicas.
    pub(super) fn pace(
        &mut self,
        requests: impl Fn(&str) -> Option<u64>,
        replicas: usize,
        now: Instant,
    ) -> BTreeMap<RuntimeKey, RuntimeFraction> {
        let mut shares = BTreeMap::new();
        let patience = self.joins.patience();
        for (name, rule) in &mut self.rules {
            let pace = rule.looks.look(requests(name), now);
            let target = f64::from(rule.rate) / replicas.max(1) as f64;
            rule.share = next_share(rule.share, pace, target, rule.most);
            rule.losses.look(target, patience, now);
            if let Some(key) = rule.mirrors.first() {
                shares.insert(key.judging(), RuntimeFraction::from_millionths(rule.losses.of(rule.share)));
            }
        }
        shares
    }

    /// What is known of a mirror; `None`: it is not judged.
    pub(super) fn of(&self, key: &RuntimeKey) -> Option<Known> {
        let entry = self.mirrors.get(key)?;
        let rule = self.rules.get(&entry.rule)?;
        let mut tally = entry.before.clone();
        tally.merge(&entry.now);
        let examples = entry.examples.iter().cloned().collect();
        let (share, judged_part) = (rule.losses.of(rule.share), rule.losses.part());
        let copy_limit = self.copy_limit;
        let lines = rule.lines.0 + rule.lines.1;
        let begun = rule.begun.map(|(_, before)| before);
        let (mark, rule_name) = (entry.mark.clone(), entry.rule.clone());
        let contents = rule.contents.then(untold);
        let since = entry.since;
        Some(Known {
            tally,
            examples,
            lines,
            begun,
            rule: rule_name,
            copy_limit,
            share,
            judged_part,
            mark,
            contents,
            since,
        })
    }

    /// The rules of which queries may be seen.
    pub(super) fn queries(&self) -> BTreeSet<Arc<str>> {
        self.rules.iter().filter(|(_, rule)| rule.queries).map(|(name, _)| name.clone()).collect()
    }

    /// The marks of mirrors of which values may be shown.
    pub(super) fn values(&self) -> Vec<String> {
        self.mirrors.values().filter(|it| it.values).map(|it| it.mark.to_string()).collect()
    }

    /// Mirrors that went on after a stop, by mark, and when they last did.
    pub(super) fn since(&self) -> BTreeMap<String, i64> {
        let went_on = self.mirrors.values().filter(|entry| entry.since > 0);
        went_on.map(|entry| (entry.mark.to_string(), entry.since)).collect()
    }

    /// The mirrors that are judged, with how many requests were since each is known, and how many of these had a line of its copy.
    pub(super) fn totals(&self) -> impl Iterator<Item = (&RuntimeKey, (u64, u64))> {
        self.mirrors.iter().map(|(key, entry)| (key, entry.total))
    }

    /// What part of what is asked for of a mirror's rule is judged, in millionths; `None`: it is not judged.
    pub(super) fn judged_part(&self, key: &RuntimeKey) -> Option<u32> {
        Some(self.rules.get(&self.mirrors.get(key)?.rule)?.losses.part())
    }

    /// What became of lines, and how many were of nothing that is judged.
    pub(super) fn counts(&self) -> (Counts, u64) {
        (self.joins.counts(), self.unknown)
    }
}

/// What is said of bodies before a judge has said anything.
fn untold() -> v1::Contents {
    let reasons = vec!["no judge has told of them in the last minute".to_owned()];
    v1::Contents { verdict: Verdict::Undecided.as_str().to_owned(), reasons, ..v1::Contents::default() }
}

/// Whether such requests have a control.
fn is_safe(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS")
}

#[cfg(test)]
mod tests;
