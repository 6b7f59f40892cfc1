//! Annotations that a VirtualService is given in memory: a mirror that stops by itself is stopped before anybody has written it down,
//! and where nobody can.

use std::collections::BTreeMap;
use std::sync::Arc;

use umbra_api::{Change, Object};
use umbra_ir::ObjectId;
use umbra_istio::{ABORT, ABORTED, STOP};

/// What becomes of annotations, of which it can ask for any; `None`: there is none any longer.
pub(super) type Annotate =
    Box<dyn Fn(&dyn Fn(&str) -> Option<String>) -> BTreeMap<String, Option<String>> + Send + Sync>;

type Annotations = BTreeMap<String, String>;

/// What each object said itself about stops, and what it was given.
#[derive(Debug, Default)]
pub(super) struct Held(BTreeMap<ObjectId, Given>);

#[derive(Debug)]
struct Given {
    said: Vec<Option<String>>,
    given: BTreeMap<String, Option<String>>,
}

impl Held {
    /// The object as it is to be from now on.
    pub(super) fn hold(&mut self, id: ObjectId, object: &Object, change: &Annotate) -> Option<Arc<Object>> {
        let Object::VirtualService(vs) = object else { return None };
        let before = |key: &str| vs.meta.annotations.get(key).cloned();
        let given = change(&before);
        let new = || Given { said: said(&vs.meta.annotations), given: BTreeMap::new() };
        let all = self.0.entry(id).or_insert_with(new);
        all.given.extend(given);
        Some(with(object, &all.given))
    }

    /// What comes of an object is given the same, unless it says something else about stops itself: then somebody has seen it, or
    /// what was held is written.
    pub(super) fn follow(&mut self, change: Change) -> Change {
        let object = match change {
            Change::Upsert(object) => object,
            Change::Delete(id) => {
                self.0.remove(&id);
                return Change::Delete(id);
            }
        };
        let id = object.id();
        let Some(held) = self.0.get(&id) else { return Change::Upsert(object) };
        if said(&object.meta().annotations) != held.said {
            self.0.remove(&id);
            return Change::Upsert(object);
        }
        Change::Upsert(with(&object, &held.given))
    }
}

/// What an object says about stops.
fn said(annotations: &Annotations) -> Vec<Option<String>> {
    [STOP, ABORT, ABORTED].map(|key| annotations.get(key).cloned()).into()
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

    #[test]
    fn what_is_held_stays_until_the_object_says_something_itself() {
        let mut held = Held::default();
        let first = object("umbra.io/abort: a", "web");
        let change: Annotate = Box::new(|before| {
            let more = before(STOP).map_or("x".to_owned(), |it| it + ",x");
            BTreeMap::from([(STOP.to_owned(), Some(more))])
        });
        let now = held.hold(first.id(), &first, &change).expect("a VirtualService");
        assert_eq!(stop(&now), Some("x"));
        // A second stop comes on top of the first.
        let now = held.hold(first.id(), &now, &change).expect("a VirtualService");
        assert_eq!(stop(&now), Some("x,x"));
        let mut follow = |object: &Arc<Object>| match held.follow(Change::Upsert(object.clone())) {
            Change::Upsert(object) => stop(&object).map(str::to_owned),
            Change::Delete(_) => None,
        };
        assert_eq!(follow(&object("umbra.io/abort: a", "other")).as_deref(), Some("x,x"));
        assert_eq!(follow(&object("umbra.io/abort: b", "other")), None);
        assert_eq!(follow(&first), None, "it is forgotten");
        held.hold(first.id(), &first, &change);
        held.follow(Change::Delete(first.id()));
        assert!(held.0.is_empty());
    }
}
