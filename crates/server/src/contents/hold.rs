//! Answers of one request, brought together: its own, the control's and those of its mirrors' copies, in any order. Each comes by a
//! stream of its own. No clock and no IO.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use umbra_judge::Key;

use super::body::Body;

/// Requests that wait for answers at most.
const MAX_WAITING: usize = 4096;
/// How long one is waited for after its first answer: the longest that a copy lives, and some.
pub(super) const PATIENCE: Duration = Duration::from_secs(65);
/// Copies of one request.
const MAX_COPIES: usize = 16;
/// Rules of which it is known which copies they have.
const MAX_RULES: usize = 4096;
/// A copy that so many requests of a rule in a row did not have is waited for no longer: its mirror is off.
const FORGOTTEN: u32 = 8;

/// Of what an answer is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Of {
    /// A judged request of this rule.
    Primary(Arc<str>),
    /// The copy with this mark.
    Copy(Arc<str>),
}

/// One answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// Its status.
    pub(super) status: Arc<str>,
    /// `grpc-status`; empty: none.
    pub(super) grpc: Arc<str>,
    /// Where it came from, as a request and its copies to one place have it in common.
    pub(super) destination: Arc<str>,
    pub(super) body: Body,
}

/// A request of which all came that will.
#[derive(Debug, Default)]
pub(super) struct Whole {
    pub(super) primary: Option<(Arc<str>, Answer)>,
    pub(super) copies: BTreeMap<Arc<str>, Answer>,
    serial: u64,
}

/// Whether a mark is a control's.
pub(super) fn is_control(mark: &str) -> bool {
    mark.starts_with("judge/") && mark.ends_with("#control")
}

impl Whole {
    pub(super) fn control(&self) -> Option<&Answer> {
        self.copies.iter().find(|(mark, _)| is_control(mark)).map(|(_, answer)| answer)
    }
}

/// Those that wait.
#[derive(Debug, Default)]
pub(super) struct Hold {
    waiting: HashMap<Key, Whole>,
    order: VecDeque<(Instant, u64, Key)>,
    /// The copies that each rule's requests have, by what was seen, and how many in a row did not have it.
    rules: HashMap<Arc<str>, HashMap<Arc<str>, u32>>,
    next: u64,
}

impl Hold {
    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Takes in an answer; returns what ends with it. A second one of a kind is dropped.
    pub(super) fn take(&mut self, key: Key, of: Of, answer: Answer, now: Instant) -> Vec<Whole> {
        let mut ended = Vec::new();
        if !self.waiting.contains_key(&key) {
            if self.waiting.len() >= MAX_WAITING {
                ended.extend(self.oldest());
            }
            self.tidy();
            self.next += 1;
            self.order.push_back((now, self.next, key.clone()));
            self.waiting.insert(key.clone(), Whole { serial: self.next, ..Whole::default() });
        }
        let Some(whole) = self.waiting.get_mut(&key) else { return ended };
        match of {
            Of::Primary(rule) => drop(whole.primary.get_or_insert((rule, answer))),
            Of::Copy(mark) => {
                if whole.copies.len() < MAX_COPIES {
                    whole.copies.entry(mark).or_insert(answer);
                }
            }
        }
        if let Some((rule, _)) = &whole.primary {
            if self.rules.len() >= MAX_RULES && !self.rules.contains_key(rule) {
                self.rules.clear();
            }
            let known = self.rules.entry(rule.clone()).or_default();
            for mark in whole.copies.keys() {
                known.insert(mark.clone(), 0);
            }
            let complete = whole.control().is_some()
                && whole.copies.len() > 1
                && known.keys().all(|mark| whole.copies.contains_key(mark));
            if complete {
                ended.extend(self.waiting.remove(&key));
            }
        }
        ended
    }

    /// Those that have been waited for long enough.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Whole> {
        let mut ended = Vec::new();
        while self.order.front().is_some_and(|(came, ..)| now.saturating_duration_since(*came) >= PATIENCE) {
            ended.extend(self.oldest());
        }
        ended
    }

    /// Takes out the one that came first.
    fn oldest(&mut self) -> Option<Whole> {
        while let Some((_, serial, key)) = self.order.pop_front() {
            if self.waiting.get(&key).is_none_or(|whole| whole.serial != serial) {
                continue;
            }
            let whole = self.waiting.remove(&key)?;
            if let Some(known) = whole.primary.as_ref().and_then(|(rule, _)| self.rules.get_mut(rule)) {
                known.retain(|mark, missed| {
                    *missed = if whole.copies.contains_key(mark) { 0 } else { *missed + 1 };
                    *missed < FORGOTTEN
                });
            }
            return Some(whole);
        }
        None
    }

    /// Drops what the order holds of requests that have ended, when that is most of it.
    fn tidy(&mut self) {
        if self.order.len() > 2 * self.waiting.len() + 64 {
            let waiting = &self.waiting;
            self.order.retain(|(_, serial, key)| waiting.get(key).is_some_and(|it| it.serial == *serial));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::body::{Passing, Room};
    use super::*;

    const CONTROL: &str = "judge/a/b/c#control";

    struct Stage {
        hold: Hold,
        now: Instant,
    }

    impl Stage {
        fn take(&mut self, start: u64, of: &str) -> Vec<Whole> {
            let of = if of == "own" { Of::Primary("a/b/c".into()) } else { Of::Copy(of.into()) };
            let body = Passing::new("", "", &Room::default()).end();
            let answer = Answer { status: "200".into(), grpc: "".into(), destination: "".into(), body };
            self.hold.take(Key { start, request: "id".into() }, of, answer, self.now)
        }

        /// Takes these in and says how many ended.
        fn all(&mut self, start: u64, of: &[&str]) -> usize {
            of.iter().map(|of| self.take(start, of).len()).sum()
        }
    }

    fn stage() -> Stage {
        Stage { hold: Hold::default(), now: Instant::now() }
    }

    #[test]
    fn what_belongs_together_ends_together() {
        let mut stage = stage();
        assert_eq!(stage.all(1, &["v2", "own", CONTROL]), 1);
        assert_eq!(stage.all(2, &[CONTROL, "v2"]), 0);
        let ended = stage.take(2, "own");
        let [whole] = &ended[..] else { panic!("{ended:?}") };
        assert!(whole.primary.is_some() && whole.control().is_some() && whole.copies.len() == 2);
        assert_eq!(stage.hold.waiting(), 0);
    }

    #[test]
    fn each_mirror_is_waited_for_once_it_is_known_until_it_is_off() {
        let mut stage = stage();
        assert_eq!(stage.all(1, &["v2", "v3", CONTROL, "own"]), 1);
        for start in 2..2 + u64::from(FORGOTTEN) {
            assert_eq!(stage.all(start, &["v2", CONTROL, "own"]), 0, "{start}");
        }
        stage.now += PATIENCE;
        assert_eq!(stage.hold.expire(stage.now).len(), FORGOTTEN as usize);
        assert_eq!(stage.all(100, &["v2", CONTROL, "own"]), 1);
        assert_eq!(stage.all(101, &["v3", "v2", CONTROL, "own"]), 1);
        assert_eq!(stage.all(102, &["v2", CONTROL, "own"]), 0);
    }

    #[test]
    fn no_more_wait_than_may() {
        let mut stage = stage();
        let ended: usize = (0..MAX_WAITING as u64 + 10).map(|start| stage.all(start, &["own"])).sum();
        assert_eq!((ended, stage.hold.waiting()), (10, MAX_WAITING));
        stage.now += PATIENCE;
        assert_eq!(stage.hold.expire(stage.now).len(), MAX_WAITING);
    }
}
