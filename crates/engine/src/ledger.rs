//! What the objects of each namespace come to together, and which of them are more than one namespace may have: they are as if
//! they were not there. The older an object, the earlier its turn, so that what is added last is what is left out, and the
//! same objects leave out the same, in whatever order they came.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use umbra_api::{Change, Object, RulesWeight, weight};
use umbra_ir::budget::NAMESPACE;
use umbra_ir::{Code, Diagnostic, Kind, ObjectId};

/// When an object was created, in seconds (0: nobody knows), and which.
type Turn = (i64, ObjectId);

/// See the module.
#[derive(Debug)]
pub(crate) struct Ledger {
    budget: usize,
    namespaces: BTreeMap<Arc<str>, Account>,
    delegation: Delegation,
}

#[derive(Debug, Default)]
struct Account {
    /// What each comes to, in their turn.
    weights: BTreeMap<Turn, usize>,
    turns: BTreeMap<ObjectId, Turn>,
    total: usize,
    /// Those that are left out.
    out: BTreeMap<ObjectId, Arc<Object>>,
}

/// What a change comes to.
#[derive(Debug, Default)]
pub(crate) struct Effect {
    /// Objects that count now, or otherwise.
    pub(crate) now_in: Vec<Arc<Object>>,
    /// Objects that count no longer.
    pub(crate) now_out: Vec<ObjectId>,
    /// What was said of those that were left out before, and what is said now.
    pub(crate) said: (Vec<Diagnostic>, Vec<Diagnostic>),
}

impl Default for Ledger {
    fn default() -> Self {
        Ledger { budget: NAMESPACE, namespaces: BTreeMap::new(), delegation: Delegation::default() }
    }
}

impl Ledger {
    /// With another budget.
    #[cfg(test)]
    pub(crate) fn of(budget: usize) -> Self {
        Ledger { budget, ..Ledger::default() }
    }

    /// Takes a change in; `counts` gives an object that counted until now.
    pub(crate) fn take(
        &mut self,
        change: Change,
        counts: impl Fn(&ObjectId) -> Option<Arc<Object>>,
    ) -> Effect {
        let (id, new) = match change {
            Change::Upsert(object) => (object.id(), Some(object)),
            Change::Delete(id) => (id, None),
        };
        let others = self.delegation.follow(&id, new.as_deref());
        let weight =
            new.as_deref().map_or(0, |object| self.delegation.weight(&id).unwrap_or_else(|| weight(object)));
        let account = self.namespaces.entry(id.namespace.clone()).or_default();
        account.weigh(
            &id,
            new.as_deref().filter(|_| weight > 0).map(|it| (it.meta().created_seconds(), weight)),
        );
        // Those whose rules are partly its own come to something else now.
        let mut elsewhere: BTreeMap<Arc<str>, ObjectId> = BTreeMap::new();
        for root in others {
            let (Some(account), Some(weight)) =
                (self.namespaces.get_mut(&root.namespace), self.delegation.weight(&root))
            else {
                continue;
            };
            account.weigh_again(&root, weight);
            elsewhere.insert(root.namespace.clone(), root);
        }
        elsewhere.remove(&id.namespace);
        let mut effect = Effect::default();
        if let Some(account) = self.namespaces.get_mut(&id.namespace) {
            if account.fits(self.budget) {
                match new {
                    Some(object) => effect.now_in.push(object),
                    None => effect.now_out.push(id.clone()),
                }
            } else {
                account.judge(self.budget, (&id, new), &counts, &mut effect);
            }
            if account.turns.is_empty() {
                self.namespaces.remove(&id.namespace);
            }
        }
        for (namespace, root) in elsewhere {
            if let Some(account) = self.namespaces.get_mut(&namespace).filter(|it| !it.fits(self.budget)) {
                account.judge(self.budget, (&root, None), &counts, &mut effect);
            }
        }
        effect
    }
}

impl Account {
    /// Whether all of it counts, as before.
    fn fits(&self, budget: usize) -> bool {
        self.total <= budget && self.out.is_empty()
    }

    /// The same object, of another weight.
    fn weigh_again(&mut self, id: &ObjectId, weight: usize) {
        if let Some((created, _)) = self.turns.get(id) {
            self.weigh(id, Some((*created, weight)));
        }
    }

    fn weigh(&mut self, id: &ObjectId, now: Option<(i64, usize)>) {
        if let Some(turn) = self.turns.remove(id) {
            self.total -= self.weights.remove(&turn).unwrap_or_default();
        }
        if let Some((created, weight)) = now {
            let turn = (created, id.clone());
            self.turns.insert(id.clone(), turn.clone());
            self.weights.insert(turn, weight);
            self.total += weight;
        }
    }

    /// Finds out who is left out now, after `changed` became another one or went.
    fn judge(
        &mut self,
        budget: usize,
        (id, mut new): (&ObjectId, Option<Arc<Object>>),
        counts: impl Fn(&ObjectId) -> Option<Arc<Object>>,
        effect: &mut Effect,
    ) {
        let before = std::mem::take(&mut self.out);
        let text =
            |all: &BTreeMap<ObjectId, Arc<Object>>| all.keys().map(|id| said(id, budget)).collect::<Vec<_>>();
        let mut left = budget;
        for ((_, one), weight) in &self.weights {
            let fits = *weight <= left;
            left -= if fits { *weight } else { 0 };
            let was_out = before.get(one);
            let object = if one == id { new.take() } else { None };
            match (fits, object) {
                (true, Some(object)) => effect.now_in.push(object),
                (true, None) => effect.now_in.extend(was_out.cloned()),
                (false, object) => {
                    if was_out.is_none() {
                        effect.now_out.push(one.clone());
                    }
                    let object = object.or_else(|| was_out.cloned()).or_else(|| counts(one));
                    self.out.extend(object.map(|object| (one.clone(), object)));
                }
            }
        }
        // What weighs nothing counts always.
        match new {
            Some(object) => effect.now_in.push(object),
            None if !self.turns.contains_key(id) && !before.contains_key(id) => {
                effect.now_out.push(id.clone())
            }
            None => {}
        }
        effect.said.0.extend(text(&before));
        effect.said.1.extend(text(&self.out));
    }
}

/// What VirtualServices come to that take rules from others: a small one may be as much as the largest that it names.
#[derive(Debug, Default)]
struct Delegation {
    roots: BTreeMap<ObjectId, Root>,
    /// Those that name it, by the VirtualService that gives its rules.
    takers: BTreeMap<ObjectId, BTreeSet<ObjectId>>,
    /// How much the rules of those are that only give them.
    given: BTreeMap<ObjectId, usize>,
}

#[derive(Debug)]
struct Root {
    own: RulesWeight,
    /// Whom its rules delegate to, and how many do.
    delegates: BTreeMap<ObjectId, usize>,
}

impl Delegation {
    /// Takes a change in; who comes to something else by it.
    fn follow(&mut self, id: &ObjectId, new: Option<&Object>) -> Vec<ObjectId> {
        if id.kind != Kind::VirtualService {
            return Vec::new();
        }
        let vs = match new {
            Some(Object::VirtualService(vs)) => Some(vs),
            _ => None,
        };
        if let Some(root) = self.roots.remove(id) {
            for delegate in root.delegates.keys() {
                if let Some(takers) = self.takers.get_mut(delegate) {
                    takers.remove(id);
                    if takers.is_empty() {
                        self.takers.remove(delegate);
                    }
                }
            }
        }
        let given = vs.filter(|vs| vs.spec.hosts.is_empty()).map(|vs| RulesWeight::of(vs).rules());
        let before = match given {
            Some(size) => self.given.insert(id.clone(), size),
            None => self.given.remove(id),
        };
        if let Some(vs) = vs.filter(|vs| !vs.spec.hosts.is_empty()) {
            let mut delegates: BTreeMap<ObjectId, usize> = BTreeMap::new();
            umbra_istio::list_delegates(vs).for_each(|it| *delegates.entry(it).or_default() += 1);
            for delegate in delegates.keys() {
                self.takers.entry(delegate.clone()).or_default().insert(id.clone());
            }
            if !delegates.is_empty() {
                self.roots.insert(id.clone(), Root { own: RulesWeight::of(vs), delegates });
            }
        }
        let takers = self.takers.get(id).filter(|_| before != given);
        takers.into_iter().flatten().cloned().collect()
    }

    /// What one comes to; `None`: it takes no rules.
    fn weight(&self, id: &ObjectId) -> Option<usize> {
        let root = self.roots.get(id)?;
        let each = root.delegates.iter().map(|(delegate, rules)| {
            self.given.get(delegate).copied().unwrap_or_default().saturating_mul(*rules)
        });
        Some(root.own.with(each.fold(0, usize::saturating_add)))
    }
}

fn said(id: &ObjectId, budget: usize) -> Diagnostic {
    let message = format!(
        "the objects of namespace {} come to more than the {} MB that one namespace may: of those created last this one is left out, as if it were not there",
        id.namespace,
        budget / 1_000_000
    );
    Diagnostic::new(Code::OverBudget, id, "", message)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use umbra_ir::Kind;

    use super::*;

    /// A ServiceEntry `NAME[@NAMESPACE]:CREATED:PORTS`, of some 4 KiB a port; a Service `NAME:CREATED`.
    fn object(words: &str) -> Arc<Object> {
        let parts: Vec<&str> = words.split(':').collect();
        let (name, namespace) = parts[0].split_once('@').unwrap_or((parts[0], "shop"));
        let (kind, spec) = match parts.get(2) {
            None => ("v1\nkind: Service".to_owned(), "ports: [{port: 80}]".to_owned()),
            Some(ports) => {
                let ports: Vec<_> = (1..=ports.parse().unwrap())
                    .map(|n: u32| format!("{{number: {n}, name: p{n}}}"))
                    .collect();
                let spec = format!("hosts: [{name}.com], ports: [{}]", ports.join(", "));
                ("networking.istio.io/v1\nkind: ServiceEntry".to_owned(), spec)
            }
        };
        let created = parts[1];
        let text = format!(
            "apiVersion: {kind}\nmetadata: {{name: {name}, namespace: {namespace}, creationTimestamp: '2026-01-01T00:00:{created}Z'}}\nspec: {{{spec}}}\n"
        );
        umbra_api::parse_documents(&text, "t.yaml").objects.remove(0).value.into()
    }

    /// Plays `+OBJECT` and `-NAME` of entries, and `-!NAME` of Services; who counts then, and of whom it is said that they do not.
    fn play(steps: &str) -> (String, String) {
        let mut ledger = Ledger::of(100 << 10);
        let mut there: BTreeMap<ObjectId, Arc<Object>> = BTreeMap::new();
        let mut said: BTreeSet<Diagnostic> = BTreeSet::new();
        for step in steps.split_whitespace() {
            let change = match step.strip_prefix('-') {
                None => Change::Upsert(object(step.strip_prefix('+').unwrap())),
                Some(name) => {
                    let kind = if name.starts_with('!') { Kind::Service } else { Kind::ServiceEntry };
                    Change::Delete(ObjectId::new(kind, "shop", name.trim_start_matches('!')))
                }
            };
            let Effect { now_in, now_out, said: (before, after) } =
                ledger.take(change, |id| there.get(id).cloned());
            for id in now_out {
                there.remove(&id);
            }
            for object in now_in {
                there.insert(object.id(), object);
            }
            for note in &before {
                said.remove(note);
            }
            said.extend(after);
        }
        let names: Vec<_> = there.keys().map(|id| &*id.name).collect();
        let out: Vec<_> = said.iter().filter_map(|note| note.object.as_ref()).map(|id| &*id.name).collect();
        (names.join(" "), out.join(" "))
    }

    #[test]
    fn what_was_added_last_is_left_out() {
        for (about, steps, counts, out) in [
            ("room for all", "+a:01:10 +b:02:10", "a b", ""),
            ("the youngest", "+a:01:10 +b:02:10 +c:03:10", "a b", "c"),
            ("in whatever order they come", "+c:03:10 +b:02:10 +a:01:10", "a b", "c"),
            ("a small one behind it fits", "+a:01:10 +b:02:20 +c:03:1", "a c", "b"),
            ("an old one that grows", "+a:01:5 +b:02:10 +c:03:5 +a:01:10", "a b", "c"),
            ("one that goes makes room", "+a:01:10 +b:02:10 +c:03:10 -a", "b c", ""),
            ("one that is left out goes", "+a:01:10 +b:02:10 +c:03:10 -c", "a b", ""),
            ("one that is left out shrinks", "+a:01:10 +b:02:10 +c:03:10 +c:03:1", "a b c", ""),
            ("other namespaces have their own", "+a:01:20 +b:02:20 +c@bank:03:20", "c a", "b"),
            ("what machines write counts nothing", "+a:01:20 +b:02:20 +s:03", "a s", "b"),
            ("and goes", "+a:01:20 +b:02:20 +s:03 -!s", "a", "b"),
        ] {
            assert_eq!(play(steps), (counts.to_owned(), out.to_owned()), "{about}");
        }
    }

    /// A VirtualService `NAME:CREATED` of a namespace, with hosts and so many rules that delegate to `bank/below`; or `below` itself,
    /// with so many rules.
    fn rules(words: &str) -> Arc<Object> {
        let parts: Vec<&str> = words.split(':').collect();
        let [name, created, count] = parts[..] else { panic!("{words}") };
        let http = |one: &str| vec![one; count.parse().unwrap()].join(", ");
        let (namespace, spec) = match name {
            "below" => ("bank", format!("http: [{}]", http("{route: [{destination: {host: a}}]}"))),
            _ => (
                "shop",
                format!(
                    "hosts: [{name}.com], http: [{}]",
                    http("{delegate: {name: below, namespace: bank}}")
                ),
            ),
        };
        let text = format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}, namespace: {namespace}, creationTimestamp: '2026-01-01T00:00:{created}Z'}}\nspec: {{{spec}}}\n"
        );
        umbra_api::parse_documents(&text, "t.yaml").objects.remove(0).value.into()
    }

    #[test]
    fn a_small_one_is_as_much_as_it_takes_from_others() {
        for (about, steps, want) in [
            ("nothing to take", "a:01:1 b:02:1 c:03:1", "a b c"),
            ("little", "below:01:1 a:01:1 b:02:1 c:03:1", "a b below c"),
            ("much", "below:01:60 a:01:1 b:02:1 c:03:1", "a b below"),
            ("in whatever order they come", "c:03:1 b:02:1 a:01:1 below:01:60", "a b below"),
            ("twice", "below:01:60 a:01:2 b:02:1 c:03:1", "a below"),
            ("less than before", "below:01:60 a:01:1 b:02:1 c:03:1 below:01:1", "a b below c"),
            ("gone", "below:01:60 a:01:1 b:02:1 c:03:1 -below", "a b c"),
            ("one that takes it no longer", "below:01:60 a:01:1 b:02:1 c:03:1 a:01:0", "a b below c"),
        ] {
            // Each taker has it twice: as its rules, and on its host.
            let Object::VirtualService(below) = &*rules("below:01:60") else { panic!("rules") };
            let mut ledger = Ledger::of(5 * RulesWeight::of(below).rules());
            let mut there: BTreeMap<ObjectId, Arc<Object>> = BTreeMap::new();
            for step in steps.split_whitespace() {
                let change = match step {
                    "-below" => Change::Delete(ObjectId::new(Kind::VirtualService, "bank", "below")),
                    words => Change::Upsert(rules(words)),
                };
                let Effect { now_in, now_out, .. } = ledger.take(change, |id| there.get(id).cloned());
                for id in now_out {
                    there.remove(&id);
                }
                there.extend(now_in.into_iter().map(|object| (object.id(), object)));
            }
            let mut names: Vec<_> = there.keys().map(|id| &*id.name).collect();
            names.sort_unstable();
            assert_eq!(names.join(" "), want, "{about}");
        }
    }
}
