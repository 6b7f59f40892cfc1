//! What the bodies of pairs come to: of each way in which they differ, whether the shadow does so more than production itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crate::content::{Difference, How};
use crate::verdict::{at_most, effect, small};
use crate::{Discordance, JudgeLimits, Verdict, always_valid_p};

/// Ways that are told apart; what differs in further ones is counted as one.
const MAX_WAYS: usize = 256;
/// The path under which these are.
const FURTHER: &str = "…";

/// How often answers differed in one way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Differing {
    /// The copy's did, and the control's did not.
    pub candidate: u64,
    /// The other way round.
    pub control: u64,
    /// Both did: it is noise.
    pub both: u64,
}

impl Differing {
    fn add(&mut self, candidate: bool, control: bool) {
        match (candidate, control) {
            (true, true) => self.both += 1,
            (true, false) => self.candidate += 1,
            (false, true) => self.control += 1,
            (false, false) => {}
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Way {
    times: Differing,
    /// How many ways had shown themselves in one of the two alone when this one did; `None`: it has not yet.
    nth: Option<u32>,
}

/// What was counted of the bodies of a mirror's pairs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Contents {
    /// Pairs of which both bodies were compared with the primary's.
    pub pairs: u64,
    ways: BTreeMap<Difference, Way>,
    shown: u32,
}

impl Contents {
    /// Counts a pair: in what the copy and the control differ from their primary.
    pub fn add(&mut self, candidate: &BTreeSet<Difference>, control: &BTreeSet<Difference>) {
        self.pairs += 1;
        let mut further = (false, false);
        for difference in candidate.union(control) {
            let (in_candidate, in_control) = (candidate.contains(difference), control.contains(difference));
            if self.ways.contains_key(difference) || self.ways.len() < MAX_WAYS {
                self.count(difference.clone(), in_candidate, in_control);
            } else {
                further = (further.0 | in_candidate, further.1 | in_control);
            }
        }
        if further != (false, false) {
            let difference = Difference { path: Arc::from(FURTHER), how: How::Value };
            self.count(difference, further.0, further.1);
        }
    }

    fn count(&mut self, difference: Difference, candidate: bool, control: bool) {
        let way = self.ways.entry(difference).or_default();
        way.times.add(candidate, control);
        if candidate != control && way.nth.is_none() {
            self.shown += 1;
            way.nth = Some(self.shown);
        }
    }

    /// Adds what was counted after it.
    pub fn merge(&mut self, later: &Self) {
        self.pairs += later.pairs;
        let mut ways: Vec<_> = later.ways.iter().collect();
        ways.sort_by_key(|(_, way)| way.nth.unwrap_or(u32::MAX));
        for (difference, more) in ways {
            let way = self.ways.entry(difference.clone()).or_default();
            way.times.candidate += more.times.candidate;
            way.times.control += more.times.control;
            way.times.both += more.times.both;
            if more.nth.is_some() && way.nth.is_none() {
                self.shown += 1;
                way.nth = Some(self.shown);
            }
        }
    }

    /// In what answers differed, what tells most first.
    pub fn differences(&self) -> Vec<(&Difference, Differing)> {
        let mut all: Vec<_> = self.ways.iter().map(|(it, way)| (it, way.times, self.p(way))).collect();
        all.sort_by(|(_, a, p), (_, b, q)| {
            let often = |times: &Differing| times.candidate + times.control + times.both;
            p.total_cmp(q).then(often(b).cmp(&often(a)))
        });
        all.into_iter().map(|(difference, times, _)| (difference, times)).collect()
    }

    /// The probability of so much by chance, over all ways.
    ///
    /// The n-th way to show itself has 1/(n (n+1)) of the error, which together is all of it. That it is chosen by what was seen
    /// costs nothing: one pair alone is no evidence.
    fn p(&self, way: &Way) -> f64 {
        let Some(nth) = way.nth.map(f64::from) else { return 1.0 };
        let p = always_valid_p(way.times.candidate, way.times.control) / 2.0 * nth * (nth + 1.0);
        // Of a shadow that is nearer to its primary than the control nothing is said.
        if way.times.candidate > way.times.control { p.min(1.0) } else { 1.0 }
    }

    /// What it comes to, where so many more should have been compared and were lost. See docs/contents.md.
    pub fn judge(&self, lost: u64, limits: &JudgeLimits) -> ContentsJudgement {
        let pairs = self.pairs;
        // Of nothing that should have been compared all was.
        let part = if pairs + lost == 0 { 1.0 } else { pairs as f64 / (pairs + lost) as f64 };
        let covered = (part < limits.coverage).then_some(ContentsReason::Covered { part });
        if pairs < limits.pairs {
            let few = ContentsReason::Pairs { have: pairs, need: limits.pairs };
            let reasons = [few].into_iter().chain(covered).collect();
            return ContentsJudgement { verdict: Verdict::Undecided, reasons, pairs };
        }
        let mut found = Vec::new();
        let mut open = Vec::new();
        let nothing = Way::default();
        let whole = Difference { path: "".into(), how: How::Value };
        for (difference, way) in self.ways.iter().chain([(&whole, &nothing)]) {
            let Differing { candidate, control, .. } = way.times;
            let held = Discordance { pairs, candidate, control };
            let (p, at_most) = (self.p(way), at_most(&held));
            if p < limits.p && effect(&held) > limits.effect {
                found.push((p, ContentsReason::Differs { difference: difference.clone(), held, p }));
            } else if at_most > limits.effect {
                open.push((1.0 - at_most, ContentsReason::Open { difference: difference.clone(), at_most }));
            }
        }
        // What was compared does differ; that the rest is like what does not, nobody knows.
        let verdict = match (found.is_empty(), open.is_empty() && covered.is_none()) {
            (false, _) => Verdict::Different,
            (true, false) => Verdict::Undecided,
            (true, true) => Verdict::Same,
        };
        let mut reasons = if found.is_empty() { open } else { found };
        reasons.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        // That comes first: only so many are told.
        let reasons = covered.into_iter().chain(reasons.into_iter().map(|(_, why)| why)).collect();
        ContentsJudgement { verdict, reasons, pairs }
    }
}

/// A verdict on contents with what it rests on.
#[derive(Clone, PartialEq, Debug)]
pub struct ContentsJudgement {
    /// The verdict.
    pub verdict: Verdict,
    /// Of a `different` one what differs, of an `undecided` one what is missing; what tells most first.
    pub reasons: Vec<ContentsReason>,
    /// Pairs that were compared.
    pub pairs: u64,
}

/// Why.
#[derive(Clone, PartialEq, Debug)]
pub enum ContentsReason {
    /// Too few pairs.
    Pairs {
        /// How many there are.
        have: u64,
        /// How many there must be.
        need: u64,
    },
    /// The shadow's answers differ in this.
    Differs {
        /// In what.
        difference: Difference,
        /// The pairs that say so.
        held: Discordance,
        /// The probability of so much by chance, over all ways.
        p: f64,
    },
    /// Less than what must be was compared of what should have been.
    Covered {
        /// What part.
        part: f64,
    },
    /// A difference as large as the limit is not ruled out.
    Open {
        /// In what.
        difference: Difference,
        /// The largest one, as a part of the pairs.
        at_most: f64,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "the body" } else { &*self.path };
        match self.how {
            How::Value if &*self.path == FURTHER => f.write_str("another field"),
            How::Value | How::Digest => f.write_str(path),
            how => write!(f, "{path} ({})", how.as_str()),
        }
    }
}

impl fmt::Display for ContentsReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ContentsReason::Pairs { have, need } => write!(f, "{have} pairs of {need}"),
            ContentsReason::Differs { difference, held, p } => {
                let Discordance { pairs, candidate, control } = held;
                let p = small(*p);
                write!(
                    f,
                    "{difference} differs in {candidate} of {pairs} pairs, against {control} of the control (p {p})"
                )
            }
            ContentsReason::Covered { part } => {
                write!(f, "only {:.1} % of the answers were compared", part * 100.0)
            }
            ContentsReason::Open { difference, at_most } => {
                write!(f, "{difference} may still differ in up to {:.2} % of pairs", at_most * 100.0)
            }
        }
    }
}
