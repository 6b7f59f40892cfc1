//! Annotations that a VirtualService is given in memory: a mirror that stops by itself is stopped before anybody has written it down,
//! and where nobody can.

use std::collections::BTreeMap;
use std::sync::Arc;

use umbra_api::{Change, Object};
use umbra_ir::ObjectId;
use umbra_istio::{ABORT, ABORTED, STOP, Stop};

/// What becomes of annotations, of which it can ask for any; `None`: there is none any longer.
pub(super) type Annotate =
    Box<dyn Fn(&dyn Fn(&str) -> Option<String>) -> BTreeMap<String, Option<String>> + Send + Sync>;

type Annotations = BTreeMap<String, String>;

/// What each object said itself about stops, and what it was given.
#[derive(Default)]
pub(super) struct Held(BTreeMap<ObjectId, Given>);

struct Given {
    said: Said,
    changes: Vec<Arc<Annotate>>,
    given: BTreeMap<String, Option<String>>,
}

/// What an object says about stops.
#[derive(PartialEq, Eq)]
struct Said {
    stop: Option<String>,
    abort: Option<String>,
}

impl Said {
    fn of(annotations: &Annotations) -> Self {
        Said { stop: annotations.get(STOP).cloned(), abort: annotations.get(ABORT).cloned() }
    }

    /// Whether who says `self` after `before` lets go on what was stopped: by other limits, or by taking a stop back. One more stop
    /// says nothing about the others.
    fn lets_go(&self, before: &Said) -> bool {
        let (now, then) = (Stop::parse(self.stop.as_deref()), Stop::parse(before.stop.as_deref()));
        self.abort != before.abort || !now.covers(then)
    }
}

impl Given {
    /// What the changes make of an object that says this itself.
    fn renew(&mut self, own: &Annotations) {
        self.given.clear();
        for change in &self.changes {
            let given = &self.given;
            let before = |key: &str| given.get(key).cloned().unwrap_or_else(|| own.get(key).cloned());
            let more = change(&before);
            self.given.extend(more);
        }
        self.given.retain(|key, value| own.get(key) != value.as_ref());
        // The stop is written, by another replica maybe, whose words about it are as good.
        if !self.given.contains_key(STOP) {
            self.given.remove(ABORTED);
        }
    }
}

impl Held {
    /// The object as it is to be from now on.
    pub(super) fn hold(&mut self, id: ObjectId, object: &Object, change: Annotate) -> Option<Arc<Object>> {
        let Object::VirtualService(vs) = object else { return None };
        let before = |key: &str| vs.meta.annotations.get(key).cloned();
        let given = change(&before);
        let new =
            || Given { said: Said::of(&vs.meta.annotations), changes: Vec::new(), given: BTreeMap::new() };
        let all = self.0.entry(id).or_insert_with(new);
        all.given.extend(given);
        all.changes.push(Arc::new(change));
        Some(with(object, &all.given))
    }

    /// What comes of an object is given the same, unless it lets go itself what was stopped: then somebody has seen it. What has been
    /// written meanwhile is held no longer.
    pub(super) fn follow(&mut self, change: Change) -> Change {
        let object = match change {
            Change::Upsert(object) => object,
            Change::Delete(id) => {
                self.0.remove(&id);
                return Change::Delete(id);
            }
        };
        let id = object.id();
        let Some(held) = self.0.get_mut(&id) else { return Change::Upsert(object) };
        let own = &object.meta().annotations;
        let said = Said::of(own);
        if said.lets_go(&held.said) {
            self.0.remove(&id);
            return Change::Upsert(object);
        }
        held.said = said;
        held.renew(own);
        if held.given.is_empty() {
            self.0.remove(&id);
            return Change::Upsert(object);
        }
        Change::Upsert(with(&object, &held.given))
    }
}

fn with(object: &Object, given: &BTreeMap<String, Option<String>>) -> Arc<Object> {
    let mut object = object.clone();
    if let Object::VirtualService(vs) = &mut object {
        for (key, value) in given {
            match value {
                Some(value) => vs.meta.annotations.insert(key.clone(), value.clone()),
                None => vs.meta.annotations.remove(key),
            };
        }
    }
    Arc::new(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(annotations: &str, host: &str) -> Arc<Object> {
        let text = format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: web\n  annotations: {{{annotations}}}\nspec: {{hosts: [{host}]}}\n"
        );
        Arc::new(umbra_api::parse_documents(&text, "a.yaml").objects.remove(0).value)
    }

    fn stop(object: &Object) -> Option<&str> {
        object.meta().annotations.get(STOP).map(String::as_str)
    }

    /// Stops another mirror.
    fn stopping(name: &'static str) -> Annotate {
        Box::new(move |before| {
            let more = Stop::parse(before(STOP).as_deref()).and(&[name]);
            BTreeMap::from([(STOP.to_owned(), Some(more))])
        })
    }

    #[test]
    fn what_is_held_stays_until_the_object_lets_it_go() {
        let first = object("umbra.io/abort: a", "web");
        let check = |then: &[&str], want: &[Option<&str>]| {
            let mut held = Held::default();
            let now = held.hold(first.id(), &first, stopping("x")).expect("a VirtualService");
            assert_eq!(stop(&now), Some("x"));
            // A second stop comes on top of the first.
            let now = held.hold(first.id(), &now, stopping("y")).expect("a VirtualService");
            assert_eq!(stop(&now), Some("x,y"));
            for (annotations, want) in then.iter().zip(want) {
                let Change::Upsert(now) = held.follow(Change::Upsert(object(annotations, "other"))) else {
                    panic!("{annotations}")
                };
                assert_eq!(stop(&now), *want, "{then:?}: {annotations}");
            }
            held
        };
        check(&["umbra.io/abort: a"], &[Some("x,y")]);
        check(&["umbra.io/abort: b", "umbra.io/abort: a"], &[None, None]);
        // Somebody stops another one, or all, and lets it go on.
        check(&["umbra.io/abort: a, umbra.io/stop: z", "umbra.io/abort: a"], &[Some("z,x,y"), None]);
        check(&["umbra.io/abort: a, umbra.io/stop: all"], &[Some("all")]);
        // Half of it is written, and all of it.
        let held = check(
            &[
                "umbra.io/abort: a, umbra.io/stop: x",
                "umbra.io/abort: a, umbra.io/stop: 'x,y'",
                "umbra.io/abort: a",
            ],
            &[Some("x,y"), Some("x,y"), None],
        );
        assert!(held.0.is_empty());
        let mut held = check(&[], &[]);
        held.follow(Change::Delete(first.id()));
        assert!(held.0.is_empty());
    }
}
