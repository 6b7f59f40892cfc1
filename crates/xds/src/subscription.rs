//! Which names of one type a stream watches (xDS protocol, "How the client specifies what resources to return").

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::names::Names;

/// More names of one type than this on one stream are refused: no mesh needs them, and each costs memory.
pub const MAX_NAMES: usize = 100_000;

/// The names of one type on one stream may not be longer than this together.
pub const MAX_NAME_BYTES: usize = 16 << 20;

/// The name that stands for everything (xDS protocol, "Wildcard subscriptions").
const WILDCARD: &str = "*";

/// A subscription would exceed [`MAX_NAMES`] or [`MAX_NAME_BYTES`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

/// What a stream watches of one type.
#[derive(Debug, Default)]
pub(crate) struct Subscription {
    /// The stream has sent a request of this type.
    asked: bool,
    wildcard: bool,
    /// State-of-the-world: a name has been asked for, so that an empty list no longer means everything.
    explicit: bool,
    names: Names,
}

/// What a request changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Delta {
    /// Names asked for, each to be answered, known or not. In delta also those that were asked for before.
    pub asked: BTreeSet<Arc<str>>,
    /// Of these, the ones that the stream did not watch until now.
    pub fresh: BTreeSet<Arc<str>>,
    /// Everything is watched from now on.
    pub wildcard_on: bool,
    /// Names no longer asked for.
    pub dropped: BTreeSet<Arc<str>>,
    /// Everything is no longer watched.
    pub wildcard_off: bool,
}

impl Subscription {
    /// Has the stream asked for this type?
    pub(crate) fn asked(&self) -> bool {
        self.asked
    }

    pub(crate) fn wildcard(&self) -> bool {
        self.wildcard
    }

    /// The names that were asked for one by one.
    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    /// Has the names in common with these, if they are the same.
    pub(crate) fn share(&mut self, names: &Names) {
        if self.names.is_same(names) {
            self.names = names.in_common();
        }
    }

    pub(crate) fn watches(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }

    /// A state-of-the-world request: the list is all that the stream wants. An empty list means everything as
    /// long as no name was ever given, for the types where `empty_is_all`; for the others it means nothing.
    /// `known` are the names that there are.
    pub(crate) fn set(
        &mut self,
        list: &[String],
        empty_is_all: bool,
        known: &Names,
    ) -> Result<Delta, TooMany> {
        self.explicit |= !list.is_empty();
        let same = self.asked && !self.wildcard && !list.is_empty() && self.names.is_list(list);
        if same || self.is_all(list, known) {
            return Ok(Delta::default());
        }
        let wildcard =
            list.iter().any(|name| name == WILDCARD) || (list.is_empty() && empty_is_all && !self.explicit);
        let wanted: BTreeSet<&str> =
            list.iter().map(String::as_str).filter(|name| *name != WILDCARD).collect();
        let dropped: Vec<_> = self.names.iter().filter(|name| !wanted.contains(&***name)).cloned().collect();
        let added: Vec<_> = wanted.into_iter().filter(|name| !self.names.contains(name)).collect();
        self.apply(wildcard, &dropped, &added)
    }

    /// A state-of-the-world list that is no longer the newest: only what it leaves out counts.
    pub(crate) fn shrink(&mut self, list: &[String]) -> Delta {
        if self.names.is_list(list) {
            return Delta::default();
        }
        let wanted: BTreeSet<&str> = list.iter().map(String::as_str).collect();
        let dropped = self.names.iter().filter(|name| !wanted.contains(&***name));
        let delta = Delta { dropped: dropped.cloned().collect(), ..Delta::default() };
        for name in &delta.dropped {
            self.names.remove(name);
        }
        delta
    }

    /// A delta request: what to watch besides, and no longer. An empty first request means everything for the
    /// types where `empty_is_all`, until `*` is unsubscribed. `known` are the names that there are.
    pub(crate) fn change(
        &mut self,
        subscribe: &[String],
        unsubscribe: &[String],
        empty_is_all: bool,
        known: &Names,
    ) -> Result<Delta, TooMany> {
        let legacy = !self.asked && subscribe.is_empty() && empty_is_all;
        let on = legacy || subscribe.iter().any(|name| name == WILDCARD);
        let off = unsubscribe.iter().any(|name| name == WILDCARD);
        let wildcard = on || (self.wildcard && !off);
        let dropped: Vec<_> =
            unsubscribe.iter().filter_map(|name| self.names.get(name.as_str()).cloned()).collect();
        if !on && unsubscribe.is_empty() && self.is_all(subscribe, known) {
            return Ok(Delta::default());
        }
        let asked: Vec<_> = subscribe.iter().map(String::as_str).filter(|name| *name != WILDCARD).collect();
        self.apply(wildcard, &dropped, &asked)
    }

    /// Takes a first request for all that there is; what to do with that is seen when it is opened.
    fn is_all(&mut self, list: &[String], known: &Names) -> bool {
        let all = !self.asked && !list.is_empty() && list.len() <= MAX_NAMES && known.is_list(list);
        if all {
            (self.asked, self.names) = (true, known.in_common());
        }
        all
    }

    fn apply(&mut self, wildcard: bool, dropped: &[Arc<str>], asked: &[&str]) -> Result<Delta, TooMany> {
        let mut delta = Delta {
            wildcard_on: wildcard && !self.wildcard,
            wildcard_off: !wildcard && self.wildcard,
            ..Delta::default()
        };
        for name in dropped {
            if self.names.remove(name) {
                delta.dropped.insert(name.clone());
            }
        }
        for name in asked {
            let shared = match self.names.get(name) {
                Some(known) => known.clone(),
                None => {
                    let new: Arc<str> = (*name).into();
                    self.names.insert(new.clone());
                    if !self.wildcard && !delta.dropped.contains(*name) {
                        delta.fresh.insert(new.clone());
                    }
                    new
                }
            };
            delta.dropped.remove(*name);
            delta.asked.insert(shared);
            if self.names.len() > MAX_NAMES || self.names.bytes() > MAX_NAME_BYTES {
                return Err(TooMany);
            }
        }
        self.wildcard = wildcard;
        self.asked = true;
        Ok(delta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    fn state(subscription: &Subscription) -> String {
        let mut all: Vec<&str> = if subscription.wildcard { vec!["*"] } else { vec![] };
        all.extend(subscription.names.iter().map(|name| &**name));
        all.join(" ")
    }

    /// Each step is a request and what is watched after it.
    fn check_sotw(empty_is_all: bool, steps: &[(&[&str], &str)]) {
        let mut subscription = Subscription::default();
        for (list, expected) in steps {
            subscription.set(&strings(list), empty_is_all, &Names::default()).unwrap();
            assert_eq!(state(&subscription), *expected, "{steps:?} at {list:?}");
        }
    }

    #[test]
    fn state_of_the_world_lists() {
        check_sotw(true, &[(&[], "*"), (&[], "*"), (&["a"], "a"), (&[], ""), (&["*"], "*"), (&[], "")]);
        check_sotw(true, &[(&["a", "*"], "* a"), (&["a"], "a"), (&["b", "a", "b"], "a b")]);
        check_sotw(true, &[(&[""], "")]);
        check_sotw(false, &[(&[], ""), (&["a", "b"], "a b"), (&["b"], "b"), (&[], ""), (&["*"], "*")]);
        let mut subscription = Subscription::default();
        subscription.set(&strings(&[""]), true, &Names::default()).unwrap();
        assert!(subscription.watches("") && !subscription.watches("a"), "an empty name is no wildcard");
    }

    type DeltaStep = (&'static [&'static str], &'static [&'static str], &'static str);

    fn check_delta(empty_is_all: bool, steps: &[DeltaStep]) {
        let mut subscription = Subscription::default();
        for (subscribe, unsubscribe, expected) in steps {
            subscription
                .change(&strings(subscribe), &strings(unsubscribe), empty_is_all, &Names::default())
                .unwrap();
            assert_eq!(state(&subscription), *expected, "{steps:?} at +{subscribe:?} -{unsubscribe:?}");
        }
    }

    #[test]
    fn delta_changes() {
        check_delta(true, &[(&[], &[], "*"), (&["a"], &[], "* a"), (&[], &["*"], "a"), (&[], &["a"], "")]);
        check_delta(true, &[(&["a"], &[], "a"), (&[], &[], "a"), (&["*"], &[], "* a"), (&[], &["a"], "*")]);
        check_delta(true, &[(&[], &["x"], "*"), (&["x"], &["x"], "* x")]);
        check_delta(false, &[(&[], &[], ""), (&["a", "b"], &[], "a b"), (&["c"], &["a"], "b c")]);
    }

    #[test]
    fn what_must_be_answered() {
        let mut subscription = Subscription::default();
        let names = |set: &BTreeSet<Arc<str>>| set.iter().map(|name| name.to_string()).collect::<Vec<_>>();
        let first = subscription.change(&strings(&["a", "b"]), &[], false, &Names::default()).unwrap();
        assert_eq!((names(&first.asked), names(&first.fresh)), (strings(&["a", "b"]), strings(&["a", "b"])));
        let again = subscription
            .change(&strings(&["a"]), &strings(&["a", "b", "z"]), false, &Names::default())
            .unwrap();
        assert_eq!((names(&again.asked), names(&again.fresh)), (strings(&["a"]), vec![]));
        assert_eq!(names(&again.dropped), strings(&["b"]), "a name that was never asked for is not dropped");
        let list = subscription.set(&strings(&["a", "c"]), false, &Names::default()).unwrap();
        assert_eq!(names(&list.asked), strings(&["c"]), "in a list only new names are a question");
    }

    #[test]
    fn hostile_subscriptions_are_refused() {
        let many: Vec<String> = (0..=MAX_NAMES).map(|i| i.to_string()).collect();
        assert_eq!(Subscription::default().set(&many, false, &Names::default()), Err(TooMany));
        assert_eq!(Subscription::default().change(&many, &[], false, &Names::default()), Err(TooMany));
        assert!(Subscription::default().set(&many[1..], false, &Names::default()).is_ok());
        let long = ["x".repeat(MAX_NAME_BYTES + 1)];
        assert_eq!(Subscription::default().set(&long, false, &Names::default()), Err(TooMany));
    }
}
