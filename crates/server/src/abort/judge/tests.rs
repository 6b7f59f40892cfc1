use std::time::Duration;

use super::*;

fn limits(reason: AbortReason, percent: u32, sample: u32) -> AbortLimits {
    let mut limits = AbortLimits::default();
    limits.set(reason, AbortLimit { most: percent * 10_000, window: Duration::from_secs(30), sample });
    limits
}

/// `ALL BAD`, with times around so many milliseconds.
fn primaries(all: u64, bad: u64, bucket: usize, mean: f64) -> Primaries {
    let mut times = Times { sum: all as f64 * mean, ..Times::default() };
    times.counts[bucket] = all;
    Primaries { completed: all, classes: [0, all - bad, 0, 0, bad], times, judged: 0 }
}

fn copies(begun: u64, bad: u64, refused: u64) -> Copies {
    // What is refused is not begun, and counts as 5xx.
    let classes = [0, begun - bad, 0, 0, bad + refused];
    Copies { begun, classes, refused, unavailable: refused, ..Copies::default() }
}

/// The words of what was crossed, or nothing.
#[track_caller]
fn check(limits: AbortLimits, counts: Counts, baseline: Primaries, want: &str) {
    let said = judge(&limits, |_| counts, &baseline);
    let said = said.map(|it| format!("{}: {}", it.reason.limit_name(), it.words)).unwrap_or_default();
    assert_eq!(said, want);
}

#[test]
fn a_bad_target_is_noticed_from_its_sample_on() {
    use AbortReason::ShadowErrors;
    let none = Primaries::default();
    let of = |copies| Counts { copies, primaries: none };
    let five = limits(ShadowErrors, 5, 100);
    check(five, of(copies(100, 5, 0)), none, "");
    check(
        five,
        of(copies(100, 6, 0)),
        none,
        "shadowErrors: 6 of 100 answers to copies were 5xx, 6.00% (limit 5% in 30s of 100)",
    );
    check(five, of(copies(99, 99, 0)), none, "");
    // What was lost is no answer.
    check(five, of(copies(100, 0, 100)), none, "");
    check(limits(ShadowErrors, 0, 1), of(copies(1000, 0, 0)), none, "");
}

#[test]
fn lost_copies_are_noticed() {
    use AbortReason::CopiesLost;
    let none = Primaries::default();
    let of = |copies| Counts { copies, primaries: none };
    let one = limits(CopiesLost, 1, 100);
    check(one, of(copies(99, 99, 1)), none, "");
    check(
        one,
        of(copies(90, 0, 10)),
        none,
        "copiesLost: 10 of 100 copies were lost, 10.0% (limit 1% in 30s of 100)",
    );
}

#[test]
fn production_is_compared_with_what_it_was_without_copies() {
    use AbortReason::{PrimaryErrors, PrimaryLatency};
    let of = |primaries| Counts { copies: Copies::default(), primaries };
    let one = limits(PrimaryErrors, 1, 100);
    let before = primaries(10_000, 100, 3, 8.0);
    check(
        one,
        of(primaries(1000, 40, 3, 8.0)),
        before,
        "primaryErrors: 40 of 1000 requests were answered 5xx, 4.00% instead of 1.00% without copies (limit 1% in 30s of 100)",
    );
    // As bad as before; worse by less than the limit; by more, and yet by chance; nothing to compare with.
    check(one, of(primaries(1000, 10, 3, 8.0)), before, "");
    check(one, of(primaries(1000, 19, 3, 8.0)), before, "");
    check(one, of(primaries(100, 3, 3, 8.0)), before, "");
    check(one, of(primaries(1000, 900, 3, 8.0)), Primaries::default(), "");
    let half = limits(PrimaryLatency, 50, 100);
    check(
        half,
        of(primaries(1000, 0, 4, 20.0)),
        before,
        "primaryLatency: 1000 requests took 20.0 ms in the mean instead of 8.0 ms without copies (limit 50% in 30s of 100)",
    );
    check(half, of(primaries(1000, 0, 4, 11.0)), before, "");
    check(half, of(primaries(1000, 0, 4, 20.0)), Primaries::default(), "");
    // A few that are slow may be anybody's.
    let mut few = primaries(200, 0, 3, 8.0);
    few.times.counts[3] -= 1;
    few.times.counts[11] += 1;
    few.times.sum += 2000.0;
    check(half, of(few), before, "");
}

/// Streams that are no worse than their baseline are never stopped, however often they are looked at; those that are, soon.
#[test]
fn equal_streams_are_left_alone() {
    let mut seed = 7_u64;
    let mut chance = move |part: f64| {
        // xorshift64*
        seed ^= seed >> 12;
        seed ^= seed << 25;
        seed ^= seed >> 27;
        (seed.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1_u64 << 53) as f64 <= part
    };
    let mut stream = |errors: f64| {
        let bad = (0..1000).filter(|_| chance(errors)).count() as u64;
        primaries(1000, bad, 3, 8.0)
    };
    let one = limits(AbortReason::PrimaryErrors, 1, 100);
    let mut before = Primaries::default();
    (0..10).for_each(|_| crate::observe::Add::add(&mut before, &stream(0.02)));
    for round in 0..200 {
        let counts = Counts { copies: Copies::default(), primaries: stream(0.02) };
        assert!(judge(&one, |_| counts, &before).is_none(), "{round}: {counts:?}");
    }
    let counts = Counts { copies: Copies::default(), primaries: stream(0.06) };
    assert!(judge(&one, |_| counts, &before).is_some(), "{counts:?}");
}
