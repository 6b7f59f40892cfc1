//! Figures of a mirror as people read them, and as lines. Pure.

use umbra_proto::umbra::v1::{Minute, Tally, Times};

use super::chart::{Hour, Line};
use crate::mirrors::quantile;
use crate::observe::{BOUNDS, MINUTES};

/// How many of something a second.
pub(super) fn rate(value: f64) -> String {
    match value {
        it if it <= 0.0 => "0".to_owned(),
        it if it < 0.01 => "<0.01".to_owned(),
        it if it < 10.0 => format!("{it:.2}"),
        it if it < 100.0 => format!("{it:.1}"),
        it => format!("{it:.0}"),
    }
}

/// Milliseconds.
pub(super) fn time(milliseconds: f64) -> String {
    match milliseconds {
        it if it < 10.0 => format!("{it:.1} ms"),
        it if it < 1000.0 => format!("{it:.0} ms"),
        it if it < 60_000.0 => format!("{:.1} s", it / 1e3),
        it => format!("{:.1} min", it / 6e4),
    }
}

/// What part of so many took no longer.
pub(super) fn quantile_of(times: Option<&Times>, part: f64) -> Option<f64> {
    times.and_then(|times| quantile(&times.bounds, &times.counts, part))
}

/// The lines of a mirror's last hour, up to `now` in minutes since 1970, which is not over and so left out.
pub(super) struct Lines<'a> {
    minutes: &'a [Minute],
    now: u32,
}

impl<'a> Lines<'a> {
    pub(super) fn new(minutes: &'a [Minute], now: u32) -> Self {
        Lines { minutes, now }
    }

    fn hour(&self, value: impl Fn(&Minute) -> Option<f64>) -> Hour {
        let mut hour = vec![None; MINUTES as usize];
        let first = self.now.saturating_sub(MINUTES);
        for minute in self.minutes.iter().filter(|it| (first..self.now).contains(&it.minute)) {
            if let Some(place) = hour.get_mut((minute.minute - first) as usize) {
                *place = value(minute);
            }
        }
        hour
    }

    fn both(&self, value: impl Fn(&Tally) -> Option<f64>) -> [Line; 2] {
        let of = |tally: &Option<Tally>| tally.as_ref().and_then(&value);
        let primary = self.hour(|minute| of(&minute.primaries));
        let shadow = self.hour(|minute| of(&minute.copies));
        [
            Line { class: "primary", name: "primary", hour: primary },
            Line { class: "shadow", name: "shadow", hour: shadow },
        ]
    }

    /// Copies, and requests that could have been copied, a second.
    pub(super) fn rates(&self) -> [Line; 2] {
        self.both(|tally| Some(tally.count as f64 / 60.0))
    }

    /// Copies alone.
    pub(super) fn copies(&self) -> [Line; 1] {
        let [_, copies] = self.rates();
        [copies]
    }

    /// What part of the answers were 5xx.
    pub(super) fn errors(&self) -> [Line; 2] {
        self.both(|tally| (tally.answers > 0).then(|| tally.server_errors as f64 / tally.answers as f64))
    }

    /// Within what time a part of them was answered, in milliseconds.
    pub(super) fn times(&self, part: f64) -> [Line; 2] {
        self.both(|tally| quantile(&BOUNDS, &tally.times, part))
    }

    /// What part of the copies got no whole answer.
    pub(super) fn lost(&self) -> [Line; 1] {
        let lost = |tally: &Tally| (tally.count > 0).then(|| tally.lost as f64 / tally.count as f64);
        let hour = self.hour(|minute| minute.copies.as_ref().and_then(lost));
        [Line { class: "shadow", name: "lost", hour }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_as_people_read_them() {
        for (value, want) in
            [(0.0, "0"), (0.001, "<0.01"), (1.234, "1.23"), (12.34, "12.3"), (1234.5, "1234")]
        {
            assert_eq!(rate(value), want);
        }
        for (value, want) in [(0.25, "0.2 ms"), (12.6, "13 ms"), (1250.0, "1.2 s"), (90_000.0, "1.5 min")] {
            assert_eq!(time(value), want);
        }
    }

    #[test]
    fn minutes_become_lines() {
        let tally =
            |count, server_errors| Some(Tally { count, answers: count, server_errors, ..Tally::default() });
        let minute = |minute, copies| Minute { minute, primaries: tally(120, 0), copies: tally(copies, 3) };
        let minutes = [minute(39, 1), minute(40, 60), minute(98, 30), minute(99, 0), minute(100, 600)];
        let lines = Lines::new(&minutes, 100);
        let [primary, shadow] = lines.rates();
        assert_eq!((primary.hour.len(), primary.hour[0], primary.hour[1]), (60, Some(2.0), None));
        // The minute that goes on is none yet, and one of more than an hour ago none any longer.
        assert_eq!((shadow.hour[0], shadow.hour[58], shadow.hour[59]), (Some(1.0), Some(0.5), Some(0.0)));
        let [_, errors] = lines.errors();
        assert_eq!((errors.hour[58], errors.hour[59]), (Some(0.1), None));
        assert_eq!(lines.lost()[0].hour[58], Some(0.0));
    }
}
