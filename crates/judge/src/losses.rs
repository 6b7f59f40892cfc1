//! Judging less where requests end without all of their lines: what makes lines go missing (a log connection that is too slow, no
//! room for what waits) is often that there are too many, and where no copy arrives each further one says nothing.

use std::time::{Duration, Instant};

/// Requests after which it is decided.
const SAMPLE: u64 = 400;
/// More lost ones than this part, and less is judged;
const TOO_MANY: f64 = 0.01;
/// no more than this part, and more is again. Between them it stays.
const FEW: f64 = 0.005;
/// Requests a second below which nothing is halved: with fewer a verdict, and what stops by one, would take too long.
const LEAST: f64 = 2.0;
/// How long less is judged at least; twice as long whenever more turns out to be too much again,
const REST: Duration = Duration::from_secs(300);
/// up to this.
const LONGEST_REST: Duration = Duration::from_secs(3600);

/// How the judged requests of a rule ended, and what that makes of how many are judged.
#[derive(Clone, Debug, Default)]
pub struct Losses {
    ended: u64,
    lost: u64,
    halves: u32,
    /// What ends until then began before the last change.
    settles: Option<Instant>,
    /// Until then it stays, if it is less that is judged; how long that was.
    rests: Option<(Instant, Duration)>,
    /// The last change was to more.
    raised: bool,
}

impl Losses {
    /// A request has ended; `lost`: it was let go, or one of its lines did not come.
    pub fn add(&mut self, lost: bool) {
        self.ended += 1;
        self.lost += u64::from(lost);
    }

    /// Decides, as soon as enough have ended that began after the last change: a line is waited for as long as `patience`. So many
    /// requests a second are asked for.
    pub fn look(&mut self, target: f64, patience: Duration, now: Instant) {
        if self.settles.is_some_and(|settles| now < settles) {
            (self.ended, self.lost) = (0, 0);
            return;
        }
        if self.ended < SAMPLE {
            return;
        }
        let part = self.lost as f64 / self.ended as f64;
        let rested = self.rests.is_none_or(|(until, _)| now >= until);
        let halves = match part {
            it if it > TOO_MANY && target / f64::from(2 << self.halves) >= LEAST => self.halves + 1,
            it if it <= FEW && rested => self.halves.saturating_sub(1),
            _ => self.halves,
        };
        (self.ended, self.lost) = (0, 0);
        if halves > self.halves {
            let again = self.rests.filter(|_| self.raised);
            let rest = again.map_or(REST, |(_, rest)| (rest * 2).min(LONGEST_REST));
            self.rests = Some((now + rest, rest));
        }
        if halves != self.halves {
            self.raised = halves < self.halves;
            self.halves = halves;
            self.settles = Some(now + patience);
        }
    }

    /// What part of what is asked for is judged, in millionths.
    pub fn part(&self) -> u32 {
        1_000_000 >> self.halves
    }

    /// That part of a share, which is not nothing unless the share is.
    pub fn of(&self, share: u32) -> u32 {
        (share >> self.halves).max(share.min(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(67);

    /// Plays a sample in which so many are lost, after so many seconds: what part is judged then.
    fn check(target: f64, played: &[(u64, u64, u32)]) {
        let (mut losses, mut now) = (Losses::default(), Instant::now());
        for (nth, (lost, wait, part)) in played.iter().enumerate() {
            now += Duration::from_secs(*wait);
            losses.look(target, PATIENCE, now);
            (0..SAMPLE).for_each(|nth| losses.add(nth < *lost));
            losses.look(target, PATIENCE, now);
            assert_eq!(losses.part(), *part, "{nth}: {lost} lost after {wait} s");
        }
    }

    #[test]
    fn less_is_judged_where_lines_are_lost_and_more_again_where_they_are_not() {
        check(
            20.0,
            &[
                (4, 0, 1_000_000),
                (5, 0, 500_000),
                // What had begun before says nothing about what is judged now.
                (400, 66, 500_000),
                (3, 1, 500_000),
                (5, 0, 250_000),
                (400, 67, 125_000),
                (400, 67, 125_000),
                // It stays for a while.
                (0, 232, 125_000),
                (2, 1, 250_000),
                (0, 67, 500_000),
                (0, 67, 1_000_000),
                (0, 67, 1_000_000),
            ],
        );
    }

    #[test]
    fn what_is_too_much_again_rests_for_longer() {
        check(
            20.0,
            &[
                (5, 0, 500_000),
                (0, 299, 500_000),
                (0, 1, 1_000_000),
                (5, 67, 500_000),
                (0, 599, 500_000),
                (0, 1, 1_000_000),
                (5, 67, 500_000),
                (0, 1199, 500_000),
                (0, 1, 1_000_000),
            ],
        );
    }

    #[test]
    fn a_little_is_judged_whatever_is_lost() {
        check(3.9, &[(400, 0, 1_000_000)]);
        check(4.0, &[(400, 0, 500_000), (400, 67, 500_000)]);
    }

    #[test]
    fn few_requests_decide_nothing_and_a_share_does_not_end() {
        let (mut losses, now) = (Losses::default(), Instant::now());
        (1..SAMPLE).for_each(|_| losses.add(true));
        losses.look(20.0, PATIENCE, now);
        assert_eq!(losses.of(1000), 1000);
        losses.add(true);
        losses.look(20.0, PATIENCE, now);
        assert_eq!([0, 1, 1000].map(|share| losses.of(share)), [0, 1, 500]);
    }
}
