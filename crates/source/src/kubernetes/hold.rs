//! What watches say after an outage, told together. No IO, no clock: time is what the caller says.
//!
//! After an outage each watch comes back in its own time, seconds apart. A route that is told of before the subset that
//! it uses (or a subset's end before the end of the routes that used it) would cost requests, though the person who
//! wrote both did so in the right order. So from the first watch that is back, what rules and Services say waits until
//! the others are back too, or were asked again in vain. Endpoints, Pods and places never wait: they come first anyway.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::cache::Step;
use super::health::{Health, WatchId, WatchState};
use super::listwatch::Message;

/// How long a rule waits at most: a little longer than a connection attempt and the longest pause after it.
const LONGEST: Duration = Duration::from_secs(8);
/// A watch that goes on where it was tells what it has missed right after it is back.
const LINGER: Duration = Duration::from_millis(500);

/// Steps that wait.
#[derive(Debug, Default)]
pub(super) struct Hold {
    now: Option<Held>,
}

#[derive(Debug)]
struct Held {
    since: Instant,
    until: Instant,
    /// The watches that came back since then.
    back: BTreeSet<WatchId>,
    /// Those that were away too, and have not been heard of since.
    away: BTreeSet<WatchId>,
    steps: Vec<Step>,
}

impl Hold {
    /// Takes in what a watch tells; `before` is how the watches were until now. Gives the steps that do not wait.
    pub(super) fn take(&mut self, message: Message, before: &Health, now: Instant) -> Vec<Step> {
        let Message { id, steps, health, asked } = message;
        let was = |state: WatchState| matches!(state, WatchState::Degraded | WatchState::Absent);
        let in_step = health.state == WatchState::Synced;
        let back = before.get(&id).is_some_and(|before| was(before.state)) && (in_step || !steps.is_empty());
        if self.now.is_none() && back {
            let others = before.iter().filter(|(other, health)| **other != id && was(health.state));
            let away: BTreeSet<WatchId> = others.map(|(id, _)| id.clone()).collect();
            if !away.is_empty() {
                let (back, steps) = (BTreeSet::new(), Vec::new());
                self.now = Some(Held { since: now, until: now + LONGEST, back, away, steps });
            }
        }
        let Some(held) = &mut self.now else { return steps };
        if back {
            held.back.insert(id.clone());
        }
        let in_vain = steps.is_empty() && asked.is_some_and(|asked| asked >= held.since);
        if (in_step || in_vain) && held.away.remove(&id) && held.away.is_empty() {
            held.until = held.until.min(now + LINGER);
        }
        if !held.back.contains(&id) || !id.kind.facts().reported {
            return steps;
        }
        held.steps.extend(steps);
        Vec::new()
    }

    /// When to [`release`](Hold::release) what waits; `None`: nothing does.
    pub(super) fn until(&self) -> Option<Instant> {
        self.now.as_ref().map(|held| held.until)
    }

    /// Gives what has waited, in order.
    pub(super) fn release(&mut self) -> Vec<Step> {
        self.now.take().map(|held| held.steps).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use umbra_ir::{Kind, ObjectId};

    use super::super::health::WatchHealth;
    use super::*;

    fn kind(letter: &str) -> Kind {
        match letter {
            "V" => Kind::VirtualService,
            "D" => Kind::DestinationRule,
            "G" => Kind::Gateway,
            "E" => Kind::EndpointSlice,
            other => panic!("{other:?}"),
        }
    }

    fn state(word: &str) -> WatchState {
        *WatchState::ALL.iter().find(|state| state.as_str() == word).unwrap()
    }

    /// All four watches begin in `start`. A script has `MS WATCH STATE [NAME] [asked MS]` (it tells of its state, and of
    /// an object; the attempt began then, else long ago) and says what came through in order, as
    /// `NAME@MS`.
    fn play(start: &str, script: &str) -> String {
        let begin = Instant::now();
        let at = |ms: u64| begin + Duration::from_millis(ms);
        let mut health = Health::new();
        for letter in ["V", "D", "G", "E"] {
            let id = WatchId { kind: kind(letter), namespace: None };
            health.insert(id, WatchHealth { state: state(start), ..WatchHealth::default() });
        }
        let (mut hold, mut through) = (Hold::default(), Vec::new());
        let mut note = |steps: Vec<Step>, ms: u128| {
            through.extend(steps.iter().map(|step| format!("{}@{ms}", step.id.name)));
        };
        for line in script.split(" | ") {
            let words: Vec<&str> = line.split(' ').collect();
            let ms: u64 = words[0].parse().unwrap();
            if let Some(until) = hold.until().filter(|until| *until <= at(ms)) {
                note(hold.release(), (until - begin).as_millis());
            }
            let id = WatchId { kind: kind(words[1]), namespace: None };
            let (name, asked) = match words[3..] {
                [] => (None, 0),
                [name] => (Some(name), 0),
                ["asked", asked] => (None, asked.parse().unwrap()),
                ref other => panic!("{other:?}"),
            };
            let step = |name: &str| Step {
                id: ObjectId::new(id.kind, "shop", name),
                change: None,
                diagnostics: Vec::new(),
                seen: None,
            };
            let now = WatchHealth { state: state(words[2]), ..WatchHealth::default() };
            let steps = name.map(step).into_iter().collect();
            let message = Message { id: id.clone(), steps, health: now.clone(), asked: Some(at(asked)) };
            note(hold.take(message, &health, at(ms)), ms.into());
            health.insert(id, now);
        }
        if let Some(until) = hold.until() {
            note(hold.release(), (until - begin).as_millis());
        }
        through.join(" ")
    }

    #[test]
    fn scripts() {
        for (what, start, script, want) in [
            ("in step, nothing waits", "synced", "1 V synced a | 2 D synced b", "a@1 b@2"),
            (
                "at the start nothing waits",
                "starting",
                "1 V starting a | 2 V synced | 3 D synced b",
                "a@1 b@3",
            ),
            (
                "a watch that comes back alone waits for nobody",
                "synced",
                "1 V degraded | 9 V synced | 9 V synced a",
                "a@9",
            ),
            (
                "a rule waits until the other watches are back and have told what they missed",
                "degraded",
                "0 V synced | 1 V synced a | 2 G synced | 3 E synced | 900 D synced | 950 D synced b",
                "a@1400 b@1400",
            ),
            (
                "endpoints come first",
                "degraded",
                "0 V synced a | 1 E synced e | 2 D synced | 3 G synced",
                "e@1 a@503",
            ),
            (
                "the objects of a list, before the watch is in step again",
                "absent",
                "0 V absent a | 5 V synced | 7 D absent b | 9 D synced | 9 E synced | 9 G synced",
                "a@509 b@509",
            ),
            (
                "whoever was asked since and is not back is not waited for; an older answer says nothing",
                "degraded",
                "10 V synced a | 11 D synced | 12 E synced | 13 G degraded asked 9 | 900 G degraded asked 880",
                "a@1400",
            ),
            (
                "nobody is waited for without end",
                "degraded",
                "10 V synced a | 9000 V synced b",
                "a@8010 b@9000",
            ),
            (
                "a watch that was in step all the time goes on",
                "degraded",
                "0 D synced | 9000 G synced | 17500 V degraded | 17501 D synced b",
                "b@17501",
            ),
        ] {
            assert_eq!(play(start, script), want, "{what}");
        }
    }
}
