//! Which status is written next. No IO, no clock: time is what the caller says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use umbra_ir::ObjectId;

use super::text::Difference;
use super::{AllObserved, Observed, Status, Statuses};

/// Changes of this long are written as one: a rule that is applied together with its subsets settles meanwhile.
const COALESCE: Duration = Duration::from_millis(300);
/// How often the same object is written at most.
const GAP: Duration = Duration::from_secs(1);
/// The same, when only words change, such as the number of proxies.
const WORDS_GAP: Duration = Duration::from_secs(5);
/// The longest pause before an object that cannot be written, or that another writer changes back, is tried again.
const LONGEST: Duration = Duration::from_secs(60);

/// What waits to be written, and what was.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: BTreeMap<ObjectId, Waiting>,
    past: BTreeMap<ObjectId, Past>,
}

#[derive(Debug)]
struct Waiting {
    since: Instant,
    turn: bool,
}

/// The last attempt.
#[derive(Debug)]
struct Past {
    status: Status,
    on: Arc<Observed>,
    at: Instant,
    /// It arrived: nothing is to be done until the object changes or should say something else, whatever the API
    /// server made of it.
    done: bool,
    /// How often the same was written in a row.
    repeats: u32,
}

impl Queue {
    /// Compares everything.
    pub(super) fn look(&mut self, wanted: &Statuses, observed: &AllObserved, now: Instant) {
        self.past.retain(|id, _| observed.contains_key(id));
        let mut waiting = BTreeMap::new();
        for (id, status) in wanted {
            let Some(is) = observed.get(id) else { continue };
            let difference = status.differs_from(is);
            let past = self.past.get(id);
            let done = past.is_some_and(|past| past.done && past.status == *status && past.on == *is);
            if done || difference == Difference::None {
                continue;
            }
            let since = self.waiting.get(id).map_or(now, |waiting| waiting.since);
            waiting.insert(id.clone(), Waiting { since, turn: difference == Difference::Turn });
        }
        self.waiting = waiting;
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// What to write, and when: conditions that turned before words, who waits longest first.
    pub(super) fn next(&self, now: Instant) -> Option<(ObjectId, Instant)> {
        let all = self.waiting.iter().map(|(id, waiting)| (id, waiting, self.due(id, waiting)));
        let order = |(_, waiting, due): &(&ObjectId, &Waiting, Instant)| {
            let later = if *due > now { Some(*due) } else { None };
            (later, !waiting.turn, waiting.since)
        };
        all.min_by_key(order).map(|(id, _, due)| (id.clone(), due))
    }

    fn due(&self, id: &ObjectId, waiting: &Waiting) -> Instant {
        let settled = waiting.since + COALESCE;
        let Some(past) = self.past.get(id) else { return settled };
        let gap = if waiting.turn { GAP } else { WORDS_GAP };
        let gap = gap.saturating_mul(1 << past.repeats.min(6)).min(LONGEST);
        settled.max(past.at + gap)
    }

    /// Notes an attempt to write `status` on top of `on`.
    pub(super) fn tried(
        &mut self,
        id: &ObjectId,
        status: &Status,
        on: &Arc<Observed>,
        done: bool,
        now: Instant,
    ) {
        if done {
            self.waiting.remove(id);
        }
        let again = self.past.get(id).filter(|past| past.status == *status);
        let repeats = again.map_or(0, |past| past.repeats.saturating_add(1));
        let past = Past { status: status.clone(), on: on.clone(), at: now, done, repeats };
        self.past.insert(id.clone(), past);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use umbra_ir::Code;

    use super::*;
    use crate::kubernetes::status::{Condition, ConditionType, Reason};

    fn id(name: &str) -> ObjectId {
        ObjectId::new(umbra_ir::Kind::Gateway, "shop", name)
    }

    fn status(words: &str) -> Status {
        let (reason, message) = words.split_once(' ').unwrap_or((words, ""));
        let codes = [("x", Code::HostNotFound), ("y", Code::SubsetNotFound), ("z", Code::NoEndpoints)];
        let code = codes.into_iter().find(|(word, _)| *word == reason).unwrap().1;
        let reason = Reason::code(ConditionType::Accepted, code);
        let condition = Condition { reason, message: message.to_owned() };
        Status { generation: 1, conditions: vec![condition], mirrors: String::new(), messages: Vec::new() }
    }

    /// Words at milliseconds: `NAME=REASON[ MESSAGE]` (it should say that), `write` (the next is written), `fail`
    /// (it is tried in vain), `other NAME=REASON` (somebody else writes). After each, what is next and when.
    fn check(what: &str, script: &[(u64, &str, &str)]) {
        let start = Instant::now();
        let (mut queue, mut wanted) = (Queue::default(), Statuses::new());
        let mut observed = AllObserved::new();
        let says = |status: &Status, at: &u64| {
            let body = status.body(&id("x"), &Observed::default(), "T");
            let (status, resource_version) = (body["status"].clone(), at.to_string());
            Arc::new(Observed { status, resource_version, ..Observed::default() })
        };
        for (at, words, want) in script {
            let now = start + Duration::from_millis(*at);
            match words.split_once('=') {
                Some((name, text)) => match name.strip_prefix("other ") {
                    Some(name) => drop(observed.insert(id(name), says(&status(text), at))),
                    None => {
                        wanted.insert(id(name), status(text));
                        observed.entry(id(name)).or_insert_with(|| {
                            Arc::new(Observed { status: json!({}), ..Observed::default() })
                        });
                    }
                },
                None => {
                    let (id, due) = queue.next(now).unwrap();
                    assert!(due <= now, "{what}: {words} at {at}");
                    let done = *words == "write";
                    queue.tried(&id, &wanted[&id], &observed[&id], done, now);
                    if done {
                        observed.insert(id.clone(), says(&wanted[&id], at));
                    }
                }
            }
            queue.look(&wanted, &observed, now);
            let next = queue.next(now).map(|(id, due)| format!("{} {}", id.name, (due - start).as_millis()));
            assert_eq!(next.unwrap_or_default(), *want, "{what}: after {words} at {at}");
        }
    }

    #[test]
    fn order() {
        check("a write settles", &[(0, "a=x", "a 300"), (300, "write", "")]);
        check("what changes meanwhile waits no longer", &[(0, "a=x", "a 300"), (200, "a=y", "a 300")]);
        check(
            "who waits longest is first",
            &[(0, "b=x", "b 300"), (100, "a=x", "b 300"), (400, "write", "a 400"), (440, "write", "")],
        );
        check(
            "words wait, turns don't",
            &[
                (0, "a=x 1", "a 300"),
                (300, "write", ""),
                (1_000, "a=x 2", "a 5300"),
                (1_100, "a=x 3", "a 5300"),
                (2_000, "a=y 4", "a 1300"),
                (2_000, "write", ""),
            ],
        );
        check(
            "a turn goes before words",
            &[
                (0, "a=x 1", "a 300"),
                (300, "write", ""),
                (1_000, "a=x 2", "a 5300"),
                (9_000, "b=x", "a 5300"),
                (9_300, "b=y", "b 9300"),
                (9_300, "write", "a 5300"),
            ],
        );
        check(
            "what fails is tried again, ever later, and holds up nobody",
            &[
                (0, "a=x", "a 300"),
                (300, "fail", "a 1300"),
                (1_300, "fail", "a 3300"),
                (1_400, "b=x", "b 1700"),
                (1_700, "write", "a 3300"),
                (3_300, "fail", "a 7300"),
            ],
        );
        check(
            "a writer that changes it back is met ever later",
            &[
                (0, "a=x", "a 300"),
                (300, "write", ""),
                (400, "other a=z", "a 1300"),
                (1_300, "write", ""),
                (1_400, "other a=z", "a 3300"),
                (3_300, "write", ""),
            ],
        );
    }
}
