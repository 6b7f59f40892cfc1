//! Whether a mirror's limits are crossed, by what was counted. Pure.

use umbra_ir::{AbortLimit, AbortLimits, AbortReason, Aborted};

use crate::mirrors::percent;
use crate::observe::{BOUNDS, Copies, Counts, Primaries, Times};

/// What is worse than before by fewer standard deviations than this is chance: once in some hundred.
const DEVIATIONS: f64 = 3.0;

/// The first limit that is crossed. `within` gives what was counted in a limit's window, `baseline` is of requests when nothing was
/// copied; without one nothing of the primary's own is judged.
pub(super) fn judge(
    limits: &AbortLimits,
    within: impl Fn(&AbortLimit) -> Counts,
    baseline: &Primaries,
) -> Option<Aborted> {
    let mut based = limits.each().filter(|(reason, limit)| is_based(*reason, limit, baseline));
    based.find_map(|(reason, limit)| {
        let Counts { copies, primaries } = within(&limit);
        let found = match reason {
            AbortReason::ShadowErrors => shadow_errors(&limit, &copies),
            AbortReason::CopiesLost => copies_lost(&limit, &copies),
            AbortReason::PrimaryErrors => primary_errors(&limit, &primaries, baseline),
            AbortReason::PrimaryLatency => primary_latency(&limit, &primaries.times, &baseline.times),
            // It goes by pairs, and has no figures of its own.
            AbortReason::Verdict => None,
        };
        let words = format!("{} (limit {limit})", found?);
        Some(Aborted { reason, words })
    })
}

/// Whether a limit has what it needs to compare with: those of the primary's own are judged by requests when nothing was copied.
pub(super) fn is_based(reason: AbortReason, limit: &AbortLimit, baseline: &Primaries) -> bool {
    match reason {
        AbortReason::PrimaryErrors => is_enough(baseline.completed, limit),
        AbortReason::PrimaryLatency => is_enough(baseline.times.count(), limit),
        AbortReason::ShadowErrors | AbortReason::CopiesLost | AbortReason::Verdict => true,
    }
}

fn most(limit: &AbortLimit) -> f64 {
    f64::from(limit.most) / 1e6
}

fn is_enough(count: u64, limit: &AbortLimit) -> bool {
    count >= u64::from(limit.sample)
}

/// Says so when more than the limit allows of `all` were `bad`.
fn part(limit: &AbortLimit, bad: u64, all: u64, what: &str) -> Option<String> {
    let seen = bad as f64 / all.max(1) as f64;
    (is_enough(all, limit) && seen > most(limit)).then(|| format!("{bad} of {all} {what}, {}", percent(seen)))
}

fn shadow_errors(limit: &AbortLimit, copies: &Copies) -> Option<String> {
    let answers = copies.answers();
    part(limit, answers[4], answers.iter().sum(), "answers to copies were 5xx")
}

fn copies_lost(limit: &AbortLimit, copies: &Copies) -> Option<String> {
    part(limit, copies.lost(), copies.attempts(), "copies were lost")
}

fn primary_errors(limit: &AbortLimit, now: &Primaries, before: &Primaries) -> Option<String> {
    let (bad, all) = (now.classes[4], now.completed);
    if !is_enough(all, limit) {
        return None;
    }
    let (n, m) = (all as f64, before.completed as f64);
    let (is, was) = (bad as f64 / n, before.classes[4] as f64 / m);
    let pooled = (bad + before.classes[4]) as f64 / (n + m);
    let deviation = (pooled * (1.0 - pooled) * (1.0 / n + 1.0 / m)).sqrt();
    let rise = is - was;
    (rise > most(limit) && rise > DEVIATIONS * deviation).then(|| {
        let (is, was) = (percent(is), percent(was));
        format!("{bad} of {all} requests were answered 5xx, {is} instead of {was} without copies")
    })
}

fn primary_latency(limit: &AbortLimit, now: &Times, before: &Times) -> Option<String> {
    if !is_enough(now.count(), limit) {
        return None;
    }
    let (n, m) = (now.count() as f64, before.count() as f64);
    let (is, was) = (now.sum / n, before.sum / m);
    let deviation = (variance(now, is) / n + variance(before, was) / m).sqrt();
    let rise = is - was;
    (rise > was * most(limit) && rise > DEVIATIONS * deviation).then(|| {
        format!("{} requests took {is:.1} ms in the mean instead of {was:.1} ms without copies", now.count())
    })
}

/// As far as a histogram tells: within a bucket all are alike.
fn variance(times: &Times, mean: f64) -> f64 {
    let mut lower = 0.0;
    let mut sum = 0.0;
    for (count, upper) in times.counts.iter().zip(BOUNDS.into_iter().chain([2.0 * BOUNDS[BOUNDS.len() - 1]]))
    {
        let (middle, width): (f64, f64) = ((lower + upper) / 2.0, upper - lower);
        sum += *count as f64 * ((middle - mean).powi(2) + width.powi(2) / 12.0);
        lower = upper;
    }
    sum / (times.count().max(1) as f64)
}

#[cfg(test)]
mod tests;
