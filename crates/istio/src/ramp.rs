//! How far ramps have come: an annotation that umbra writes, so that it outlives umbra and every replica has it
//! (docs/decisions/0068).

use umbra_api::VirtualService;
use umbra_ir::{Ramp, RampState, RuntimeFraction, RuntimeKey};

/// On a VirtualService, written by umbra: a line for each mirror with a ramp.
pub const RAMP: &str = "umbra.io/ramp";
/// Bytes of lines that are kept, the newest first; all annotations of an object may have 256 KiB together.
const BYTES: usize = 128 << 10;

/// One line of the record.
struct Line<'a> {
    state: RampState,
    /// The shares of the ramp that it is about; `None`: written before they were.
    shares: Option<&'a str>,
    key: &'a str,
}

/// How far a mirror has come on this ramp, as the record says; `None`: it is still to begin.
///
/// Of a ramp whose shares have been edited since it goes on where the share is no larger than it was; one that was over has been
/// another one, so that this one begins.
pub(crate) fn ramp_state(vs: &VirtualService, key: &RuntimeKey, ramp: &Ramp) -> Option<RampState> {
    let text = vs.meta.annotations.get(RAMP)?;
    let line = text.lines().filter_map(parse_line).find(|line| line.key == key.as_str())?;
    match line.shares {
        Some(shares) if shares != shares_of(ramp) => {
            let reached = shares.split(',').nth(line.state.step)?.strip_suffix('%')?.parse().ok()?;
            let reached = RuntimeFraction::from_percent(reached)?;
            let step = ramp.steps.iter().rposition(|step| step.share <= reached)?;
            Some(RampState { step, ..line.state })
        }
        _ => Some(line.state),
    }
}

fn shares_of(ramp: &Ramp) -> String {
    let shares = ramp.steps.iter().map(|step| format!("{}%", f64::from(step.share.millionths()) / 1e4));
    shares.collect::<Vec<_>>().join(",")
}

/// `STEP; SINCE; SHARES; KEY`, the time in seconds since 1970: a key may hold anything.
fn parse_line(line: &str) -> Option<Line<'_>> {
    let mut parts = line.splitn(3, "; ");
    let (step, since) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let rest = parts.next()?;
    let (shares, key) = match rest.split_once("; ") {
        Some((shares, key)) if !rest.starts_with("mirror/") => (Some(shares), key),
        _ => (None, rest),
    };
    Some(Line { state: RampState { step, since }, shares, key })
}

/// The record with this state of a mirror's ramp in it; `None`: somebody has written a later step already.
pub fn record_ramp(before: Option<&str>, key: &RuntimeKey, ramp: &Ramp, state: RampState) -> Option<String> {
    let before = before.unwrap_or_default();
    let shares = shares_of(ramp);
    let known = || before.lines().filter_map(|line| Some((line, parse_line(line)?)));
    let later = |line: &Line<'_>| line.shares.is_none_or(|it| it == shares) && line.state.step >= state.step;
    if known().any(|(_, line)| line.key == key.as_str() && later(&line)) {
        return None;
    }
    let mut text = format!("{}; {}; {shares}; {key}", state.step, state.since);
    for (line, _) in known().filter(|(_, line)| line.key != key.as_str()) {
        if text.len() + line.len() < BYTES {
            text.push('\n');
            text.push_str(line);
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use umbra_ir::RampStep;

    use super::*;

    fn ramp(percents: &[f64]) -> Ramp {
        let step = |percent: &f64| RampStep {
            share: RuntimeFraction::from_percent(*percent).unwrap(),
            time: Duration::ZERO,
            requests: 0,
        };
        Ramp { steps: percents.iter().map(step).collect(), same: false }
    }

    fn state(step: usize, since: i64) -> RampState {
        RampState { step, since }
    }

    fn vs(record: &str) -> VirtualService {
        let text = format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: web, annotations: {{umbra.io/ramp: {record:?}}}}}\nspec: {{hosts: [web]}}\n"
        );
        let parsed = umbra_api::parse_documents(&text, "a.yaml").objects.remove(0).value;
        let umbra_api::Object::VirtualService(vs) = parsed else { panic!("{text}") };
        vs
    }

    #[test]
    fn a_record_is_read_as_it_was_written_and_never_goes_back() {
        let (one, two) = (RuntimeKey::new("mirror/a/b/c/|v2|d; e"), RuntimeKey::new("mirror/a/b/c/|v3|d"));
        let ramp = ramp(&[1.0, 2.5]);
        let text = record_ramp(None, &one, &ramp, state(0, 100)).unwrap();
        let text = record_ramp(Some(&text), &two, &ramp, state(2, 200)).unwrap();
        let text = record_ramp(Some(&text), &one, &ramp, state(1, 300)).unwrap();
        assert_eq!(text, "1; 300; 1%,2.5%; mirror/a/b/c/|v2|d; e\n2; 200; 1%,2.5%; mirror/a/b/c/|v3|d");
        assert_eq!(record_ramp(Some(&text), &one, &ramp, state(1, 400)), None);
        let vs = vs(&text);
        assert_eq!(ramp_state(&vs, &one, &ramp), Some(state(1, 300)));
        assert_eq!(ramp_state(&vs, &two, &ramp), Some(state(2, 200)));
        assert_eq!(ramp_state(&vs, &RuntimeKey::new("other"), &ramp), None);
    }

    #[test]
    fn an_edited_ramp_never_jumps() {
        let key = RuntimeKey::new("mirror/a/b/c/|v2|d; e");
        let before = ramp(&[1.0, 10.0, 25.0]);
        for (at, edited, want) in [
            (1, &[1.0, 10.0, 25.0][..], Some(1)),
            (3, &[1.0, 10.0, 25.0], Some(3)),
            (1, &[1.0], Some(0)),
            (1, &[1.0, 5.0, 10.0, 20.0], Some(2)),
            (0, &[2.0, 10.0], None),
            // It was over: this is another one.
            (3, &[1.0, 50.0], None),
        ] {
            let text = record_ramp(None, &key, &before, state(at, 7)).unwrap();
            let ramp = ramp(edited);
            let got = ramp_state(&vs(&text), &key, &ramp);
            assert_eq!(got, want.map(|step| state(step, 7)), "{at} {edited:?}");
            // And where it is now can be written down.
            let next = RampState { step: got.map_or(0, |it| it.step + 1), since: 8 };
            assert!(record_ramp(Some(&text), &key, &ramp, next).is_some());
        }
        // As they were written before shares stood there.
        let old = vs("2; 5; mirror/a/b/c/|v2|d; e");
        assert_eq!(ramp_state(&old, &key, &before), Some(state(2, 5)));
    }
}
