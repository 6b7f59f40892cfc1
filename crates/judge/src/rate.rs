//! How much is judged: as many requests a second as somebody wants, whatever the traffic is.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Requests of a rule since the share was last decided.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Pace {
    /// All of them.
    pub requests: u64,
    /// In that time.
    pub time: Duration,
}

/// Over how many looks a pace is taken: proxies tell every five seconds, so one look more or less is a small part.
const LOOKS: usize = 6;

/// How many requests there had been at the last looks.
#[derive(Clone, Debug, Default)]
pub struct Looks(VecDeque<(Instant, u64)>);

impl Looks {
    /// Looks at a count that only grows; `None`: nobody counts. Gives what came since the oldest look that is remembered; `None`
    /// where there is none.
    pub fn look(&mut self, count: Option<u64>, now: Instant) -> Option<Pace> {
        let Some(count) = count else {
            self.0.clear();
            return None;
        };
        // It counts anew.
        if self.0.back().is_some_and(|(_, last)| *last > count) {
            self.0.clear();
        }
        let first = self.0.front().copied();
        self.0.push_back((now, count));
        if self.0.len() > LOOKS {
            self.0.pop_front();
        }
        first.map(|(since, before)| Pace { requests: count - before, time: now - since })
    }

    /// What came since the last look but one.
    pub fn lately(&self) -> Option<Pace> {
        let (now, count) = *self.0.back()?;
        let (since, before) = *self.0.get(self.0.len().saturating_sub(3))?;
        (now > since).then(|| Pace { requests: count - before, time: now - since })
    }
}

impl Pace {
    /// Requests a second.
    pub fn rate(&self) -> f64 {
        self.requests as f64 / self.time.as_secs_f64()
    }
}

/// Between these parts of what it is a share stays what it is: each change is a push to every proxy of the rule.
const NEAR: (f64, f64) = (0.8, 1.25);
/// The most that it grows at once: a rule that slept is not copied whole to the control when it wakes.
const GROWTH: f64 = 4.0;
/// Where it begins when nothing is known: one request in a thousand.
const FIRST: f64 = 1e-3;

/// The next share of a rule's requests that is judged, in millionths.
///
/// For `target` requests a second: down at once, up by a bounded factor, and only where that changes something. Never above
/// `most`, the smallest share above 0 of its mirrors: beyond that, requests would be judged that have no copy.
pub fn next_share(now: u32, pace: Option<Pace>, target: f64, most: u32) -> u32 {
    let most = f64::from(most);
    let current = f64::from(now);
    if target <= 0.0 || most <= 0.0 {
        return 0;
    }
    let Some(pace) = pace.filter(|pace| pace.time > Duration::ZERO) else {
        return if now == 0 { (FIRST * 1e6).min(most) as u32 } else { current.min(most) as u32 };
    };
    let rate = pace.rate();
    // What sleeps may wake to anything.
    let wanted = if rate > 0.0 { target / rate * 1e6 } else { current };
    let reachable = (current * GROWTH).max(FIRST * 1e6);
    let next = wanted.min(reachable).min(most).max(1.0);
    let near = next >= current * NEAR.0 && next < current * NEAR.1;
    // What is left up to the most is not worth less than any other step, but the most is reached.
    if near && current <= most && next < most { now } else { next as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: u32 = 1_000_000;

    #[track_caller]
    fn check(now: u32, rate: Option<u64>, most: u32, want: u32) {
        let pace = rate.map(|rate| Pace { requests: rate * 10, time: Duration::from_secs(10) });
        assert_eq!(next_share(now, pace, 20.0, most), want, "{now} at {rate:?}/s below {most}");
    }

    #[test]
    fn towards_the_target() {
        check(0, None, ALL, 1000);
        check(0, None, 100, 100);
        check(5000, None, ALL, 5000);
        check(5000, None, 3000, 3000);
        // Up slowly, down at once.
        check(1000, Some(100), ALL, 4000);
        check(4000, Some(100), ALL, 16_000);
        check(150_000, Some(100), ALL, 200_000);
        check(190_000, Some(100), ALL, 190_000);
        check(200_000, Some(1000), ALL, 20_000);
        check(200_000, Some(101), ALL, 200_000);
        check(200_000, Some(150), ALL, 133_333);
        // Never more than is copied, and all of little.
        check(10_000, Some(100), 10_000, 10_000);
        check(900_000, Some(1), ALL, ALL);
        check(900_000, Some(0), ALL, 900_000);
        // Nothing is copied.
        check(1000, Some(100), 0, 0);
        assert_eq!(next_share(1000, None, 0.0, ALL), 0);
    }
}
