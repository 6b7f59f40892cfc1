//! What is counted of copies and of the requests that they are made of.

use umbra_proto::opentelemetry::proto::metrics::v1::HistogramDataPoint;

use super::names::MOST;

/// The classes of answers, 1xx to 5xx.
pub(crate) const CLASSES: usize = 5;

/// Upper ends in milliseconds: those of Envoy's own histograms as long as nobody asks it for others. One more counts what is
/// above them.
pub(crate) const BOUNDS: [f64; 19] = [
    0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1e3, 2.5e3, 5e3, 1e4, 3e4, 6e4, 3e5, 6e5, 1.8e6,
    3.6e6,
];

/// More milliseconds than this no proxy's requests take together between two messages.
const LONGEST: f64 = 1e15;

/// How long requests took.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Times {
    /// How many took so long, by [`BOUNDS`].
    pub(crate) counts: [u64; BOUNDS.len() + 1],
    /// Of all of them, in milliseconds.
    pub(crate) sum: f64,
}

/// What became of copies, in Envoy's own numbers.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Copies {
    /// Begun (`upstream_rq_total`).
    pub(crate) begun: u64,
    /// Answers by class; those that are lost but for timeouts count as 503 there.
    pub(crate) classes: [u64; CLASSES],
    /// Not begun: no endpoint is healthy.
    pub(crate) no_endpoint: u64,
    /// Not begun: too much is under way.
    pub(crate) overflow: u64,
    /// `upstream_rq_pending_failure_eject`, which is both of the next.
    pub(crate) ejected: u64,
    /// Connections that broke while something was under way on them.
    pub(crate) broken: u64,
    /// Not begun: no connection.
    pub(crate) refused: u64,
    /// Given up after their time.
    pub(crate) timeout: u64,
    /// Broken off by the other side.
    pub(crate) reset: u64,
    /// Answers that were 503, the target's own and those of what is lost.
    pub(crate) unavailable: u64,
    /// How long those took that came to an end.
    pub(crate) times: Times,
}

/// What became of requests that could have been copied.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Primaries {
    /// Answered.
    pub(crate) completed: u64,
    /// Of them those that were judged.
    pub(crate) judged: u64,
    /// Answers by class.
    pub(crate) classes: [u64; CLASSES],
    /// How long they took.
    pub(crate) times: Times,
}

/// What was counted of a mirror's copies, and of the requests of its rule.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) copies: Copies,
    pub(crate) primaries: Primaries,
}

impl Copies {
    /// How many there should be: all for which Envoy has decided to copy.
    pub(crate) fn attempts(&self) -> u64 {
        let lost = self.no_endpoint.saturating_add(self.overflow).saturating_add(self.refused);
        self.begun.saturating_add(lost)
    }

    /// Says of what a proxy counted last, on top of what was counted `before`, what was refused and what was broken off.
    ///
    /// Over HTTP/2 Envoy calls what was under way on a connection that breaks ejected, as it calls what got no connection (`onStreamReset`
    /// of `MultiplexedActiveClient`), and counts one connection for all of it. But what was begun is answered in the end, or is one of
    /// those, so that more answers than were begun are those of what was not.
    pub(crate) fn tell_lost_apart(&mut self, before: &Self) {
        let mut all = *before;
        all.add(self);
        let answered = all.classes.into_iter().fold(all.timeout, u64::saturating_add);
        let others = all.begun.saturating_add(all.no_endpoint).saturating_add(all.overflow);
        let never_begun = answered.saturating_sub(others).saturating_sub(before.refused);
        self.refused = if all.broken == 0 { self.ejected } else { self.ejected.min(never_begun) };
        let begun = self.ejected - self.refused;
        self.reset = self.reset.saturating_add(begun.max(self.broken));
    }

    /// How many of the lost were answered 503 in Envoy: most, but a body that ends early has had its status.
    pub(crate) fn lost_as_503(&self) -> u64 {
        let lost = [self.no_endpoint, self.overflow, self.refused, self.reset];
        lost.into_iter().fold(0, u64::saturating_add).min(self.unavailable)
    }

    /// How many got no whole answer.
    pub(crate) fn lost(&self) -> u64 {
        let Copies { no_endpoint, overflow, refused, timeout, reset, .. } = *self;
        [no_endpoint, overflow, refused, timeout, reset].into_iter().fold(0, u64::saturating_add)
    }

    /// What was counted after `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Copies {
            begun: self.begun.saturating_sub(earlier.begun),
            classes: less(self.classes, earlier.classes),
            no_endpoint: self.no_endpoint.saturating_sub(earlier.no_endpoint),
            overflow: self.overflow.saturating_sub(earlier.overflow),
            ejected: self.ejected.saturating_sub(earlier.ejected),
            broken: self.broken.saturating_sub(earlier.broken),
            unavailable: self.unavailable.saturating_sub(earlier.unavailable),
            refused: self.refused.saturating_sub(earlier.refused),
            timeout: self.timeout.saturating_sub(earlier.timeout),
            reset: self.reset.saturating_sub(earlier.reset),
            times: self.times.since(&earlier.times),
        }
    }

    /// What the target itself answered, by class.
    pub(crate) fn answers(&self) -> [u64; CLASSES] {
        let mut answers = self.classes;
        answers[4] = answers[4].saturating_sub(self.lost_as_503());
        answers
    }
}

impl Primaries {
    /// What was counted after `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Primaries {
            completed: self.completed.saturating_sub(earlier.completed),
            classes: less(self.classes, earlier.classes),
            times: self.times.since(&earlier.times),
            judged: self.judged.saturating_sub(earlier.judged),
        }
    }
}

fn less<const N: usize>(more: [u64; N], less: [u64; N]) -> [u64; N] {
    std::array::from_fn(|at| more[at].saturating_sub(less[at]))
}

/// What adds up.
pub(crate) trait Add: Copy + Default {
    /// Adds another count.
    fn add(&mut self, other: &Self);
}

fn add(to: &mut u64, more: u64) {
    *to = to.saturating_add(more);
}

impl Add for Times {
    fn add(&mut self, other: &Self) {
        self.counts.iter_mut().zip(other.counts).for_each(|(to, more)| add(to, more));
        self.sum += other.sum;
    }
}

impl Add for Copies {
    fn add(&mut self, other: &Self) {
        add(&mut self.begun, other.begun);
        self.classes.iter_mut().zip(other.classes).for_each(|(to, more)| add(to, more));
        add(&mut self.no_endpoint, other.no_endpoint);
        add(&mut self.overflow, other.overflow);
        add(&mut self.ejected, other.ejected);
        add(&mut self.broken, other.broken);
        add(&mut self.unavailable, other.unavailable);
        add(&mut self.refused, other.refused);
        add(&mut self.timeout, other.timeout);
        add(&mut self.reset, other.reset);
        self.times.add(&other.times);
    }
}

impl Add for Primaries {
    fn add(&mut self, other: &Self) {
        add(&mut self.completed, other.completed);
        add(&mut self.judged, other.judged);
        self.classes.iter_mut().zip(other.classes).for_each(|(to, more)| add(to, more));
        self.times.add(&other.times);
    }
}

impl Times {
    /// Reads a point; a proxy that was told to count by other bounds has its counts where their upper ends are.
    pub(crate) fn of(point: &HistogramDataPoint) -> Self {
        let mut times = Times::default();
        for (at, count) in point.bucket_counts.iter().enumerate() {
            let place = match point.explicit_bounds.get(at) {
                Some(bound) => BOUNDS.partition_point(|known| known < bound),
                None => BOUNDS.len(),
            };
            if let Some(to) = times.counts.get_mut(place) {
                add(to, (*count).min(MOST));
            }
        }
        times.sum = point.sum.filter(|sum| (0.0..=LONGEST).contains(sum)).unwrap_or_default();
        times
    }

    /// What was counted after `earlier`.
    fn since(&self, earlier: &Self) -> Self {
        Times { counts: less(self.counts, earlier.counts), sum: (self.sum - earlier.sum).max(0.0) }
    }

    /// How many were timed.
    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().copied().fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            unavailable: 8,
            ..Copies::default()
        };
        assert_eq!((copies.attempts(), copies.answers()), (16, [0, 6, 0, 1, 2]));
        // Bodies that end early had their status, and take nothing away from others' errors.
        let cut = Copies { begun: 20, classes: [0, 10, 0, 0, 10], reset: 10, ..Copies::default() };
        assert_eq!((cut.lost(), cut.answers()), (10, [0, 10, 0, 0, 10]));
        let many = Copies { begun: u64::MAX, overflow: 1, ..Copies::default() };
        assert_eq!(many.attempts(), u64::MAX);
    }

    /// What Envoy counted in messages one after the other as begun, 503, ejected and broken, and what was refused and reset then.
    #[track_caller]
    fn check_lost(messages: &[[u64; 4]], refused: u64, reset: u64) {
        let mut all = Copies::default();
        for [begun, unavailable, ejected, broken] in messages.iter().copied() {
            let mut copies = Copies { begun, unavailable, ejected, broken, ..Copies::default() };
            copies.classes[4] = unavailable;
            copies.tell_lost_apart(&all);
            all.add(&copies);
        }
        assert_eq!((all.refused, all.reset), (refused, reset), "{messages:?}");
        assert_eq!(all.lost_as_503(), refused + reset);
    }

    #[test]
    fn what_was_under_way_is_told_from_what_had_no_connection() {
        // No connection, over any protocol.
        check_lost(&[[0, 5, 5, 0]], 5, 0);
        // Ten on one connection of HTTP/2 that breaks; five more have none afterwards, at once or later.
        check_lost(&[[10, 10, 10, 1]], 0, 10);
        check_lost(&[[10, 15, 15, 1]], 5, 10);
        check_lost(&[[10, 10, 10, 1], [0, 5, 5, 0]], 5, 10);
        // Begun in one message and broken in the next.
        check_lost(&[[10, 0, 0, 0], [0, 10, 10, 1]], 0, 10);
        // One on each connection of HTTP/1.1.
        check_lost(&[[10, 10, 0, 10], [0, 5, 5, 0]], 5, 10);
    }

    #[test]
    fn times_by_other_bounds_stand_at_their_upper_ends() {
        let point = |bounds: &[f64], counts: &[u64]| HistogramDataPoint {
            explicit_bounds: bounds.to_vec(),
            bucket_counts: counts.to_vec(),
            sum: Some(7.0),
            ..HistogramDataPoint::default()
        };
        for (bounds, counts, want) in [
            (&[0.5, 1.0][..], &[1, 2, 3][..], &[(0, 1), (1, 2), (19, 3)][..]),
            (&[0.7, 20.0], &[1, 2, 0], &[(1, 1), (4, 2)]),
            (&[f64::NAN], &[5], &[(0, 5)]),
            (&[], &[4], &[(19, 4)]),
            (&[1e9], &[1, 1], &[(19, 2)]),
        ] {
            let times = Times::of(&point(bounds, counts));
            let got: Vec<_> = times.counts.iter().copied().enumerate().filter(|(_, n)| *n > 0).collect();
            assert_eq!(got, want, "{bounds:?} {counts:?}");
        }
    }
}
