//! The join: what comes in any order, what does not come, and what is too much.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use umbra_judge::{Answer, Counts, Ended, JoinLimits, Joins, Key, Line, Primary, Side, StreamId};

/// A join of requests that have the copies `a` and `b`.
struct World {
    joins: Joins,
    stream: StreamId,
    start: Instant,
    marks: [Arc<str>; 2],
}

const LIMITS: JoinLimits = JoinLimits { per_stream: 4, in_all: 6, patience: Duration::from_secs(10) };

impl World {
    fn new() -> Self {
        let mut joins = Joins::new(LIMITS);
        let stream = joins.open();
        World { joins, stream, start: Instant::now(), marks: ["a".into(), "b".into()] }
    }

    /// A line: `p3` is the primary of the third request, `a3` its copy.
    fn send(&mut self, line: &str, second: u64) -> Vec<String> {
        self.send_on(self.stream, line, second)
    }

    fn send_on(&mut self, stream: StreamId, line: &str, second: u64) -> Vec<String> {
        let (side, start) = line.split_at(1);
        let side = match side {
            "p" => Side::Primary(Primary::default()),
            mark => Side::Copy { mark: mark.into() },
        };
        let key = Key { start: start.parse().unwrap(), request: "r".into() };
        let line = Line { key, side, answer: Answer::default() };
        let now = self.start + Duration::from_secs(second);
        shown(&self.joins.take(stream, line, |_| self.marks.to_vec(), now))
    }

    fn expire(&mut self, second: u64) -> Vec<String> {
        shown(&self.joins.expire(self.start + Duration::from_secs(second)))
    }
}

fn shown(ended: &[Ended]) -> Vec<String> {
    let one = |it: &Ended| {
        let primary = if it.primary.is_some() { "p" } else { "" };
        let copies: String = it.copies.keys().map(|mark| &**mark).collect();
        format!("{}:{primary}{copies}{}", it.key.start, if it.evicted { "!" } else { "" })
    };
    ended.iter().map(one).collect()
}

fn check(world: &World, want: Counts, waiting: usize) {
    assert_eq!((world.joins.counts(), world.joins.waiting()), (want, waiting));
}

const NONE: [&str; 0] = [];

#[test]
fn in_any_order() {
    for lines in [["p1", "a1", "b1"], ["a1", "b1", "p1"], ["b1", "p1", "a1"]] {
        let mut world = World::new();
        assert_eq!(world.send(lines[0], 0), NONE);
        assert_eq!(world.send(lines[1], 0), NONE);
        assert_eq!(world.send(lines[2], 0), ["1:pab"], "{lines:?}");
        check(&world, Counts { lines: 3, complete: 1, ..Counts::default() }, 0);
    }
}

#[test]
fn a_second_line_of_a_kind_is_counted_and_no_more() {
    let mut world = World::new();
    for line in ["p1", "p1", "a1", "a1"] {
        assert_eq!(world.send(line, 0), NONE);
    }
    assert_eq!(world.send("b1", 0), ["1:pab"]);
    check(&world, Counts { lines: 5, duplicate: 2, complete: 1, ..Counts::default() }, 0);
}

#[test]
fn what_does_not_come_is_told_in_time() {
    let mut world = World::new();
    world.send("p1", 0);
    world.send("a2", 1);
    world.send("a1", 9);
    assert_eq!(world.expire(9), NONE);
    assert_eq!(world.expire(10), ["1:pa"]);
    assert_eq!(world.expire(20), ["2:a"]);
    check(&world, Counts { lines: 3, unpaired: 2, ..Counts::default() }, 0);
    // The same key once more is another request, which has its own time.
    world.send("p1", 21);
    assert_eq!(world.expire(30), NONE);
    assert_eq!(world.expire(31), ["1:p"]);
}

#[test]
fn the_oldest_makes_room() {
    let mut world = World::new();
    for line in ["p1", "p2", "p3", "p4"] {
        assert_eq!(world.send(line, 0), NONE);
    }
    assert_eq!(world.send("p5", 0), ["1:p!"]);
    // Another stream may have two more, and then the one with most gives way.
    let other = world.joins.open();
    assert_eq!(world.send_on(other, "p1", 0), NONE);
    assert_eq!(world.send_on(other, "p2", 0), NONE);
    assert_eq!(world.send_on(other, "p3", 0), ["2:p!"]);
    check(&world, Counts { lines: 8, evicted: 2, ..Counts::default() }, 6);
    let mut left = shown(&world.joins.close(world.stream));
    left.sort();
    assert_eq!(left, ["3:p!", "4:p!", "5:p!"]);
    assert_eq!(world.send("p9", 0), NONE, "a stream that has ended");
    check(&world, Counts { lines: 9, evicted: 5, ..Counts::default() }, 3);
}

#[test]
fn streams_do_not_meet() {
    let mut world = World::new();
    let other = world.joins.open();
    world.send("p1", 0);
    world.send("a1", 0);
    assert_eq!(world.send_on(other, "b1", 0), NONE);
    check(&world, Counts { lines: 3, ..Counts::default() }, 2);
}

/// Whatever comes, what is kept stays within its bounds, and is what is counted as waiting.
#[test]
fn anything_at_all() {
    let mut random = fastrand::Rng::with_seed(3);
    let mut world = World::new();
    let mut streams = vec![world.stream];
    for step in 0..20_000 {
        match random.u8(..100) {
            0 if streams.len() < 5 => streams.push(world.joins.open()),
            1 if streams.len() > 1 => {
                let gone = streams.swap_remove(random.usize(..streams.len()));
                world.joins.close(gone);
            }
            2..5 => drop(world.expire(step / 2)),
            _ => {
                let stream = *random.choice(&streams).unwrap();
                let side = *random.choice(&["p", "a", "b", "c"]).unwrap();
                world.send_on(stream, &format!("{side}{}", random.u8(..20)), step / 2);
            }
        }
        assert!(world.joins.waiting() <= LIMITS.in_all);
    }
    for stream in streams {
        world.joins.close(stream);
    }
    assert_eq!(world.joins.waiting(), 0);
    let counts = world.joins.counts();
    assert!(counts.complete > 0 && counts.evicted > 0 && counts.unpaired > 0 && counts.duplicate > 0);
}
