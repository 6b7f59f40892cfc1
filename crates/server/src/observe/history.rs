//! What was counted in each of the last minutes, and lately. Bounded by time, and by what there is to count; no clock of its own.

use std::collections::VecDeque;

use super::counts::{BOUNDS, Copies, Primaries};

/// Minutes that are kept, the one that goes on included: an hour, and with 108 bytes a minute 6 KiB of each rule or cluster that
/// was busy all of the time.
pub(crate) const MINUTES: u32 = 60;
/// Seconds of one part of what counts as lately: proxies tell as often.
const SLOT: u64 = 5;
/// Whole parts that count as lately.
const LATELY: u64 = 6;

/// What was counted of requests, or of copies, in some time.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Part {
    /// Requests that were answered; copies that were made or tried.
    pub(crate) count: u32,
    /// Answers as Envoy counts them.
    answers: u32,
    /// Those that are 5xx.
    server_errors: u32,
    /// Copies that were not answered as a whole, but for those that took too long: Envoy counts an answer of each all the same.
    never: u32,
    /// Those of them of which that was 503.
    never_503: u32,
    /// Copies that took too long.
    timeouts: u32,
    /// How long they took, by [`BOUNDS`].
    pub(crate) times: [u32; BOUNDS.len() + 1],
}

fn small(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

impl Part {
    /// Of requests that could have been copied.
    pub(super) fn of_primaries(primaries: &Primaries) -> Self {
        Part {
            count: small(primaries.completed),
            answers: small(primaries.classes.iter().fold(0, |sum, count| sum.saturating_add(*count))),
            server_errors: small(primaries.classes[4]),
            times: primaries.times.counts.map(small),
            ..Part::default()
        }
    }

    /// Of copies.
    pub(super) fn of_copies(copies: &Copies) -> Self {
        Part {
            count: small(copies.attempts()),
            answers: small(copies.classes.iter().fold(0, |sum, count| sum.saturating_add(*count))),
            server_errors: small(copies.classes[4]),
            never: small(copies.lost() - copies.timeout.min(copies.lost())),
            never_503: small(copies.lost_as_503()),
            timeouts: small(copies.timeout),
            times: copies.times.counts.map(small),
        }
    }

    /// Adds another.
    pub(super) fn add(&mut self, other: &Part) {
        let add = |to: &mut u32, more: u32| *to = to.saturating_add(more);
        add(&mut self.count, other.count);
        add(&mut self.answers, other.answers);
        add(&mut self.server_errors, other.server_errors);
        add(&mut self.never, other.never);
        add(&mut self.never_503, other.never_503);
        add(&mut self.timeouts, other.timeouts);
        self.times.iter_mut().zip(other.times).for_each(|(to, more)| add(to, more));
    }

    /// Whole answers of whoever was asked.
    pub(crate) fn answers(&self) -> u32 {
        self.answers.saturating_sub(self.never)
    }

    /// Those of them that are 5xx.
    pub(crate) fn server_errors(&self) -> u32 {
        self.server_errors.saturating_sub(self.never_503)
    }

    /// Copies without a whole answer.
    pub(crate) fn lost(&self) -> u32 {
        self.never.saturating_add(self.timeouts)
    }
}

/// The last minutes of one rule or cluster.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    /// By minute since 1970, the oldest first; those in which nothing was counted are missing.
    minutes: VecDeque<(u32, Part)>,
    /// How many in each of the newest slots.
    slots: VecDeque<(u64, u32)>,
    /// The second at which counting began.
    begin: u64,
}

impl History {
    /// Nothing yet; `seconds` as all times here are since 1970.
    pub(super) fn new(seconds: u64) -> Self {
        History { begin: seconds, ..History::default() }
    }

    /// Counts what arrives now.
    pub(super) fn add(&mut self, seconds: u64, part: &Part) {
        let minute = small(seconds / 60);
        match self.minutes.back_mut() {
            Some((last, to)) if *last == minute => to.add(part),
            _ => self.minutes.push_back((minute, *part)),
        }
        while self.minutes.front().is_some_and(|(first, _)| first + MINUTES <= minute) {
            self.minutes.pop_front();
        }
        if part.count == 0 {
            return;
        }
        let slot = seconds / SLOT;
        match self.slots.back_mut() {
            Some((last, count)) if *last == slot => *count = count.saturating_add(part.count),
            _ => self.slots.push_back((slot, part.count)),
        }
        while self.slots.front().is_some_and(|(first, _)| first + LATELY < slot) {
            self.slots.pop_front();
        }
    }

    /// The minutes of the last hour in which anything was counted.
    pub(super) fn minutes(&self, seconds: u64) -> impl Iterator<Item = &(u32, Part)> {
        let minute = small(seconds / 60);
        self.minutes.iter().filter(move |(it, _)| it + MINUTES > minute)
    }

    /// How many a second, over the last half minute.
    pub(super) fn per_second(&self, seconds: u64) -> f64 {
        let now = seconds / SLOT;
        let whole = self.slots.iter().filter(|(slot, _)| *slot < now && slot + LATELY >= now);
        let count: u64 = whole.map(|(_, count)| u64::from(*count)).sum();
        let since = (now * SLOT).saturating_sub(self.begin).clamp(SLOT, LATELY * SLOT);
        count as f64 / since as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(count: u32) -> Part {
        Part { count, ..Part::default() }
    }

    #[test]
    fn an_hour_and_no_more() {
        let mut history = History::new(600);
        for minute in 0..200_u64 {
            history.add(600 + minute * 60, &requests(1));
            history.add(601 + minute * 60, &requests(2));
        }
        let end = 600 + 199 * 60;
        let minutes: Vec<_> = history.minutes(end).map(|(at, part)| (*at, part.count)).collect();
        assert_eq!(minutes.len(), 60);
        assert_eq!((minutes[0], minutes[59]), ((150, 3), (209, 3)));
        assert!(history.minutes.len() <= 60 && history.slots.len() <= 8, "{history:?}");
        // Silence is no minute.
        assert_eq!(history.minutes(end + 30 * 60).count(), 30);
        assert_eq!(history.minutes(end + 90 * 60).count(), 0);
        assert_eq!(std::mem::size_of::<(u32, Part)>(), 108);
    }

    #[test]
    fn what_counts_as_lately() {
        let mut history = History::new(1000);
        assert_eq!(history.per_second(1000), 0.0);
        history.add(1000, &requests(50));
        // The part that goes on is not whole.
        assert_eq!(history.per_second(1004), 0.0);
        assert_eq!(history.per_second(1005), 10.0);
        history.add(1006, &requests(50));
        assert_eq!(history.per_second(1010), 10.0);
        assert_eq!(history.per_second(1020), 5.0);
        assert_eq!(history.per_second(1030), 100.0 / 30.0);
        assert_eq!(history.per_second(1039), 50.0 / 30.0);
        assert_eq!(history.per_second(1040), 0.0);
    }

    #[test]
    fn what_was_lost_is_no_answer() {
        let copies = Copies {
            begun: 10,
            classes: [0, 6, 0, 1, 9],
            no_endpoint: 1,
            overflow: 2,
            refused: 3,
            reset: 1,
            timeout: 1,
            unavailable: 7,
            ..Copies::default()
        };
        let part = Part::of_copies(&copies);
        assert_eq!((part.count, part.answers(), part.server_errors(), part.lost()), (16, 9, 2, 8));
    }
}
