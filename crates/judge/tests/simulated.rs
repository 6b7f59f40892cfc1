//! Verdicts over streams whose truth is known: lines as Envoys send them, out of order and through the join.

use std::sync::Arc;
use std::time::{Duration, Instant};

use umbra_judge::{
    Answer, Copied, Flags, JoinLimits, Joins, JudgeLimits, Key, Line, Primary, Side, Tally, Verdict, judge,
};

const MARK: &str = "shadow";
const CONTROL: &str = "control";
const LIMIT: Duration = Duration::from_secs(60);

/// What a service does.
#[derive(Clone, Copy)]
struct Service {
    /// The part of answers that are 500.
    errors: f64,
    /// The median of what it takes, in milliseconds.
    median: f64,
    /// How far that is spread: the deviation of its logarithm.
    spread: f64,
    /// The part of bodies whose size is their own.
    random_sizes: f64,
    /// The part of requests that it never answers.
    hangs: f64,
    /// The part of requests that take it five seconds more.
    stalls: f64,
}

const GOOD: Service =
    Service { errors: 0.005, median: 20.0, spread: 0.3, random_sizes: 0.0, hangs: 0.0, stalls: 0.0 };

/// A world: who answers, and whether there is a control.
#[derive(Clone, Copy)]
struct World {
    primary: Service,
    shadow: Service,
    control: bool,
    /// Seconds at 20 requests a second. The first ten are the least that a verdict needs.
    seconds: usize,
    /// What part of copies have no line.
    lost: f64,
}

const EQUAL: World = World { primary: GOOD, shadow: GOOD, control: true, seconds: 70, lost: 0.0 };

fn normal(random: &mut fastrand::Rng) -> f64 {
    let (a, b) = (1.0 - random.f64(), random.f64());
    (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}

/// What a service answers to a request that takes it `weight` times what others take, with `size` bytes.
fn answer(service: Service, weight: f64, size: u64, random: &mut fastrand::Rng) -> Answer {
    if random.f64() < service.hangs {
        return Answer { duration: LIMIT, ..Answer::default() };
    }
    let took = service.median * weight * (service.spread * normal(random)).exp();
    let mut wait = Duration::from_secs_f64(took / 1000.0);
    if service.stalls > 0.0 && random.f64() < service.stalls {
        wait += Duration::from_secs(5);
    }
    let failed = random.f64() < service.errors;
    let own = random.f64() < service.random_sizes;
    Answer {
        code: Some(if failed { 500 } else { 200 }),
        whole: true,
        wait: Some(wait),
        duration: wait,
        size: Some(if own { random.u64(..10_000) } else { size }),
        content_type: Some("text/plain".into()),
        flags: Flags::default(),
        grpc: None,
        destination: "80||web".into(),
    }
}

/// Plays a world, looking at it each second. Returns the worst verdict that anybody saw, and the last one.
fn play(world: World, seed: u64) -> (bool, Verdict, Tally) {
    let mut random = fastrand::Rng::with_seed(seed);
    let start = Instant::now();
    let limits = JudgeLimits::default();
    let mut joins = Joins::new(JoinLimits::new(LIMIT, Duration::from_secs(1)));
    let stream = joins.open();
    let marks: Vec<Arc<str>> =
        std::iter::once(MARK).chain(world.control.then_some(CONTROL)).map(Arc::from).collect();
    let copied = Copied { mark: MARK, control: world.control.then_some(CONTROL), limit: LIMIT };
    let mut tally = Tally::default();
    let (mut ever, mut last) = (false, Verdict::Undecided);
    for second in 0..world.seconds {
        let mut lines = Vec::new();
        for nth in 0..20_u64 {
            let key = Key { start: second as u64 * 1_000_000 + nth, request: "r".into() };
            let weight = (0.5 * normal(&mut random)).exp();
            let size = random.u64(100..10_000);
            let primary = Primary { rule: "rule".into(), attempts: 1, ..Primary::default() };
            let line = |side, answer| Line { key: key.clone(), side, answer };
            let own = answer(world.primary, weight, size, &mut random);
            lines.push(line(Side::Primary(primary), own));
            if random.f64() >= world.lost {
                let copy = answer(world.shadow, weight, size, &mut random);
                lines.push(line(Side::Copy { mark: MARK.into() }, copy));
            }
            if world.control {
                let copy = answer(world.primary, weight, size, &mut random);
                lines.push(line(Side::Copy { mark: CONTROL.into() }, copy));
            }
        }
        random.shuffle(&mut lines);
        let now = start + Duration::from_secs(second as u64);
        for line in lines {
            for ended in joins.take(stream, line, |_| marks.clone(), now) {
                tally.add(&ended, copied, &limits);
            }
        }
        for ended in joins.expire(now) {
            tally.add(&ended, copied, &limits);
        }
        last = judge(&tally, &limits).verdict;
        ever |= last == Verdict::Different;
    }
    (ever, last, tally)
}

/// However often somebody looks at backends of which the shadow is no worse, they are never `different`, for so many seeds.
#[track_caller]
fn never_different(world: World, seeds: u64) {
    let wrong: Vec<u64> = (0..seeds).filter(|seed| play(world, *seed).0).collect();
    assert_eq!(wrong, [0; 0], "they were said to be different for these seeds");
}

/// A worse shadow is `different` within the time for all but so many of 40 seeds.
#[track_caller]
fn different(world: World, but: usize) {
    let open: Vec<_> = (0..40)
        .map(|seed| (seed, play(world, seed)))
        .filter(|(_, (_, last, _))| *last != Verdict::Different)
        .map(|(seed, (.., tally))| (seed, judge(&tally, &JudgeLimits::default()).reasons))
        .collect();
    assert!(open.len() <= but, "{open:?}");
}

#[test]
fn equal_backends() {
    never_different(EQUAL, 200);
}

#[test]
fn equal_backends_that_fail_often_and_take_any_time() {
    let noisy = Service { errors: 0.1, spread: 1.0, random_sizes: 0.5, ..GOOD };
    never_different(World { primary: noisy, shadow: noisy, ..EQUAL }, 200);
}

#[test]
fn equal_backends_without_a_control() {
    never_different(World { control: false, ..EQUAL }, 200);
}

#[test]
fn equal_backends_for_a_long_time() {
    let noisy = Service { errors: 0.05, random_sizes: 0.98, ..GOOD };
    let world = World { primary: noisy, shadow: noisy, seconds: 600, ..EQUAL };
    never_different(world, 20);
}

#[test]
fn equal_backends_are_the_same_when_there_is_enough_to_say_so() {
    let quiet = Service { errors: 0.0, spread: 0.1, ..GOOD };
    let world = World { primary: quiet, shadow: quiet, ..EQUAL };
    for seed in 0..20 {
        let (_, last, tally) = play(world, seed);
        assert_eq!(last, Verdict::Same, "{:?}", judge(&tally, &JudgeLimits::default()).reasons);
    }
}

#[test]
fn three_percent_more_errors() {
    let shadow = Service { errors: 0.035, ..GOOD };
    // Chance alone can hide a fifth of it.
    different(World { shadow, ..EQUAL }, 3);
    different(World { shadow, control: false, ..EQUAL }, 3);
    let primary = Service { errors: 0.0, ..GOOD };
    different(World { primary, shadow: Service { errors: 0.03, ..GOOD }, ..EQUAL }, 0);
}

#[test]
fn thirty_percent_slower() {
    let shadow = Service { median: 26.0, ..GOOD };
    different(World { shadow, ..EQUAL }, 0);
    different(World { shadow, control: false, ..EQUAL }, 0);
}

#[test]
fn one_of_ten_far_slower() {
    let shadow = Service { stalls: 0.1, ..GOOD };
    different(World { shadow, ..EQUAL }, 0);
    different(World { shadow, control: false, ..EQUAL }, 0);
    // Both do: that is what the service is like.
    let slow = Service { stalls: 0.1, ..GOOD };
    never_different(World { primary: slow, shadow: slow, ..EQUAL }, 200);
}

#[test]
fn other_sizes_in_one_of_twenty() {
    let shadow = Service { random_sizes: 0.05, ..GOOD };
    different(World { shadow, ..EQUAL }, 0);
}

#[test]
fn what_hangs_is_told_by_its_line() {
    let shadow = Service { hangs: 0.05, ..GOOD };
    different(World { shadow, ..EQUAL }, 0);
}

#[test]
fn a_better_shadow_is_no_worse() {
    let primary = Service { errors: 0.05, median: 30.0, ..GOOD };
    never_different(World { primary, shadow: GOOD, ..EQUAL }, 100);
}

#[test]
fn without_copies_nothing_can_be_said() {
    let world = World { lost: 1.0, control: false, ..EQUAL };
    let (ever, last, _) = play(world, 1);
    assert_eq!((ever, last), (false, Verdict::Undecided));
    let world = World { lost: 0.05, seconds: 300, control: false, ..EQUAL };
    let (_, last, tally) = play(world, 1);
    let reasons = judge(&tally, &JudgeLimits::default()).reasons;
    let said: Vec<String> = reasons.iter().map(ToString::to_string).collect();
    assert!(last == Verdict::Undecided && said.iter().any(|it| it.contains("had no copy")), "{said:?}");
}
