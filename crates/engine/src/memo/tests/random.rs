//! Whatever happens in whatever order, what was kept up to date is what would come out from scratch.

use crate::memo::{Domain, Memo, Reader, Sizes};
use proptest::collection::vec;
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

const STAGES: u8 = 6;
const WIDTH: u8 = 4;
const TAGS: u8 = 5;

/// Every key follows a script, and the scripts are objects: what is read changes as freely as what it says.
struct Net;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Object(u8),
    List(u8),
    Ids(u8),
    Derived(Key),
}

#[derive(Clone, Debug, PartialEq)]
struct Obj {
    content: u32,
    tags: Vec<u8>,
    script: Vec<Step>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    // The order of keys is not the order of stages.
    n: u8,
    stage: u8,
}

thread_local! {
    static DERIVED: RefCell<Vec<Key>> = const { RefCell::new(Vec::new()) };
}

impl Domain for Net {
    type Shelf = ();
    type Id = u8;
    type Obj = Obj;
    type Ix = u8;
    type Key = Key;
    /// Few values, so that derivations often come to an equal one.
    type Val = u32;
    type Note = (Key, u32);

    fn index(_: &u8, obj: &Obj) -> Vec<u8> {
        obj.tags.clone()
    }

    fn stage(key: &Key) -> u8 {
        key.stage
    }

    fn derive(key: &Key, reader: &Reader<'_, Self>) -> (u32, Vec<(Key, u32)>) {
        DERIVED.with_borrow_mut(|keys| keys.push(*key));
        let Some(me) = reader.get(&(key.stage * WIDTH + key.n)) else { return (0, vec![(*key, 99)]) };
        let mut sum = me.content;
        let mut notes = vec![];
        let mut steps = me.script.iter();
        while let Some(step) = steps.next() {
            let found = match step {
                Step::Object(id) => reader.get(id).map_or(7, |obj| obj.content),
                Step::List(tag) => {
                    reader.list(tag).iter().fold(1, |sum, (id, obj)| sum * 3 + u32::from(*id) + obj.content)
                }
                Step::Ids(tag) => reader.ids(tag).iter().fold(1, |sum, id| sum * 5 + u32::from(*id)),
                Step::Derived(other) if other.stage < key.stage => *reader.derived(other),
                Step::Derived(_) => 0,
            };
            sum = sum.wrapping_mul(3).wrapping_add(found) % 1000;
            if sum.is_multiple_of(3) {
                notes.push((Key { n: 0, ..*key }, sum % 4));
            }
            if sum.is_multiple_of(4) {
                steps.next(); // what is read depends on what was read
            }
        }
        (sum % 3, notes)
    }
}

#[derive(Clone, Debug)]
enum Op {
    Apply(u8, Option<Obj>),
    Demand(Key),
    Release(Key),
    Settle,
}

fn key() -> impl Strategy<Value = Key> {
    (0..WIDTH, 0..STAGES).prop_map(|(n, stage)| Key { n, stage })
}

fn object() -> impl Strategy<Value = Obj> {
    let step = prop_oneof![
        1 => (0..STAGES * WIDTH).prop_map(Step::Object),
        1 => (0..TAGS).prop_map(Step::List),
        1 => (0..TAGS).prop_map(Step::Ids),
        4 => key().prop_map(Step::Derived),
    ];
    (0u32..4, vec(0..TAGS, 0..3), vec(step, 0..5)).prop_map(|(content, tags, script)| Obj {
        content,
        tags,
        script,
    })
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0..STAGES * WIDTH, proptest::option::weighted(0.85, object())).prop_map(|(id, o)| Op::Apply(id, o)),
        2 => key().prop_map(Op::Demand),
        2 => key().prop_map(Op::Release),
        3 => Just(Op::Settle),
    ]
}

/// What somebody knows who only follows the accounts of the settlings.
#[derive(Default)]
struct Follower {
    values: BTreeMap<Key, u32>,
    notes: BTreeMap<Key, Vec<(Key, u32)>>,
}

impl Follower {
    fn settle(&mut self, memo: &mut Memo<Net>) {
        DERIVED.take();
        let settled = memo.settle();
        let mut derived = DERIVED.take();
        assert_eq!(settled.recomputed, derived.len() as u64);
        derived.sort();
        assert!(derived.windows(2).all(|pair| pair[0] != pair[1]), "derived twice: {derived:?}");

        assert!(settled.changed.is_sorted_by(|a, b| a.0 < b.0));
        for (key, val) in settled.changed {
            let before = match &val {
                Some(val) => self.values.insert(key, **val),
                None => self.values.remove(&key),
            };
            assert_ne!(before, val.map(|val| *val), "{key:?} did not change");
        }
        assert!(settled.notes.is_sorted_by(|a, b| a.key < b.key));
        for change in settled.notes {
            assert_ne!(change.before, change.after, "notes of {:?} did not change", change.key);
            let before = match change.after.is_empty() {
                true => self.notes.remove(&change.key),
                false => self.notes.insert(change.key, change.after.to_vec()),
            };
            assert_eq!(before.unwrap_or_default(), *change.before);
        }
    }
}

fn values(memo: &Memo<Net>) -> BTreeMap<Key, u32> {
    memo.values().map(|(key, val)| (*key, **val)).collect()
}

fn notes(memo: &Memo<Net>) -> BTreeMap<Key, Vec<(Key, u32)>> {
    let mut notes = BTreeMap::<Key, Vec<_>>::new();
    memo.notes().for_each(|(key, note)| notes.entry(*key).or_default().push(*note));
    notes
}

/// Values, notes, which keys live, what they read: all as from scratch, and as the follower has it.
fn check(memo: &Memo<Net>, follower: &Follower) {
    let fresh = memo.rebuilt();
    assert_eq!(values(memo), values(&fresh));
    assert_eq!(notes(memo), notes(&fresh));
    assert_eq!(Sizes { slots: 0, ..memo.sizes() }, Sizes { slots: 0, ..fresh.sizes() });
    assert_eq!(follower.values, values(memo));
    assert_eq!(follower.notes, notes(memo));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn incremental_equals_rebuilt(ops in vec(op(), 1..120)) {
        let (mut memo, mut follower) = (Memo::<Net>::default(), Follower::default());
        let mut demands: BTreeMap<Key, u32> = BTreeMap::new();
        for op in ops {
            match op {
                Op::Apply(id, obj) => { memo.apply(&id, obj.map(Arc::new)); }
                Op::Demand(key) => {
                    memo.demand(&key);
                    *demands.entry(key).or_default() += 1;
                }
                Op::Release(key) => {
                    let had = demands.get_mut(&key).filter(|count| **count > 0);
                    assert_eq!(memo.release(&key), had.is_some());
                    had.into_iter().for_each(|count| *count -= 1);
                }
                Op::Settle => {
                    follower.settle(&mut memo);
                    check(&memo, &follower);
                }
            }
        }
        for (key, count) in demands {
            for _ in 0..count {
                assert!(memo.release(&key));
            }
        }
        for id in 0..STAGES * WIDTH {
            memo.apply(&id, None);
        }
        follower.settle(&mut memo);
        check(&memo, &follower);
        assert_eq!(Sizes { slots: 0, ..memo.sizes() }, Sizes::default());
    }
}
