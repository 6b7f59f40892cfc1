//! umbra beside istiod: the same random worlds and requests for both, through real Envoys, and what becomes of each request
//! compared. It is a tier of its own (`make istiod`), since istiod takes long to build.

#![allow(clippy::expect_used, clippy::panic, reason = "a test")]

mod compare;
mod control;
mod fixed;
mod hello;
mod rules;
mod shrink;
mod world;

use umbra_testkit::echo::Echo;
use umbra_testkit::gate::measured;
use umbra_testkit::isolate::isolated_with_capture;
use umbra_tests::random::Tape;

use compare::differences;
use control::{Control, KINDS, Role};
use rules::{Request, request};
use world::World;

/// How many worlds; without it istiod is not looked for.
const WORLDS: &str = "UMBRA_WORLDS";
/// The first of them, to play a world again: `UMBRA_FIRST=80 UMBRA_WORLDS=1`.
const FIRST: &str = "UMBRA_FIRST";
/// Of which random numbers.
const SEED: &str = "UMBRA_SEED";
/// Requests in each world.
const REQUESTS: usize = 160;
/// Worlds with differences that are enough to begin with.
const ENOUGH: usize = 25;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|n| n.parse().ok())
}

/// Whether the tier is wanted and can be run.
fn wanted() -> bool {
    number(WORLDS).is_some() && control::available()
}

/// Numbers that depend on nothing else (splitmix64).
fn numbers(seed: u64, nth: u64, count: usize) -> Vec<u16> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ nth.wrapping_mul(0xd1b5_4a32_d192_ed03);
    let next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed >> 40) as u16
    };
    std::iter::repeat_with(next).take(count).collect()
}

fn case(seed: u64, nth: u64) -> (World, Vec<Request>) {
    let tape = numbers(seed, nth, 4000);
    let world = world::world(&mut Tape::new(&tape));
    let tape = numbers(seed ^ 0x5eed, nth, REQUESTS * 40);
    let requests = tape.chunks(40).enumerate().map(|(nth, tape)| {
        let kind = nth % KINDS.len();
        request(&mut Tape::new(tape), &world, kind, KINDS[kind].role)
    });
    let requests = requests.filter(|it| {
        it.headers.iter().all(|(name, _)| name != "content-type") || KINDS[it.kind].role == Role::Gateway
    });
    (world.clone(), requests.collect())
}

async fn start() -> (Control, Vec<Echo>) {
    let echoes = fixed::echoes().expect("echo services");
    (Control::start().await.expect("both control planes"), echoes)
}

#[test]
fn umbra_answers_as_istiod() {
    if !wanted() {
        return;
    }
    isolated_with_capture(async {
        let (mut control, echoes) = start().await;
        let (seed, worlds) = (number(SEED).unwrap_or(2026), number(WORLDS).expect("a number"));
        let first = number(FIRST).unwrap_or(0);
        let (mut asked, mut refused, mut found, mut unlike_worlds) = (0, 0, 0, 0);
        for nth in first..first + worlds {
            let (world, requests) = case(seed, nth);
            if let Err(why) = control.apply(&world).await {
                println!("world {nth}: {why:#}");
                refused += 1;
                continue;
            }
            let mut unlike = differences(&control, &echoes, &requests).await.expect("answers");
            if !unlike.is_empty() {
                // From nothing: istiod may hold on to endpoints of a Service that was deleted and made again.
                control.apply(&World::default()).await.expect("a world without objects");
                control.apply(&world).await.expect("it was served before");
                let those: Vec<Request> = unlike.into_iter().map(|it| it.request).collect();
                unlike = differences(&control, &echoes, &those).await.expect("answers");
            }
            asked += requests.len();
            found += unlike.len();
            println!("world {nth}: {} of {} requests differ", unlike.len(), requests.len());
            unlike.iter().for_each(|it| print!("{it}"));
            if let Some(first) = unlike.first() {
                unlike_worlds += 1;
                let (small, difference) = shrink::shrink(&mut control, &echoes, world, first.clone()).await;
                println!("DIFFERS in world {nth}\n{difference}{}", small.text());
            }
            if unlike_worlds == ENOUGH {
                break;
            }
        }
        assert!(refused * 20 <= worlds, "{refused} of {worlds} worlds could not be served by istiod");
        assert!(found == 0, "{found} of {asked} requests came out differently");
        measured(&format!("{asked} requests in {} worlds came out as with istiod", worlds - refused));
    });
}

/// Two worlds that are not the same are not taken for the same.
#[test]
fn a_difference_is_found() {
    if !wanted() {
        return;
    }
    isolated_with_capture(async {
        let (mut control, echoes) = start().await;
        for (own, others) in shrink::planted() {
            control.apply_each(&own, &others).await.expect("both are valid");
            let asked = Request {
                kind: 0,
                address: std::net::Ipv4Addr::LOCALHOST.into(),
                port: 80,
                method: "GET".to_owned(),
                host: "web".to_owned(),
                path: "/a".to_owned(),
                headers: Vec::new(),
            };
            let found = differences(&control, &echoes, &[asked]).await.expect("answers");
            let same = own.objects == others.objects;
            assert_eq!(found.is_empty(), same, "{found:?}\n{}\n{}", own.text(), others.text());
        }
    });
}

#[test]
fn the_same_numbers_are_the_same_case() {
    let (first, second) = (case(1, 2), case(1, 2));
    assert_eq!(first.0.objects, second.0.objects);
    assert_eq!(first.1, second.1);
    assert_ne!(case(1, 3).0.objects, first.0.objects);
}
