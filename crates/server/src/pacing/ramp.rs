//! Whether a ramp goes on. Pure.

use umbra_ir::{Ramp, RampState};
use umbra_judge::Verdict;

/// Whether it is time for the next step, `now` in seconds since 1970, when so many of the rule's requests were counted at this one (`None`: nobody
/// counts at the moment), and the verdict, if there is one, is this.
pub(super) fn goes_on(
    ramp: &Ramp,
    state: RampState,
    now: i64,
    counted: Option<u64>,
    verdict: Option<&str>,
) -> bool {
    let Some(step) = ramp.steps.get(state.step) else { return false };
    let waited = now.saturating_sub(state.since) as f64 >= step.time.as_secs_f64();
    let held = match verdict {
        Some(verdict) if verdict == Verdict::Different.as_str() => true,
        verdict => ramp.same && verdict != Some(Verdict::Same.as_str()),
    };
    let enough = step.requests == 0 || counted.is_some_and(|counted| counted >= u64::from(step.requests));
    waited && enough && !held
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use umbra_ir::{RampStep, RuntimeFraction};

    use super::*;

    #[test]
    fn a_step_without_a_sample_goes_on_though_nobody_counts() {
        let share = RuntimeFraction::from_percent(1.0).unwrap();
        let step = RampStep { share, time: Duration::from_secs(60), requests: 0 };
        let ramp = Ramp { steps: vec![step], same: false };
        assert!(goes_on(&ramp, RampState { step: 0, since: 0 }, 60, None, None));
    }

    #[test]
    fn time_sample_and_verdict() {
        let step = |percent| RampStep {
            share: RuntimeFraction::from_percent(percent).unwrap(),
            time: Duration::from_secs(60),
            requests: 100,
        };
        let ramp = |same| Ramp { steps: vec![step(1.0), step(10.0)], same };
        for (same, at, now, counted, verdict, want) in [
            (false, 0, 59, Some(100), None, false),
            (false, 0, 60, Some(99), None, false),
            (false, 0, 60, Some(100), None, true),
            (false, 0, 60, None, None, false),
            (false, 0, 60, Some(100), Some("undecided"), true),
            (false, 0, 60, Some(100), Some("different"), false),
            (true, 0, 60, Some(100), None, false),
            (true, 0, 60, Some(100), Some("undecided"), false),
            (true, 0, 60, Some(100), Some("same"), true),
            (false, 1, 60, Some(100), None, true),
            (false, 2, 60, Some(100), None, false),
        ] {
            let state = RampState { step: at, since: 0 };
            assert_eq!(
                goes_on(&ramp(same), state, now, counted, verdict),
                want,
                "{at} {now} {counted:?} {verdict:?}"
            );
        }
    }
}
