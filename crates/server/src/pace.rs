//! Whether a proxy keeps pace: one that comes and goes all the time is not counted until it stays, and one that does not answer
//! may be counted no longer. So neither makes statuses flap, nor holds a gate for ever.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Who connects more often than this within [`WITHIN`] flaps.
const COMINGS: u32 = 5;
const WITHIN: Duration = Duration::from_secs(60);
/// How long one who flaps has to stay to count.
const STEADY: Duration = Duration::from_secs(30);
/// Names that are remembered; beyond it those of whom nothing was heard within [`WITHIN`] are forgotten.
const NAMES: usize = 4096;

/// How one proxy keeps pace.
#[derive(Debug, Default)]
pub struct Pace(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// It flaps, and does not count before.
    steady: Option<Instant>,
    /// Since when it has not answered although it lacks something.
    behind: Option<Instant>,
    /// For longer than patience lasts.
    excused: bool,
}

impl Pace {
    /// Of one that counts from `steady` on.
    pub(crate) fn from(steady: Option<Instant>) -> Self {
        Pace(Mutex::new(State { steady, ..State::default() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It stays.
    pub(crate) fn is_steady(&self) -> bool {
        self.state().steady.is_none()
    }

    /// It holds no gate by what it has not answered.
    pub(crate) fn is_excused(&self) -> bool {
        self.state().excused
    }

    /// Notes how it stands after something happened.
    pub(crate) fn note(&self, behind: bool, answered: bool, now: Instant) {
        let mut state = self.state();
        let since = state.behind.filter(|_| !answered).unwrap_or(now);
        state.behind = behind.then_some(since);
        state.excused &= behind && !answered;
    }

    /// When [`Pace::turn`] should be called next.
    pub(crate) fn next(&self, patience: Option<Duration>) -> Option<Instant> {
        let state = self.state();
        let late =
            state.behind.zip(patience).filter(|_| !state.excused).map(|(since, patience)| since + patience);
        state.steady.into_iter().chain(late).min()
    }

    /// Looks at the clock; true when patience has just ended.
    pub(crate) fn turn(&self, now: Instant, patience: Option<Duration>) -> bool {
        let mut state = self.state();
        state.steady = state.steady.filter(|steady| *steady > now);
        let late = state.behind.zip(patience).is_some_and(|(since, patience)| since + patience <= now);
        late && !std::mem::replace(&mut state.excused, late)
    }
}

/// How often proxies come.
#[derive(Debug, Default)]
pub(crate) struct Comings(HashMap<String, Coming>);

#[derive(Debug)]
struct Coming {
    count: u32,
    last: Instant,
}

impl Comings {
    /// Notes that one comes: when it counts, if not at once, and whether that is to be said.
    pub(crate) fn note(&mut self, name: &str, now: Instant) -> (Option<Instant>, bool) {
        let recent = |coming: &Coming| now.duration_since(coming.last) < WITHIN;
        if self.0.len() >= NAMES && !self.0.contains_key(name) {
            self.0.retain(|_, coming| recent(coming));
            if self.0.len() >= NAMES {
                return (None, false);
            }
        }
        let coming = self.0.entry(name.to_owned()).or_insert(Coming { count: 0, last: now });
        coming.count = if recent(coming) { coming.count + 1 } else { 1 };
        coming.last = now;
        let flaps = coming.count > COMINGS;
        (flaps.then(|| now + STEADY), coming.count == COMINGS + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn who_comes_and_goes_counts_when_it_stays() {
        let start = Instant::now();
        let mut comings = Comings::default();
        for n in 0..COMINGS {
            assert_eq!(comings.note("web-1", start + n * SECOND), (None, false));
        }
        let at = start + COMINGS * SECOND;
        assert_eq!(comings.note("web-1", at), (Some(at + STEADY), true));
        assert_eq!(comings.note("web-1", at), (Some(at + STEADY), false), "said once");
        assert_eq!(comings.note("web-2", at), (None, false), "somebody else");
        assert_eq!(comings.note("web-1", at + WITHIN), (None, false), "after a while");
        let pace = Pace::from(Some(at));
        assert!(!pace.is_steady() && pace.next(None) == Some(at));
        assert!(!pace.turn(at, None) && pace.is_steady() && pace.next(None).is_none());
    }

    #[test]
    fn names_are_not_remembered_without_end() {
        let start = Instant::now();
        let mut comings = Comings::default();
        for n in 0..2 * NAMES {
            comings.note(&n.to_string(), start);
        }
        assert_eq!(comings.0.len(), NAMES);
        comings.note("later", start + WITHIN);
        assert_eq!(comings.0.len(), 1);
    }

    /// What happens each second: `b` it lacks something, `a` it answers and still does, `.` it lacks nothing; whether it is excused
    /// then with a patience of two seconds.
    #[test]
    fn patience_ends_for_who_does_not_answer() {
        for (steps, excused) in
            [("bbbb", "..xx"), ("babab", "....."), ("bbb.bbb", "..x...x"), ("bbba", "..x."), ("....", "....")]
        {
            let (pace, start) = (Pace::default(), Instant::now());
            let mut got = String::new();
            for (n, step) in steps.chars().enumerate() {
                let now = start + SECOND * n as u32;
                pace.note(step != '.', step == 'a', now);
                pace.turn(now, Some(2 * SECOND));
                got.push(if pace.is_excused() { 'x' } else { '.' });
            }
            assert_eq!(got, excused, "{steps}");
        }
        let pace = Pace::default();
        pace.note(true, false, Instant::now());
        assert_eq!(pace.next(None), None, "without a setting patience has no end");
    }
}
