//! A verdict as a message of `umbra.v1`, and those of several replicas together: what was counted adds up, and is judged anew.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use umbra_judge::{
    Aspect, Discordance, Example, Exclusion, Histogram, JudgeLimits, Outcome, Tally, Verdict, judge, outcome,
};
use umbra_proto::umbra::v1;

use super::Known;

/// What part of the pairs with a control, by their lines, a judge must have looked at: half of what must be covered, since the ten
/// minutes of the two are not the same ones.
const LOOKED_AT: f64 = 0.45;
/// Examples that are told, of all replicas.
const EXAMPLES: usize = 20;

/// What is known of a mirror. `counted`: how many of its rule's requests were judged by the proxies' own counters, since somebody
/// began to count; 0: nobody does.
pub(crate) fn of(known: &Known, counted: u64) -> v1::Verdict {
    let Known { tally, examples, lines, share, judged_part, copy_limit, .. } = known;
    let named = |names: Vec<(&str, u64)>| {
        names.into_iter().filter(|(_, n)| *n > 0).map(|(name, n)| (name.to_owned(), n)).collect()
    };
    let aspects = Aspect::ALL.into_iter().map(|aspect| {
        let Discordance { pairs, candidate, control } = tally.held(aspect);
        let alone = tally.alone[aspect as usize].pairs;
        v1::Compared { aspect: aspect.as_str().to_owned(), pairs, alone, candidate, control }
    });
    let message = v1::Verdict {
        verdict: String::new(),
        reasons: Vec::new(),
        share_per_million: *share,
        judged_part_per_million: (*judged_part < 1_000_000).then_some(*judged_part),
        lines: *lines,
        counted,
        judged: tally.judged,
        paired: tally.paired,
        copy_missing: tally.copy_missing,
        primary_missing: tally.primary_missing,
        let_go: tally.let_go,
        excluded: named(Exclusion::ALL.map(|it| (it.as_str(), tally.excluded[it as usize])).to_vec()),
        outcomes: named(Outcome::ALL.map(|it| (it.as_str(), tally.outcomes[it as usize])).to_vec()),
        compared: aspects.collect(),
        latency_ratio: tally.median_ratio(),
        examples: examples.iter().map(|it| example(it, *copy_limit)).collect(),
        contents: known.contents.clone(),
        answers: answers(tally),
        waits: waits(tally),
        ratios: tally.ratios().map(|(below, pairs)| v1::Ratios { below, pairs }).collect(),
    };
    judged(message)
}

fn answers(tally: &Tally) -> Vec<v1::AnsweredPairs> {
    let one = |(primary, copy, pairs): (&str, &str, u64)| v1::AnsweredPairs {
        primary: primary.to_owned(),
        copy: copy.to_owned(),
        pairs,
    };
    tally.answered().map(one).collect()
}

fn waits(tally: &Tally) -> Vec<v1::Waits> {
    let mut all: BTreeMap<std::time::Duration, v1::Waits> = BTreeMap::new();
    let mut add = |of: &Histogram, count: fn(&mut v1::Waits) -> &mut u64| {
        for (below, n) in Tally::waits(of) {
            let below_milliseconds = below.as_secs_f64() * 1e3;
            let step = || v1::Waits { below_milliseconds, ..v1::Waits::default() };
            *count(all.entry(below).or_insert_with(step)) += n;
        }
    };
    add(&tally.primary_wait, |it| &mut it.primary);
    add(&tally.copy_wait, |it| &mut it.copy);
    add(&tally.control_wait, |it| &mut it.control);
    all.into_values().collect()
}

/// Adds what another replica counted in the same steps, of which each may lack some.
fn add_steps<T: Clone, K: PartialOrd>(
    to: &mut Vec<T>,
    other: &[T],
    key: impl Fn(&T) -> K,
    add: impl Fn(&mut T, &T),
) {
    for more in other {
        match to.iter_mut().find(|it| key(it) == key(more)) {
            Some(known) => add(known, more),
            None => to.push(more.clone()),
        }
    }
    to.sort_by(|a, b| key(a).partial_cmp(&key(b)).unwrap_or(Ordering::Equal));
}

/// Adds what another replica says of the same mirror.
pub(crate) fn add(to: &mut v1::Verdict, other: &v1::Verdict) {
    // A median is not to be had from two: that of more pairs stands for both.
    let latency = |it: &v1::Verdict| it.compared.get(Aspect::Latency as usize).map_or(0, |it| it.pairs);
    if latency(other) > latency(to) {
        to.latency_ratio = other.latency_ratio;
    }
    to.share_per_million = to.share_per_million.max(other.share_per_million);
    to.judged_part_per_million = match (to.judged_part_per_million, other.judged_part_per_million) {
        // Each replica decides for its own proxies: where least is judged it is said.
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    to.lines += other.lines;
    to.counted += other.counted;
    to.judged += other.judged;
    to.paired += other.paired;
    to.copy_missing += other.copy_missing;
    to.primary_missing += other.primary_missing;
    to.let_go += other.let_go;
    for (to, other) in [(&mut to.excluded, &other.excluded), (&mut to.outcomes, &other.outcomes)] {
        other.iter().for_each(|(name, count)| *to.entry(name.clone()).or_default() += count);
    }
    for (to, other) in to.compared.iter_mut().zip(&other.compared) {
        to.pairs += other.pairs;
        to.alone += other.alone;
        to.candidate += other.candidate;
        to.control += other.control;
    }
    let classes = |it: &v1::AnsweredPairs| (it.primary.clone(), it.copy.clone());
    add_steps(&mut to.answers, &other.answers, classes, |to, more| to.pairs += more.pairs);
    add_steps(
        &mut to.waits,
        &other.waits,
        |it| it.below_milliseconds,
        |to, more| {
            to.primary += more.primary;
            to.copy += more.copy;
            to.control += more.control;
        },
    );
    add_steps(&mut to.ratios, &other.ratios, |it| it.below, |to, more| to.pairs += more.pairs);
    // All replicas ask the same judges.
    let pairs = |it: &v1::Verdict| it.contents.as_ref().map(|contents| contents.pairs);
    if pairs(other) > pairs(to) {
        to.contents.clone_from(&other.contents);
    }
    to.examples.extend(other.examples.iter().cloned());
    to.examples.truncate(EXAMPLES);
    *to = judged(std::mem::take(to));
}

/// The same with the verdict that it comes to.
fn judged(mut message: v1::Verdict) -> v1::Verdict {
    let limits = JudgeLimits::default();
    let judgement = judge(&tally(&message), &limits);
    let mut verdict = judgement.verdict;
    let mut reasons: Vec<String> = judgement.reasons.iter().map(ToString::to_string).collect();
    if let Some(covered) = coverage(&message).filter(|it| *it < limits.coverage) {
        if verdict == Verdict::Same {
            verdict = Verdict::Undecided;
        }
        reasons.push(format!("only {:.0} % of judged requests were seen", covered * 100.0));
    }
    let lowered = lowered(&message).map(|part| {
        format!(
            "only {:.1}% of what is asked for is judged, since more than 1 % of the requests had no pair",
            part * 100.0
        )
    });
    if let Some(part) = looked_at(&message).filter(|it| *it < LOOKED_AT)
        && let Some(contents) = &mut message.contents
    {
        if contents.verdict == Verdict::Same.as_str() {
            Verdict::Undecided.as_str().clone_into(&mut contents.verdict);
        }
        // Another replica may have said it already.
        contents.reasons.retain(|it| !it.ends_with(NOT_LOOKED_AT));
        contents.reasons.push(format!("only {:.0} {NOT_LOOKED_AT}", part * 100.0));
    }
    if let Some(contents) = &message.contents {
        let said = contents.reasons.iter().map(|reason| format!("contents: {reason}"));
        match (verdict, contents.verdict.as_str()) {
            (_, "different") => {
                if verdict != Verdict::Different {
                    reasons.clear();
                }
                verdict = Verdict::Different;
                reasons.extend(said);
            }
            (Verdict::Same, "undecided") => {
                verdict = Verdict::Undecided;
                reasons.extend(said);
            }
            _ => {}
        }
    }
    reasons.extend(lowered);
    message.verdict = verdict.as_str().to_owned();
    message.reasons = reasons;
    message
}

/// The part of judged requests whose lines came; `None`: nobody counts them.
pub(crate) fn coverage(message: &v1::Verdict) -> Option<f64> {
    (message.counted > 0).then(|| (message.lines as f64 / message.counted as f64).min(1.0))
}

/// What is said of that.
const NOT_LOOKED_AT: &str = "% of the pairs were looked at by a judge";

/// The part of the pairs with a control that a judge looked at; `None`: there is none, or no judge has told.
fn looked_at(message: &v1::Verdict) -> Option<f64> {
    let contents = message.contents.as_ref()?;
    let seen = contents.pairs + contents.skipped.values().sum::<u64>();
    let status = message.compared.first()?;
    let controlled = status.pairs.saturating_sub(status.alone);
    (controlled > 0 && seen > 0).then(|| (seen as f64 / controlled as f64).min(1.0))
}

/// The part of the requests that are to be judged that is; `None`: all of it.
pub(crate) fn lowered(message: &v1::Verdict) -> Option<f64> {
    message.judged_part_per_million.map(|part| f64::from(part) / 1e6)
}

/// What a verdict is judged by.
fn tally(message: &v1::Verdict) -> Tally {
    let mut tally = Tally {
        judged: message.judged,
        paired: message.paired,
        copy_missing: message.copy_missing,
        ..Tally::default()
    };
    for (aspect, held) in Aspect::ALL.into_iter().zip(&message.compared) {
        // Whose pairs are discordant is no longer told apart, and does not matter: the test takes all of them.
        let alone = Discordance { pairs: held.alone, ..Discordance::default() };
        let pairs = held.pairs.saturating_sub(held.alone);
        tally.controlled[aspect as usize] =
            Discordance { pairs, candidate: held.candidate, control: held.control };
        tally.alone[aspect as usize] = alone;
    }
    tally.set_median_ratio(message.latency_ratio);
    tally
}

fn example(example: &Example, copy_limit: std::time::Duration) -> v1::VerdictExample {
    v1::VerdictExample {
        request_id: example.request.to_string(),
        method: example.method.to_string(),
        path: example.path.to_string(),
        query: example.query.to_string(),
        primary_code: example.primary.code.unwrap_or_default().into(),
        copy_code: example.copy.code.unwrap_or_default().into(),
        copy_outcome: outcome(&example.copy, copy_limit).as_str().to_owned(),
        primary_size: example.primary.size.unwrap_or_default(),
        copy_size: example.copy.size.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A mirror with so many pairs, of which so many differ in status, and so many lines of what was counted.
    fn verdict(pairs: u64, candidate: u64, lines: u64, counted: u64) -> v1::Verdict {
        let compared = Aspect::ALL.map(|aspect| match aspect {
            Aspect::Status => v1::Compared { pairs, candidate, ..v1::Compared::default() },
            Aspect::Latency => v1::Compared { pairs, control: pairs, ..v1::Compared::default() },
            _ => v1::Compared { pairs, ..v1::Compared::default() },
        });
        judged(v1::Verdict {
            judged: pairs,
            paired: pairs,
            lines,
            counted,
            compared: compared.to_vec(),
            latency_ratio: Some(1.0),
            ..v1::Verdict::default()
        })
    }

    #[test]
    fn what_it_comes_to() {
        for (pairs, candidate, lines, counted, want, reason) in [
            (100, 0, 100, 0, "undecided", "100 pairs of 200"),
            (1000, 0, 1000, 1000, "same", ""),
            (1000, 0, 1000, 0, "same", ""),
            (1000, 0, 1000, 2000, "undecided", "only 50 % of judged requests were seen"),
            (
                1000,
                40,
                1000,
                1000,
                "different",
                "status differs in 40 of 1000 pairs, against 0 of the control",
            ),
        ] {
            let got = verdict(pairs, candidate, lines, counted);
            let said = got.reasons.join("; ");
            assert!(got.verdict == want && said.contains(reason), "{}: {said}", got.verdict);
        }
    }

    #[test]
    fn answers_and_times_of_replicas_add_up_in_their_order() {
        let pairs = |primary: &str, copy: &str, pairs| v1::AnsweredPairs {
            primary: primary.to_owned(),
            copy: copy.to_owned(),
            pairs,
        };
        let one = |answers, below, count| v1::Verdict {
            answers,
            waits: vec![v1::Waits { below_milliseconds: below, primary: count, copy: 1, control: 2 }],
            ratios: vec![v1::Ratios { below, pairs: count }],
            ..verdict(100, 0, 100, 100)
        };
        let mut all = one(vec![pairs("2xx", "none", 1), pairs("5xx", "5xx", 2)], 2.048, 5);
        add(&mut all, &one(vec![pairs("2xx", "2xx", 9), pairs("5xx", "5xx", 3)], 1.024, 7));
        add(&mut all, &one(Vec::new(), 2.048, 1));
        let answers: Vec<_> = all.answers.iter().map(|it| (&*it.primary, &*it.copy, it.pairs)).collect();
        assert_eq!(answers, [("2xx", "2xx", 9), ("2xx", "none", 1), ("5xx", "5xx", 5)]);
        let waits: Vec<_> =
            all.waits.iter().map(|it| (it.below_milliseconds, it.primary, it.copy, it.control)).collect();
        assert_eq!(waits, [(1.024, 7, 1, 2), (2.048, 6, 2, 4)]);
        assert_eq!(all.ratios.iter().map(|it| it.pairs).collect::<Vec<_>>(), [7, 6]);
    }

    #[test]
    fn that_less_is_judged_is_said_whatever_it_comes_to() {
        let less = |part| v1::Verdict { judged_part_per_million: part, ..verdict(150, 0, 150, 150) };
        for (one, other, want) in [
            (None, None, ""),
            (None, Some(500_000), "only 50.0% of what is asked for is judged"),
            (Some(125_000), Some(500_000), "only 12.5% of what is asked for is judged"),
        ] {
            let mut all = less(one);
            add(&mut all, &less(other));
            let said = all.reasons.join("; ");
            assert!(said.contains(want) && said.contains("what is asked for") != want.is_empty(), "{said}");
        }
    }

    #[test]
    fn contents_are_part_of_it() {
        let (same, different) = (verdict(1000, 0, 1000, 1000), verdict(1000, 40, 1000, 1000));
        for (lines, contents, want, said) in [
            (&same, "same", "same", ""),
            (&same, "different", "different", "contents: so"),
            (&same, "undecided", "undecided", "contents: so"),
            (&different, "same", "different", "status differs"),
            (&different, "different", "different", "contents: so"),
        ] {
            let told = v1::Contents {
                verdict: contents.to_owned(),
                reasons: vec!["so".to_owned()],
                pairs: 600,
                ..v1::Contents::default()
            };
            let mut got = judged(v1::Verdict { contents: Some(told), ..lines.clone() });
            assert!(got.verdict == want && got.reasons.join("; ").contains(said), "{contents}: {got:?}");
            // Another replica may not have asked yet.
            add(&mut got, lines);
            assert_eq!(got.contents.map(|it| it.pairs), Some(600));
        }
    }

    #[test]
    fn contents_that_hardly_any_judge_looked_at_are_undecided() {
        for (contents, pairs, want, said) in [
            ("same", 500, "same", ""),
            ("same", 400, "undecided", "contents: only 40 % of the pairs were looked at by a judge"),
            ("different", 400, "different", "contents: only 40 % of the pairs were looked at by a judge"),
        ] {
            let told = v1::Contents { verdict: contents.to_owned(), pairs, ..v1::Contents::default() };
            let mut got = judged(v1::Verdict { contents: Some(told), ..verdict(1000, 0, 1000, 1000) });
            let words = got.reasons.join("; ");
            assert!(got.verdict == want && words.contains(said), "{}: {words}", got.verdict);
            // Of two replicas each has half of the lines, and the judge is one.
            let half = v1::Verdict { contents: got.contents.clone(), ..verdict(500, 0, 500, 500) };
            got = half.clone();
            add(&mut got, &half);
            let words = got.reasons.join("; ");
            assert!(got.verdict == want && words.contains(said), "{}: {words}", got.verdict);
            assert!(words.matches("looked at").count() <= 1, "{words}");
        }
    }

    #[test]
    fn replicas_are_judged_together() {
        let mut all = verdict(150, 10, 150, 150);
        assert_eq!(all.verdict, "undecided");
        add(&mut all, &verdict(150, 10, 150, 150));
        assert_eq!((all.verdict.as_str(), all.judged, all.lines), ("different", 300, 300));
    }
}
