//! How far ramps have come: an annotation that umbra writes, so that it outlives umbra and every replica has it
//! (docs/decisions/0068).

use umbra_api::VirtualService;
use umbra_ir::{RampState, RuntimeKey};

/// On a VirtualService, written by umbra: a line for each mirror with a ramp.
pub const RAMP: &str = "umbra.io/ramp";
/// Lines that are kept, the newest first.
const LINES: usize = 64;

/// What the record says of a mirror; `None`: nothing.
pub(crate) fn ramp_state(vs: &VirtualService, key: &RuntimeKey) -> Option<RampState> {
    let text = vs.meta.annotations.get(RAMP)?;
    text.lines()
        .find_map(|line| parse_line(line).filter(|(_, of)| *of == key.as_str()))
        .map(|(state, _)| state)
}

/// `STEP; SINCE; KEY`, the time in seconds since 1970: a key may hold anything.
fn parse_line(line: &str) -> Option<(RampState, &str)> {
    let mut parts = line.splitn(3, "; ");
    let (step, since) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some((RampState { step, since }, parts.next()?))
}

/// The record with this state of a mirror in it; `None`: somebody has written a later step already.
pub fn record_ramp(before: Option<&str>, key: &RuntimeKey, state: RampState) -> Option<String> {
    let before = before.unwrap_or_default();
    let known = || before.lines().filter_map(parse_line);
    if known().any(|(other, of)| of == key.as_str() && other.step >= state.step) {
        return None;
    }
    let line = |state: RampState, key: &str| format!("{}; {}; {key}", state.step, state.since);
    let others = known().filter(|(_, of)| *of != key.as_str()).map(|(state, of)| line(state, of));
    let all = std::iter::once(line(state, key.as_str())).chain(others).take(LINES);
    Some(all.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written_and_never_goes_back() {
        let (one, two) = (RuntimeKey::new("mirror/a/b/c/|v2|d; e"), RuntimeKey::new("mirror/a/b/c/|v3|d"));
        let state = |step, since| RampState { step, since };
        let text = record_ramp(None, &one, state(0, 100)).unwrap();
        let text = record_ramp(Some(&text), &two, state(2, 200)).unwrap();
        let text = record_ramp(Some(&text), &one, state(1, 300)).unwrap();
        assert_eq!(text, "1; 300; mirror/a/b/c/|v2|d; e\n2; 200; mirror/a/b/c/|v3|d");
        assert_eq!(record_ramp(Some(&text), &one, state(1, 400)), None);
        let vs = format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: web, annotations: {{umbra.io/ramp: {text:?}}}}}\nspec: {{hosts: [web]}}\n"
        );
        let parsed = umbra_api::parse_documents(&vs, "a.yaml").objects.remove(0).value;
        let umbra_api::Object::VirtualService(vs) = parsed else { panic!("{vs}") };
        assert_eq!(ramp_state(&vs, &one), Some(state(1, 300)));
        assert_eq!(ramp_state(&vs, &two), Some(state(2, 200)));
        assert_eq!(ramp_state(&vs, &RuntimeKey::new("other")), None);
    }
}
