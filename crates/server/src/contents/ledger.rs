//! What the answers of each mirror's copies come to, over the last ten minutes. No clock and no IO.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use umbra_judge::{Contents, ContentsReason, Difference, JudgeLimits, differences, differing_values};
use umbra_proto::umbra::v1;

use super::body::{Why, contents};
use super::hold::{Whole, is_control};

/// Half of the time that pairs count.
const HALF: Duration = Duration::from_secs(300);
/// Mirrors of which something is known.
const MAX_MIRRORS: usize = 1000;
/// Ways to differ that are told of a mirror.
const MAX_TOLD: usize = 32;
/// Reasons that are told of a verdict.
const MAX_REASONS: usize = 5;

/// Values that are kept of one way to differ.
const MAX_VALUES: usize = 3;
/// How long it counts that values may be shown.
const ALLOWED: Duration = Duration::from_secs(60);

/// Values of fields that differ, the primary's and the copy's.
type Values = BTreeMap<Difference, [String; 2]>;

/// Why the answers to a request are not compared.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Skipped {
    /// One of the three did not come.
    Incomplete,
    /// They have not all one status: that is judged by lines.
    Status,
    /// The request went to another destination than its control.
    Elsewhere,
    /// There was no room for one of them.
    Crowded,
}

impl Skipped {
    const ALL: [Skipped; 4] = [Skipped::Incomplete, Skipped::Status, Skipped::Elsewhere, Skipped::Crowded];

    fn as_str(self) -> &'static str {
        match self {
            Skipped::Incomplete => "incomplete",
            Skipped::Status => "status",
            Skipped::Elsewhere => "elsewhere",
            Skipped::Crowded => "room",
        }
    }
}

/// What one request says of one mirror.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Compared {
    /// In what the copy and the control differ from their primary, and why not by fields; where the copy alone does, what stands there, if
    /// that may be shown.
    Pair(BTreeSet<Difference>, BTreeSet<Difference>, Option<Why>, Values),
    Skipped(Skipped),
}

/// Compares what was answered to a request with what was answered to its copies, by mark; `shows`: the marks of which values may be
/// shown. Takes as long as reading them does.
pub(super) fn compare(whole: &Whole, shows: &BTreeSet<String>) -> Vec<(Arc<str>, Compared)> {
    let copies = whole.copies.iter().filter(|(mark, _)| !is_control(mark));
    let one = |(mark, copy): (&Arc<str>, &super::hold::Answer)| {
        let compared = match (&whole.primary, whole.control()) {
            (Some((_, primary)), Some(control)) => {
                let all = [primary, copy, control];
                if primary.destination != control.destination {
                    Compared::Skipped(Skipped::Elsewhere)
                } else if all.iter().any(|it| it.status != primary.status || it.grpc != primary.grpc) {
                    Compared::Skipped(Skipped::Status)
                } else if all.iter().any(|it| it.body.crowded) {
                    Compared::Skipped(Skipped::Crowded)
                } else {
                    let ([primary, copy, control], why) = contents(all.map(|it| &it.body));
                    let noise = differences(&primary, &control);
                    let mut values = match shows.contains(&**mark) {
                        true => differing_values(&primary, &copy),
                        false => Values::new(),
                    };
                    values.retain(|it, _| !noise.contains(it));
                    Compared::Pair(differences(&primary, &copy), noise, why, values)
                }
            }
            _ => Compared::Skipped(Skipped::Incomplete),
        };
        (mark.clone(), compared)
    };
    copies.map(one).collect()
}

#[derive(Clone, Debug, Default)]
struct Tally {
    contents: Contents,
    skipped: [u64; Skipped::ALL.len()],
    digests: [u64; Why::ALL.len()],
    /// The newest first, of as many ways as are told.
    values: BTreeMap<Difference, VecDeque<[String; 2]>>,
}

impl Tally {
    fn add(&mut self, compared: &Compared) {
        let count = match compared {
            Compared::Pair(copy, control, why, values) => {
                self.contents.add(copy, control);
                values.iter().for_each(|(it, both)| self.keep(it, both));
                why.and_then(|why| self.digests.get_mut(why as usize))
            }
            Compared::Skipped(why) => self.skipped.get_mut(*why as usize),
        };
        if let Some(count) = count {
            *count += 1;
        }
    }

    fn keep(&mut self, difference: &Difference, values: &[String; 2]) {
        if self.values.len() >= MAX_TOLD && !self.values.contains_key(difference) {
            return;
        }
        let kept = self.values.entry(difference.clone()).or_default();
        if !kept.contains(values) {
            kept.push_front(values.clone());
            kept.truncate(MAX_VALUES);
        }
    }

    fn merge(&mut self, later: &Self) {
        for (difference, values) in &later.values {
            values.iter().rev().for_each(|both| self.keep(difference, both));
        }
        self.contents.merge(&later.contents);
        let skipped = self.skipped.iter_mut().zip(&later.skipped);
        skipped.chain(self.digests.iter_mut().zip(&later.digests)).for_each(|(to, more)| *to += more);
    }
}

#[derive(Debug, Default)]
struct Entry {
    now: Tally,
    before: Tally,
    /// When it went on last, as umbra said.
    since: i64,
}

/// All mirrors of which answers came.
#[derive(Debug)]
pub(super) struct Ledger {
    mirrors: BTreeMap<Arc<str>, Entry>,
    turned: Instant,
    /// Mirrors of which values may be shown, by mark, and since when that is known.
    shows: (Arc<BTreeSet<String>>, Instant),
}

impl Ledger {
    pub(super) fn new(now: Instant) -> Self {
        Ledger { mirrors: BTreeMap::new(), turned: now, shows: (Arc::default(), now) }
    }

    /// Counts what a request says. Of mirrors beyond the most that are known nothing is counted: marks come from proxies.
    pub(super) fn add(&mut self, all: &[(Arc<str>, Compared)]) {
        for (mark, compared) in all {
            if self.mirrors.len() < MAX_MIRRORS || self.mirrors.contains_key(mark) {
                self.mirrors.entry(mark.clone()).or_default().now.add(compared);
            }
        }
    }

    /// Takes in of which mirrors values may be shown, by mark. What may no longer is forgotten.
    pub(super) fn show(&mut self, marks: BTreeSet<String>, now: Instant) {
        for (mark, entry) in &mut self.mirrors {
            if !marks.contains(&**mark) {
                entry.now.values.clear();
                entry.before.values.clear();
            }
        }
        self.shows = (Arc::new(marks), now);
    }

    /// The mirrors of which values may be shown.
    pub(super) fn shows(&self) -> Arc<BTreeSet<String>> {
        self.shows.0.clone()
    }

    /// Lets go what is too old, and mirrors of which nothing came for so long.
    pub(super) fn turn(&mut self, now: Instant) {
        if now.saturating_duration_since(self.shows.1) >= ALLOWED {
            self.show(BTreeSet::new(), now);
        }
        let age = now.saturating_duration_since(self.turned);
        if age < HALF {
            return;
        }
        for _ in 0..if age < 2 * HALF { 1 } else { 2 } {
            for entry in self.mirrors.values_mut() {
                entry.before = std::mem::take(&mut entry.now);
            }
        }
        let is_empty = |tally: &Tally| tally.contents.pairs == 0 && tally.skipped.iter().all(|it| *it == 0);
        self.mirrors.retain(|_, entry| !is_empty(&entry.before));
        self.turned = now;
    }

    /// Forgets what came of mirrors before they went on, once for each time that they do.
    pub(super) fn anew(&mut self, since: &BTreeMap<String, i64>) {
        for (mark, since) in since {
            if let Some(entry) = self.mirrors.get_mut(mark.as_str()).filter(|it| it.since < *since) {
                *entry = Entry { since: *since, ..Entry::default() };
            }
        }
    }

    /// What umbra is told.
    pub(super) fn told(&self) -> Vec<v1::MirrorContents> {
        let one = |(mark, entry): (&Arc<str>, &Entry)| {
            let mut tally = entry.before.clone();
            tally.merge(&entry.now);
            v1::MirrorContents { mark: mark.to_string(), contents: Some(message(&tally)) }
        };
        self.mirrors.iter().map(one).collect()
    }
}

fn shown(values: &VecDeque<[String; 2]>) -> Vec<v1::Values> {
    let one = |[primary, copy]: &[String; 2]| v1::Values { primary: primary.clone(), copy: copy.clone() };
    values.iter().map(one).collect()
}

fn message(tally: &Tally) -> v1::Contents {
    // Answers of several statuses, and of several destinations, are not to be compared; these should have been.
    let lost = [Skipped::Incomplete, Skipped::Crowded].map(|why| tally.skipped[why as usize]).iter().sum();
    let judged = tally.contents.judge(lost, &JudgeLimits::default());
    let named = |names: Vec<(&str, u64)>| {
        names.into_iter().filter(|(_, n)| *n > 0).map(|(name, n)| (name.to_owned(), n)).collect()
    };
    let all = tally.contents.differences();
    let decides = |it: &Difference| {
        judged
            .reasons
            .iter()
            .any(|why| matches!(why, ContentsReason::Differs { difference, .. } if difference == it))
    };
    let told = all.iter().take(MAX_TOLD).map(|(difference, times)| v1::Difference {
        decides: decides(difference),
        path: difference.path.to_string(),
        how: difference.how.as_str().to_owned(),
        candidate: times.candidate,
        control: times.control,
        both: times.both,
        values: tally.values.get(*difference).map(shown).unwrap_or_default(),
    });
    v1::Contents {
        verdict: judged.verdict.as_str().to_owned(),
        reasons: judged.reasons.iter().take(MAX_REASONS).map(ToString::to_string).collect(),
        pairs: judged.pairs,
        skipped: named(Skipped::ALL.map(|it| (it.as_str(), tally.skipped[it as usize])).to_vec()),
        digests: named(Why::ALL.map(|it| (it.as_str(), tally.digests[it as usize])).to_vec()),
        differences: told.collect(),
        more: u32::try_from(all.len().saturating_sub(MAX_TOLD)).unwrap_or(u32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::super::body::{Passing, Room};
    use super::super::hold::Answer;
    use super::*;

    const CONTROL: &str = "judge/a/b/c#control";

    fn answer(status: &str, destination: &str, json: &str) -> Answer {
        let mut body = Passing::new("application/json", "", &Room::default());
        body.pass(json.as_bytes());
        Answer { status: status.into(), grpc: "".into(), destination: destination.into(), body: body.end() }
    }

    /// What a request says, of which these were the answers (status, destination, body): its own, the copy's and the control's.
    fn said(all: [Option<(&str, &str, &str)>; 3]) -> Vec<(Arc<str>, Compared)> {
        let mut whole = Whole::default();
        let [primary, copy, control] = all.map(|it| it.map(|(a, b, c)| answer(a, b, c)));
        whole.primary = primary.map(|it| ("a/b/c".into(), it));
        for (mark, it) in [("v2", copy), (CONTROL, control)] {
            whole.copies.extend(it.map(|it| (Arc::from(mark), it)));
        }
        compare(&whole, &["v2".to_owned()].into())
    }

    #[test]
    fn what_one_request_says() {
        let good = Some(("200", "80||web", r#"{"a": 1}"#));
        for (all, want) in [
            ([good, good, good], Ok((0, 0))),
            ([good, Some(("200", "80|v2|web", r#"{"a": 2, "b": 1}"#)), good], Ok((2, 0))),
            ([good, good, Some(("200", "80||web", r#"{"a": 2}"#))], Ok((0, 1))),
            ([good, good, Some(("200", "80|v1|web", "{}"))], Err(Skipped::Elsewhere)),
            ([good, Some(("500", "", "{}")), good], Err(Skipped::Status)),
            ([good, good, Some(("500", "80||web", "{}"))], Err(Skipped::Status)),
            ([good, good, None], Err(Skipped::Incomplete)),
            ([None, good, good], Err(Skipped::Incomplete)),
        ] {
            let got = match &said(all)[..] {
                [(_, Compared::Pair(copy, control, None, _))] => Ok((copy.len(), control.len())),
                [(_, Compared::Skipped(why))] => Err(*why),
                other => panic!("{other:?}"),
            };
            assert_eq!(got, want, "{all:?}");
        }
    }

    #[test]
    fn values_are_shown_of_whom_they_may_be_and_as_long() {
        let start = Instant::now();
        let mut ledger = Ledger::new(start);
        let good = Some(("200", "80||web", r#"{"a": 1, "t": 1}"#));
        let copies = [2, 3, 2, 4, 5].map(|a| format!(r#"{{"a": {a}, "t": 9}}"#));
        let control = Some(("200", "80||web", r#"{"a": 1, "t": 8}"#));
        ledger.show(["v2".to_owned()].into(), start);
        for copy in &copies {
            ledger.add(&said([good, Some(("200", "80|v2|web", copy)), control]));
        }
        let told = |ledger: &Ledger| {
            let contents = ledger.told().into_iter().find_map(|it| it.contents).expect("something is told");
            let all = contents.differences.into_iter().filter(|it| !it.values.is_empty());
            all.map(|it| {
                (it.path, it.values.iter().map(|both| both.copy.clone()).collect::<Vec<_>>().join(" "))
            })
            .collect::<Vec<_>>()
        };
        // The newest three that differ from each other; what is another each time shows none.
        assert_eq!(told(&ledger), [("a".to_owned(), "5 4 3".to_owned())]);
        ledger.turn(start + Duration::from_secs(59));
        assert_eq!(told(&ledger).len(), 1);
        // Nobody has said so for a minute.
        ledger.turn(start + ALLOWED);
        assert_eq!((told(&ledger), ledger.shows().len()), (Vec::new(), 0));
        let mut whole = Whole::default();
        whole.primary = Some(("a/b/c".into(), answer("200", "80||web", r#"{"a": 1}"#)));
        whole.copies.insert("v2".into(), answer("200", "80|v2|web", r#"{"a": 2}"#));
        whole.copies.insert(CONTROL.into(), answer("200", "80||web", r#"{"a": 1}"#));
        ledger.add(&compare(&whole, &ledger.shows()));
        assert_eq!(told(&ledger), Vec::new());
    }

    #[test]
    fn what_was_not_compared_is_not_said_to_be_the_same() {
        let good = Some(("200", "80||web", r#"{"a": 1}"#));
        let wrong = Some(("200", "80|v2|web", r#"{"a": 2}"#));
        let (bad, elsewhere) = (Some(("500", "80||web", "")), Some(("200", "80|v1|web", "")));
        for (lacks, copies, verdict, reason) in [
            ([good, good, None], 150, "undecided", "only 87.0 % of the answers were compared"),
            ([good, good, None], 100, "same", ""),
            // These are not to be compared.
            ([good, good, bad], 900, "same", ""),
            ([good, good, elsewhere], 900, "same", ""),
            // What differs does so, whatever the rest is.
            ([good, wrong, None], 900, "different", "only 52.6 % of the answers were compared"),
        ] {
            let mut ledger = Ledger::new(Instant::now());
            let copy = if verdict == "different" { wrong } else { good };
            (0..1000).for_each(|_| ledger.add(&said([good, copy, good])));
            (0..copies).for_each(|_| ledger.add(&said(lacks)));
            let told = ledger.told().into_iter().find_map(|it| it.contents).expect("something is told");
            let words = told.reasons.join("; ");
            assert!(told.verdict == verdict && words.contains(reason), "{}: {words}", told.verdict);
        }
    }

    #[test]
    fn what_is_told_and_when_it_is_forgotten() {
        let start = Instant::now();
        let mut ledger = Ledger::new(start);
        let good = Some(("200", "80||web", r#"{"a": 1}"#));
        let wrong = Some(("200", "80|v2|web", r#"{"a": "1"}"#));
        for nth in 0..400 {
            ledger.add(&said([good, if nth % 20 == 0 { wrong } else { good }, good]));
        }
        ledger.add(&said([good, good, None]));
        let told = |ledger: &Ledger| ledger.told().into_iter().find_map(|it| it.contents);
        let contents = told(&ledger).expect("something is told");
        assert_eq!((contents.verdict.as_str(), contents.pairs), ("different", 400));
        assert!(
            contents.reasons[0].starts_with("a (type) differs in 20 of 400 pairs, against 0"),
            "{contents:?}"
        );
        let decides: Vec<_> = contents.differences.iter().map(|it| (&*it.path, it.decides)).collect();
        assert_eq!(decides, [("a", true)]);
        assert_eq!(contents.skipped.get("incomplete"), Some(&1));
        // Who went on is counted anew, once.
        let since = BTreeMap::from([("v2".to_owned(), 1000), ("v9".to_owned(), 1000)]);
        for pairs in [400, 0, 1] {
            assert_eq!(told(&ledger).map(|it| it.pairs), Some(pairs));
            ledger.anew(&since);
            if pairs < 400 {
                ledger.add(&said([good, good, good]));
            }
        }
        (2..400).for_each(|_| ledger.add(&said([good, good, good])));
        ledger.turn(start + HALF);
        assert_eq!(told(&ledger).map(|it| it.pairs), Some(400));
        ledger.turn(start + 2 * HALF);
        assert_eq!(told(&ledger), None);
    }
}
