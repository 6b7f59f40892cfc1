//! Whether a ramp goes on. Pure.

use umbra_ir::{Ramp, RampState};
use umbra_judge::Verdict;

/// Whether it is time for the next step, `now` in seconds since 1970, when so many of the rule's requests were counted at this one, and
/// the verdict, if there is one, is this.
pub(super) fn goes_on(ramp: &Ramp, state: RampState, now: i64, counted: u64, verdict: Option<&str>) -> bool {
    let Some(step) = ramp.steps.get(state.step) else { return false };
    let waited = now.saturating_sub(state.since) as f64 >= step.time.as_secs_f64();
    let held = match verdict {
        Some(verdict) if verdict == Verdict::Different.as_str() => true,
        verdict => ramp.same && verdict != Some(Verdict::Same.as_str()),
    };
    waited && counted >= u64::from(step.requests) && !held
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use umbra_ir::{RampStep, RuntimeFraction};

    use super::*;

    #[test]
    fn time_sample_and_verdict() {
        let step = |percent| RampStep {
            share: RuntimeFraction::from_percent(percent).unwrap(),
            time: Duration::from_secs(60),
            requests: 100,
        };
        let ramp = |same| Ramp { steps: vec![step(1.0), step(10.0)], same };
        for (same, at, now, counted, verdict, want) in [
            (false, 0, 59, 100, None, false),
            (false, 0, 60, 99, None, false),
            (false, 0, 60, 100, None, true),
            (false, 0, 60, 100, Some("undecided"), true),
            (false, 0, 60, 100, Some("different"), false),
            (true, 0, 60, 100, None, false),
            (true, 0, 60, 100, Some("undecided"), false),
            (true, 0, 60, 100, Some("same"), true),
            (false, 1, 60, 100, None, true),
            (false, 2, 60, 100, None, false),
        ] {
            let state = RampState { step: at, since: 0 };
            assert_eq!(
                goes_on(&ramp(same), state, now, counted, verdict),
                want,
                "{at} {now} {counted} {verdict:?}"
            );
        }
    }
}
