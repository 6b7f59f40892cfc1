use umbra_ir::{AbortLimit, AbortReason, Kind};

use super::*;
use crate::observe::{Copies, Times};

/// Mirrors, and a clock that goes as it is told.
struct Stage {
    watch: Watch,
    now: Instant,
    seen: Seen,
}

impl Stage {
    fn new(reason: AbortReason, percent: u32, window: u64) -> Self {
        let mut limits = AbortLimits::default();
        let window = Duration::from_secs(window);
        limits.set(reason, AbortLimit { most: percent * 10_000, window, sample: 100 });
        let seen = Seen {
            object: ObjectId::new(Kind::VirtualService, "shop", "web"),
            key: RuntimeKey::new("mirror/shop/web/r/|v2|web"),
            limits,
            share: 1_000_000,
            copying: true,
            counts: Counts::default(),
            different: None,
            shared: false,
        };
        Stage { watch: Watch::default(), now: Instant::now(), seen }
    }

    fn share(&mut self, share: u32) {
        (self.seen.share, self.seen.copying) = (share, share > 0);
    }

    /// So many seconds of ten requests each, of which so many are answered 5xx, and as many copies. The second at which a limit
    /// was crossed.
    fn run(&mut self, seconds: u64, errors: u64, copy_errors: u64) -> Option<u64> {
        for second in 1..=seconds {
            self.now += Duration::from_secs(1);
            let mut times = Times { sum: 80.0, ..Times::default() };
            times.counts[3] = 10;
            let classes = |bad: u64| [0, 10 - bad, 0, 0, bad];
            self.seen.counts.primaries.add(&Primaries {
                completed: 10,
                classes: classes(errors),
                times,
                judged: 0,
            });
            if self.seen.copying {
                let copies = Copies { begun: 10, classes: classes(copy_errors), ..Copies::default() };
                self.seen.counts.copies.add(&copies);
            }
            if !self.watch.step(vec![self.seen.clone()], self.now).is_empty() {
                return Some(second);
            }
        }
        None
    }
}

#[test]
fn a_window_forgets_what_was_good() {
    let mut stage = Stage::new(AbortReason::ShadowErrors, 50, 20);
    assert_eq!(stage.run(600, 0, 0), None);
    // Of the last twenty seconds more than half are bad, or of one more that the window looks too far.
    let noticed = stage.run(60, 0, 10).expect("it stops");
    assert!((11..=12).contains(&noticed), "{noticed}");
    assert!(stage.watch.0.values().all(|kept| kept.samples.len() <= 130));
}

#[test]
fn a_sample_that_is_too_small_says_nothing() {
    let mut stage = Stage::new(AbortReason::ShadowErrors, 5, 30);
    // A hundred answers; the first second is where it began.
    assert_eq!(stage.run(60, 0, 10), Some(11));
}

#[test]
fn what_is_of_the_time_before_copying_began_does_not_count() {
    let mut stage = Stage::new(AbortReason::ShadowErrors, 50, 30);
    assert_eq!(stage.run(9, 0, 10), None);
    // Stopped, it is left alone; resumed, it is judged by what comes then: six seconds for what is on its way, and then all of the
    // sample anew.
    stage.share(0);
    assert_eq!(stage.run(60, 0, 10), None);
    stage.share(1_000_000);
    assert_eq!(stage.run(60, 0, 10), Some(17));
    stage.share(0);
    assert_eq!(stage.run(60, 0, 10), None);
    stage.share(1_000_000);
    assert_eq!(stage.run(60, 0, 0), None);
}

#[test]
fn a_share_that_goes_up_and_down_is_judged_all_the_time() {
    let mut stage = Stage::new(AbortReason::ShadowErrors, 50, 30);
    for share in [10_000, 40_000, 20_000] {
        stage.share(share);
        assert_eq!(stage.run(3, 0, 10), None);
    }
    stage.share(30_000);
    assert!(stage.run(60, 0, 10).is_some_and(|second| second <= 8));
}

#[test]
fn production_is_judged_where_it_was_seen_without_copies() {
    let mut stage = Stage::new(AbortReason::PrimaryErrors, 5, 30);
    assert_eq!(stage.run(120, 5, 0), None, "there is nothing to compare with");
    stage.share(0);
    assert_eq!(stage.run(60, 0, 0), None);
    stage.share(1_000_000);
    assert_eq!(stage.run(60, 0, 0), None);
    assert!(stage.run(60, 5, 0).is_some_and(|second| second <= 10));
    // As bad without copies: it is not their doing.
    let mut stage = Stage::new(AbortReason::PrimaryErrors, 5, 30);
    stage.share(0);
    assert_eq!(stage.run(60, 5, 0), None);
    stage.share(1_000_000);
    assert_eq!(stage.run(120, 5, 0), None);
}

#[test]
fn a_rule_that_begins_anew_is_judged_anew() {
    let mut stage = Stage::new(AbortReason::ShadowErrors, 50, 30);
    assert_eq!(stage.run(9, 0, 10), None);
    stage.seen.counts = Counts::default();
    assert_eq!(stage.run(60, 0, 0), None);
    assert_eq!(stage.watch.step(Vec::new(), stage.now), Vec::new());
    assert!(stage.watch.0.is_empty());
}

#[test]
fn a_verdict_stops_a_mirror_that_asks_for_it() {
    let mut stage = Stage::new(AbortReason::ShadowErrors, 50, 20);
    stage.seen.different = Some("status differs".to_owned());
    assert_eq!(stage.run(10, 0, 0), None);
    stage.seen.limits.different = true;
    assert_eq!(stage.run(10, 0, 0), Some(1));
}

#[test]
fn limits_of_the_primary_wait_for_requests_without_copies() {
    for (reason, waits) in [(AbortReason::PrimaryErrors, true), (AbortReason::ShadowErrors, false)] {
        let mut stage = Stage::new(reason, 5, 30);
        let unbased = |stage: &Stage| stage.watch.unbased().into_values().flatten().collect::<Vec<_>>();
        let waiting = if waits { vec![reason] } else { Vec::new() };
        stage.run(60, 0, 0);
        assert_eq!(unbased(&stage), waiting, "it copies from its beginning");
        stage.share(0);
        stage.run(HOLD.as_secs() + 5, 0, 0);
        assert_eq!(unbased(&stage), waiting, "fifty requests are no hundred");
        stage.run(10, 0, 0);
        stage.share(1_000_000);
        stage.run(60, 0, 0);
        assert_eq!(unbased(&stage), Vec::new(), "{reason:?} knows what to compare with");
    }
}

#[test]
fn figures_of_several_mirrors_say_so() {
    for (reason, shared, says) in [
        (AbortReason::ShadowErrors, true, true),
        (AbortReason::ShadowErrors, false, false),
        (AbortReason::Verdict, true, false),
    ] {
        let mut stage = Stage::new(reason, 5, 30);
        stage.seen.shared = shared;
        stage.seen.limits.different = reason == AbortReason::Verdict;
        stage.run(20, 0, 0);
        stage.seen.counts.copies.add(&Copies { begun: 100, classes: [0, 0, 0, 0, 100], ..Copies::default() });
        stage.seen.different = Some("different".to_owned());
        stage.now += Duration::from_secs(1);
        let stopped = stage.watch.step(vec![stage.seen.clone()], stage.now);
        let words = &stopped.first().expect("it stops").why.words;
        assert_eq!(words.ends_with(", of all mirrors to its cluster"), says, "{words}");
    }
}
