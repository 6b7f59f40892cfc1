//! What was counted of each mirror that has limits, for as long as its windows go back, and of its rule when nothing was copied. No
//! clock and no IO of its own.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use umbra_ir::{AbortLimits, AbortReason, Aborted, ObjectId, RuntimeKey};

use super::judge::{is_based, judge};
use crate::observe::{Add, Counts, HOLD, Primaries, Seen};

/// Samples of the shortest window, and a quarter of those of the longest: what is kept of a mirror is 70 kB at most.
const SAMPLES: u32 = 30;
/// How far back it goes what is compared with, in two halves.
const HALF: Duration = Duration::from_secs(600);

/// A mirror that is to be stopped.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Stopped {
    pub(super) object: ObjectId,
    pub(super) key: RuntimeKey,
    pub(super) why: Aborted,
}

#[derive(Debug, Default)]
pub(super) struct Watch(BTreeMap<RuntimeKey, Kept>);

/// What is kept of one.
#[derive(Debug)]
struct Kept {
    limits: AbortLimits,
    share: u32,
    copying: bool,
    /// What arrives until then may be of the time before copying began or ended.
    hold: Instant,
    /// The oldest first.
    samples: VecDeque<(Instant, Counts)>,
    last: Counts,
    /// Of the rule's requests when nothing was copied: of this half of the time, and of the half before.
    alone: (Primaries, Primaries),
    turned: Instant,
}

impl Watch {
    /// Takes in all mirrors that have limits; gives those that have crossed one.
    pub(super) fn step(&mut self, all: Vec<Seen>, now: Instant) -> Vec<Stopped> {
        let mut kept = BTreeMap::new();
        let mut stopped = Vec::new();
        for seen in all {
            let mut one = self.0.remove(&seen.key).unwrap_or_else(|| Kept::new(&seen, now));
            if let Some(why) = one.step(&seen, now) {
                stopped.push(Stopped { object: seen.object, key: seen.key.clone(), why });
            }
            kept.insert(seen.key, one);
        }
        self.0 = kept;
        stopped
    }

    /// Of each mirror the limits that have nothing yet to compare with.
    pub(super) fn unbased(&self) -> BTreeMap<RuntimeKey, Vec<AbortReason>> {
        self.0.iter().map(|(key, kept)| (key.clone(), kept.unbased())).collect()
    }
}

impl Kept {
    fn new(seen: &Seen, now: Instant) -> Self {
        Kept {
            limits: seen.limits,
            share: seen.share,
            copying: seen.copying,
            hold: now,
            samples: VecDeque::new(),
            last: seen.counts,
            alone: (Primaries::default(), Primaries::default()),
            turned: now,
        }
    }

    fn step(&mut self, seen: &Seen, now: Instant) -> Option<Aborted> {
        // How much is copied changes nothing about how copies are answered, and something that holds a share down may change it at
        // every look; whether anything is copied is what times are told apart by.
        let same = (self.share > 0, self.copying) == (seen.share > 0, seen.copying);
        let last = std::mem::replace(&mut self.last, seen.counts);
        // What was counted is gone when the rule was.
        let anew = seen.counts.primaries.completed < last.primaries.completed;
        // What has arrived until a change is seen is of the time before it.
        if !self.copying && !anew && now >= self.hold {
            self.alone(&seen.counts.primaries.since(&last.primaries), now);
        }
        (self.share, self.copying, self.limits) = (seen.share, seen.copying, seen.limits);
        if !same {
            self.hold = now + HOLD;
        }
        if !same || anew || now < self.hold {
            self.samples.clear();
            return None;
        }
        self.sample(seen.counts, now);
        if self.share == 0 {
            return None;
        }
        let baseline = self.baseline();
        let different = || {
            let words = seen.different.clone().filter(|_| self.limits.different)?;
            Some(Aborted { reason: AbortReason::Verdict, words })
        };
        let why =
            judge(&self.limits, |limit| self.within(limit.window, now), &baseline).or_else(different)?;
        // Until it is seen to be stopped it is not judged again.
        self.hold = now + HOLD;
        let of_copies = matches!(why.reason, AbortReason::ShadowErrors | AbortReason::CopiesLost);
        let of = if seen.shared && of_copies { ", of all mirrors to its cluster" } else { "" };
        Some(Aborted { words: why.words + of, ..why })
    }

    /// What is compared with.
    fn baseline(&self) -> Primaries {
        let mut baseline = self.alone.0;
        baseline.add(&self.alone.1);
        baseline
    }

    fn unbased(&self) -> Vec<AbortReason> {
        let baseline = self.baseline();
        let all = self.limits.each().filter(|(reason, limit)| !is_based(*reason, limit, &baseline));
        all.map(|(reason, _)| reason).collect()
    }

    /// Adds to what is compared with.
    fn alone(&mut self, more: &Primaries, now: Instant) {
        if now.saturating_duration_since(self.turned) >= HALF {
            self.alone = (Primaries::default(), self.alone.0);
            self.turned = now;
        }
        self.alone.0.add(more);
    }

    /// Keeps how far it has come, now and then.
    fn sample(&mut self, counts: Counts, now: Instant) {
        let longest = self.limits.each().map(|(_, limit)| limit.window).max().unwrap_or_default();
        let age = |at: &Instant| now.saturating_duration_since(*at);
        // The last one before the window is where the window begins.
        while self.samples.get(1).is_some_and(|(at, _)| age(at) >= longest) {
            self.samples.pop_front();
        }
        let shortest = self.limits.each().map(|(_, limit)| limit.window).min().unwrap_or_default();
        let pause = (longest / (4 * SAMPLES)).max(shortest / SAMPLES);
        if self.samples.back().is_none_or(|(at, _)| age(at) >= pause) {
            self.samples.push_back((now, counts));
        }
    }

    /// What was counted since so long ago, or since it began.
    fn within(&self, window: Duration, now: Instant) -> Counts {
        let before = |(at, _): &&(Instant, Counts)| now.saturating_duration_since(*at) >= window;
        let from = self.samples.iter().rev().find(before).or_else(|| self.samples.front());
        let Some((_, from)) = from else { return Counts::default() };
        Counts {
            copies: self.last.copies.since(&from.copies),
            primaries: self.last.primaries.since(&from.primaries),
        }
    }
}

#[cfg(test)]
mod tests;
