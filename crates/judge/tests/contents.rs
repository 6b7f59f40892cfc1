//! Verdicts on contents over answers whose truth is known.

use serde_json::{Value, json};
use umbra_judge::{Content, Contents, ContentsReason, JudgeLimits, Verdict, differences};

/// What a service answers: an order with a price, a time and an id of its own, lists of things, and now and then a value that is its
/// own.
#[derive(Clone, Copy)]
struct Service {
    /// The part of answers with another price.
    wrong: f64,
    /// The part of answers without a currency.
    lacking: f64,
    /// The part of answers in which a noisy field has a value of its own.
    noise: f64,
}

const GOOD: Service = Service { wrong: 0.0, lacking: 0.0, noise: 0.1 };

fn answer(service: Service, request: u64, random: &mut fastrand::Rng) -> Content {
    let price = if random.f64() < service.wrong { 1 } else { 100 + request % 7 };
    let mut order = json!({
        "id": format!("{:x}", random.u64(..)),
        "time": random.u64(..),
        "items": [{"price": price, "name": "a"}, {"price": 5, "name": "b"}],
        "currency": "EUR",
        "hosts": {format!("node-{}", random.u64(1000..9999)): true},
        "stock": {"left": if random.f64() < service.noise { random.u64(..50) } else { 50 }},
    });
    for nth in 0..10 {
        let own = random.f64() < service.noise;
        order[format!("noise{nth}")] = if own { json!(random.u64(..1000)) } else { json!("quiet") };
    }
    if random.f64() < service.lacking
        && let Value::Object(fields) = &mut order
    {
        fields.remove("currency");
    }
    Content::Json(order)
}

/// Whether anybody who looked each second ever saw `different`, and what is seen at the end.
fn play(primary: Service, shadow: Service, seconds: u64, seed: u64) -> (bool, Contents) {
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut contents, mut ever) = (Contents::default(), false);
    for second in 0..seconds {
        for nth in 0..20 {
            let request = second * 20 + nth;
            let own = answer(primary, request, &mut random);
            let copy = differences(&own, &answer(shadow, request, &mut random));
            let control = differences(&own, &answer(primary, request, &mut random));
            contents.add(&copy, &control);
        }
        ever |= contents.judge(0, &JudgeLimits::default()).verdict == Verdict::Different;
    }
    (ever, contents)
}

#[track_caller]
fn never_different(service: Service, seconds: u64, seeds: u64) {
    let wrong: Vec<u64> = (0..seeds).filter(|seed| play(service, service, seconds, *seed).0).collect();
    assert_eq!(wrong, [0; 0], "they were said to be different for these seeds");
}

/// `different` within a minute for all but so many of 12 seeds, and for this reason first.
#[track_caller]
fn different(primary: Service, shadow: Service, field: &str, but: usize) {
    let open: Vec<_> = (0..12)
        .filter(|seed| {
            let judged = play(primary, shadow, 60, *seed).1.judge(0, &JudgeLimits::default());
            let reason = judged.reasons.first();
            !matches!(reason, Some(ContentsReason::Differs { difference, .. }) if difference.to_string() == field)
        })
        .collect();
    assert!(open.len() <= but, "{open:?}");
}

#[test]
fn equal_backends_with_times_ids_and_noise() {
    never_different(GOOD, 20, 200);
    never_different(Service { noise: 0.5, wrong: 0.05, lacking: 0.05 }, 40, 25);
}

#[test]
fn one_field_wrong_in_one_of_twenty() {
    different(GOOD, Service { wrong: 0.05, ..GOOD }, "items[].price", 0);
    let quiet = Service { noise: 0.0, ..GOOD };
    different(quiet, Service { wrong: 0.05, ..quiet }, "items[].price", 0);
    let noisy = Service { noise: 0.5, ..GOOD };
    different(noisy, Service { wrong: 0.05, ..noisy }, "items[].price", 1);
}

#[test]
fn one_field_missing_in_one_of_twenty() {
    different(GOOD, Service { lacking: 0.05, ..GOOD }, "currency (missing)", 0);
}

#[test]
fn a_better_shadow_is_no_worse() {
    let flaky = Service { wrong: 0.1, ..GOOD };
    for seed in 0..25 {
        assert!(!play(flaky, GOOD, 40, seed).0, "{seed}");
    }
}

#[test]
fn times_and_ids_hinder_no_verdict() {
    let quiet = Service { noise: 0.0, ..GOOD };
    let (_, contents) = play(quiet, quiet, 70, 1);
    let judged = contents.judge(0, &JudgeLimits::default());
    assert_eq!((judged.verdict, judged.pairs), (Verdict::Same, 1400), "{:?}", judged.reasons);
    let noise = contents.differences();
    assert!(noise.iter().any(|(it, times)| &*it.path == "time" && times.both == 1400), "{noise:?}");
    let (_, contents) = play(GOOD, GOOD, 9, 1);
    let judged = contents.judge(0, &JudgeLimits::default());
    let said: Vec<String> = judged.reasons.iter().map(ToString::to_string).collect();
    assert_eq!((judged.verdict, said), (Verdict::Undecided, vec!["180 pairs of 200".to_owned()]));
}

/// Two halves of a time are as all of it.
#[test]
fn what_is_counted_apart_adds_up() {
    let shadow = Service { wrong: 0.05, ..GOOD };
    let (mut first, second) = (play(GOOD, shadow, 30, 1).1, play(GOOD, shadow, 30, 2).1);
    let times =
        |it: &Contents| it.differences().iter().map(|(_, t)| t.candidate + t.control + t.both).sum::<u64>();
    let sum = times(&first) + times(&second);
    first.merge(&second);
    assert_eq!((first.pairs, times(&first)), (1200, sum));
    assert_eq!(first.judge(0, &JudgeLimits::default()).verdict, Verdict::Different);
}

#[test]
fn ways_without_end_are_one() {
    let (mut contents, mut random) = (Contents::default(), fastrand::Rng::with_seed(3));
    for _ in 0..1000 {
        let mut own = || {
            let letters: String = (0..12).map(|_| random.lowercase()).collect();
            Content::Json(json!({letters: 1}))
        };
        let (primary, copy, control) = (own(), own(), own());
        contents.add(&differences(&primary, &copy), &differences(&primary, &control));
    }
    assert_eq!(contents.differences().len(), 257);
    assert_ne!(contents.judge(0, &JudgeLimits::default()).verdict, Verdict::Different);
}
