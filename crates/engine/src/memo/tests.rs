//! The rules one by one, on a mesh in miniature.

mod random;

use super::*;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Pods by label, and rules that send one label's traffic to another.
struct Mini;

#[derive(PartialEq)]
enum Obj {
    Pod {
        label: u8,
        address: u32,
        noise: u8,
    },
    Rule {
        to: u8,
        mirror: u8,
    },
    /// A key read by `Key::Free` of this stage.
    Link(Key),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Ix {
    Label(u8),
    Rules,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Key {
    /// Addresses of a label's pods, with a note when there are none.
    Endpoints(u8),
    /// How many pods a label has.
    Count(u8),
    /// From and to of each rule.
    Rules,
    /// The labels that rules use: how many endpoints each has.
    View,
    /// At this stage, whatever key the object of this number links to.
    Free(u8, u32),
    /// As many stages deep as it can be.
    Chain(u8),
}

thread_local! {
    /// Keys in the order in which their derivation began.
    static DERIVED: RefCell<Vec<Key>> = const { RefCell::new(Vec::new()) };
}

fn derived() -> Vec<Key> {
    DERIVED.take()
}

impl Domain for Mini {
    type Shelf = ();
    type Id = u32;
    type Obj = Obj;
    type Ix = Ix;
    type Key = Key;
    type Val = Vec<u32>;
    type Note = String;

    fn index(_: &u32, obj: &Obj) -> Vec<Ix> {
        match obj {
            Obj::Pod { label, .. } => vec![Ix::Label(*label), Ix::Label(*label)],
            Obj::Rule { .. } => vec![Ix::Rules],
            Obj::Link(_) => vec![],
        }
    }

    fn stage(key: &Key) -> u8 {
        match key {
            Key::Endpoints(_) | Key::Count(_) | Key::Rules => 1,
            Key::View => 2,
            Key::Free(stage, _) | Key::Chain(stage) => *stage,
        }
    }

    fn derive(key: &Key, reader: &Reader<'_, Self>) -> (Vec<u32>, Vec<String>) {
        DERIVED.with_borrow_mut(|keys| keys.push(key.clone()));
        match key {
            Key::Endpoints(label) => {
                let pods = reader.list(&Ix::Label(*label));
                let notes = if pods.is_empty() { vec![format!("no pod has label {label}")] } else { vec![] };
                let address = |(_, obj): (u32, Arc<Obj>)| match *obj {
                    Obj::Pod { address, .. } => Some(address),
                    _ => None,
                };
                (pods.into_iter().filter_map(address).collect(), notes)
            }
            Key::Count(label) => (vec![reader.ids(&Ix::Label(*label)).len() as u32], vec![]),
            Key::Rules => {
                let labels = |(_, obj): (u32, Arc<Obj>)| match *obj {
                    Obj::Rule { to, mirror } => vec![u32::from(to), u32::from(mirror)],
                    _ => vec![],
                };
                (reader.list(&Ix::Rules).into_iter().flat_map(labels).collect(), vec![])
            }
            Key::View => {
                let labels: BTreeSet<u32> = reader.derived(&Key::Rules).iter().copied().collect();
                let count = |label: u32| reader.derived(&Key::Endpoints(label as u8)).len() as u32;
                (labels.into_iter().flat_map(|label| [label, count(label)]).collect(), vec![])
            }
            Key::Free(_, object) => match reader.get(object).as_deref() {
                Some(Obj::Link(key)) => (reader.derived(key).to_vec(), vec![]),
                Some(Obj::Pod { address, noise, .. }) => (vec![*address], vec![format!("noise {noise}")]),
                _ => (vec![], vec![]),
            },
            Key::Chain(0) => (reader.get(&0).iter().map(|_| 1).collect(), vec![]),
            Key::Chain(stage) => (reader.derived(&Key::Chain(stage - 1)).to_vec(), vec![]),
        }
    }
}

fn pod(label: u8, address: u32) -> Option<Obj> {
    Some(Obj::Pod { label, address, noise: 0 })
}

fn rule(to: u8, mirror: u8) -> Option<Obj> {
    Some(Obj::Rule { to, mirror })
}

fn link(key: Key) -> Option<Obj> {
    Some(Obj::Link(key))
}

fn apply(memo: &mut Memo<Mini>, id: u32, obj: Option<Obj>) -> bool {
    memo.apply(&id, obj.map(Arc::new))
}

/// The keys that were derived, and the changed ones with their values.
type Account = (Vec<Key>, Vec<(Key, Option<Vec<u32>>)>);

/// Applies the changes and settles.
fn settle(memo: &mut Memo<Mini>, changes: Vec<(u32, Option<Obj>)>) -> Account {
    for (id, obj) in changes {
        apply(memo, id, obj);
    }
    derived();
    let settled = memo.settle();
    let mut keys = derived();
    assert_eq!(settled.recomputed, keys.len() as u64);
    keys.sort();
    (keys, settled.changed.into_iter().map(|(key, val)| (key, val.map(|val| val.to_vec()))).collect())
}

/// Twenty pods in labels 0 to 3, a rule from 0 to 1 and one from 1 to 2, and these demands, settled.
fn mini(demands: &[Key]) -> Memo<Mini> {
    let mut memo = Memo::default();
    for id in 0..20 {
        apply(&mut memo, id, pod((id % 4) as u8, id));
    }
    apply(&mut memo, 100, rule(0, 1));
    apply(&mut memo, 101, rule(1, 2));
    for key in demands {
        memo.demand(key);
    }
    memo.settle();
    memo
}

#[test]
fn a_change_costs_what_it_can_reach() {
    use Key::{Count, Endpoints, Rules, View};
    let noisy = Some(Obj::Pod { label: 1, address: 1, noise: 9 });
    let some = |key, val: &[u32]| (key, Some(val.to_vec()));
    let check = |what, changes, keys: &[Key], changed: &[(Key, Option<Vec<u32>>)]| {
        let mut memo = mini(&[View, Count(1), Count(2)]);
        assert_eq!(settle(&mut memo, changes), (keys.to_vec(), changed.to_vec()), "{what}");
    };
    check("an equal object", vec![(1, pod(1, 1))], &[], &[]);
    check("there and back", vec![(1, pod(1, 7)), (1, pod(1, 1))], &[Endpoints(1)], &[]);
    check("a field nobody uses", vec![(1, noisy)], &[Endpoints(1)], &[]);
    check("a label nobody reads", vec![(3, pod(3, 99)), (50, pod(77, 1))], &[], &[]);
    check(
        "an address: the view counts as many as before",
        vec![(1, pod(1, 99))],
        &[Endpoints(1), View],
        &[some(Endpoints(1), &[99, 5, 9, 13, 17])],
    );
    check(
        "a pod changes sides",
        vec![(1, pod(2, 1))],
        &[Endpoints(1), Endpoints(2), Count(1), Count(2), View],
        &[
            some(Endpoints(1), &[5, 9, 13, 17]),
            some(Endpoints(2), &[1, 2, 6, 10, 14, 18]),
            some(Count(1), &[4]),
            some(Count(2), &[6]),
            some(View, &[0, 5, 1, 4, 2, 6]),
        ],
    );
    check(
        "a rule turns elsewhere: the new label is derived, the old one dropped",
        vec![(101, rule(1, 3))],
        &[Endpoints(3), Rules, View],
        &[
            (Endpoints(2), None),
            some(Endpoints(3), &[3, 7, 11, 15, 19]),
            some(Rules, &[0, 1, 1, 3]),
            some(View, &[0, 5, 1, 5, 3, 5]),
        ],
    );
    check(
        "many changes, one derivation each",
        vec![(0, pod(0, 50)), (1, pod(1, 51)), (4, pod(0, 54)), (5, None), (9, None), (9, pod(1, 9))],
        &[Endpoints(0), Endpoints(1), Count(1), View],
        &[
            some(Endpoints(0), &[50, 54, 8, 12, 16]),
            some(Endpoints(1), &[51, 9, 13, 17]),
            some(Count(1), &[4]),
            some(View, &[0, 5, 1, 4, 2, 5]),
        ],
    );
}

#[test]
fn an_object_that_was_missed_is_noticed() {
    let mut memo = mini(&[Key::Free(1, 200)]);
    let free = Key::Free(1, 200);
    assert_eq!(settle(&mut memo, vec![(201, pod(9, 9))]), (vec![], vec![]));
    assert_eq!(
        settle(&mut memo, vec![(200, pod(9, 9))]),
        (vec![free.clone()], vec![(free.clone(), Some(vec![9]))])
    );
    assert_eq!(settle(&mut memo, vec![(200, None)]), (vec![free.clone()], vec![(free, Some(vec![]))]));
}

#[test]
fn apply_says_whether_it_changed_anything() {
    let mut memo = mini(&[]);
    for (id, obj, changed) in [(1, pod(1, 1), false), (1, pod(1, 2), true), (1, None, true), (1, None, false)]
    {
        assert_eq!(apply(&mut memo, id, obj), changed);
    }
}

/// A late key asks for a middle one that nobody asked for before, which reads an early one that exists. All inputs
/// change at once, so each of the three would be wrong if it were read before its turn.
#[test]
fn a_key_derived_on_the_spot_reads_what_is_up_to_date() {
    let (late, middle, early) = (Key::Free(5, 300), Key::Free(3, 301), Key::Free(2, 302));
    let mut memo = mini(&[late.clone(), early.clone()]);
    settle(&mut memo, vec![(302, pod(9, 1)), (301, link(early.clone()))]);
    assert_eq!(memo.value(&middle), None);
    let (keys, changed) = settle(&mut memo, vec![(300, link(middle.clone())), (302, pod(9, 2))]);
    assert_eq!(keys, [early.clone(), middle.clone(), late.clone()]);
    assert_eq!(
        changed,
        [(early, Some(vec![2])), (middle.clone(), Some(vec![2])), (late.clone(), Some(vec![2]))]
    );

    // The same in one breath with a demand, and with a middle key that is out of date itself.
    memo.demand(&Key::Free(6, 303));
    let (keys, _) = settle(&mut memo, vec![(303, link(late)), (301, link(Key::Count(0))), (302, None)]);
    assert_eq!(keys.len(), 5, "{keys:?}");
    assert_eq!(memo.value(&Key::Free(6, 303)).as_deref(), Some(&vec![5]));
}

#[test]
fn only_earlier_stages_can_be_read() {
    let check = |reader: Key, read: Key, allowed: bool| {
        let mut memo = mini(std::slice::from_ref(&reader));
        apply(&mut memo, 300, link(read.clone()));
        memo.demand(&read);
        let settled = catch_unwind(AssertUnwindSafe(|| memo.settle().recomputed));
        let message =
            settled.err().map(|payload| payload.downcast_ref::<String>().cloned().unwrap_or_default());
        assert_eq!(message.is_none(), allowed, "{reader:?} reads {read:?}: {message:?}");
        assert!(message.is_none_or(|text| text.contains("earlier stage")));
    };
    check(Key::Free(2, 300), Key::Count(1), true);
    check(Key::Free(2, 300), Key::Free(0, 300), false); // which then reads itself
    check(Key::Free(2, 300), Key::View, false);
    check(Key::Free(2, 300), Key::Free(2, 300), false);
    check(Key::Free(2, 300), Key::Free(3, 0), false);
    check(Key::Free(0, 300), Key::Count(1), false);
}

#[test]
fn every_stage_can_be_on_the_stack_at_once() {
    let mut memo = mini(&[]);
    memo.demand(&Key::Chain(255));
    assert_eq!(memo.settle().recomputed, 256);
    assert_eq!(memo.value(&Key::Chain(255)).as_deref(), Some(&vec![1]));
    let (keys, changed) = settle(&mut memo, vec![(0, None)]);
    assert_eq!((keys.len(), changed.len()), (256, 256));
    memo.release(&Key::Chain(255));
    assert_eq!(settle(&mut memo, vec![]).1.len(), 256);
}

#[test]
fn work_is_counted_by_stage() {
    let mut memo = mini(&[Key::View]);
    assert_eq!(memo.work(), &BTreeMap::from([(1, 4), (2, 1)]));
    settle(&mut memo, vec![(1, pod(1, 99))]);
    assert_eq!(memo.work(), &BTreeMap::from([(1, 5), (2, 2)]));
}

#[test]
fn a_key_lives_while_it_is_demanded_or_read() {
    let live = |memo: &Memo<Mini>| memo.values().map(|(key, _)| key.clone()).collect::<BTreeSet<Key>>();
    let mut memo = mini(&[Key::View, Key::Endpoints(0), Key::Endpoints(0)]);
    let all =
        BTreeSet::from([Key::Endpoints(0), Key::Endpoints(1), Key::Endpoints(2), Key::Rules, Key::View]);
    assert_eq!(live(&memo), all);

    assert!(memo.release(&Key::Endpoints(0)));
    assert!(!memo.release(&Key::Endpoints(1)), "read, but not demanded");
    assert!(!memo.release(&Key::Endpoints(9)), "never heard of");
    assert_eq!(settle(&mut memo, vec![]), (vec![], vec![]));

    assert!(memo.release(&Key::View));
    assert_eq!(live(&memo), all, "until settled everything stays");
    let gone = [Key::Endpoints(1), Key::Endpoints(2), Key::Rules, Key::View].map(|key| (key, None)).to_vec();
    assert_eq!(settle(&mut memo, vec![]), (vec![], gone));
    assert_eq!(live(&memo), BTreeSet::from([Key::Endpoints(0)]));

    assert!(memo.release(&Key::Endpoints(0)));
    assert!(!memo.release(&Key::Endpoints(0)), "both demands were taken back");
    memo.demand(&Key::Endpoints(0));
    assert_eq!(settle(&mut memo, vec![]), (vec![], vec![]), "demanded again in time");
}

#[test]
fn what_changes_hands_is_not_derived_again() {
    let mut memo = mini(&[Key::View]);
    memo.release(&Key::View);
    memo.demand(&Key::Free(5, 300));
    let (keys, changed) = settle(&mut memo, vec![(300, link(Key::Endpoints(2)))]);
    assert_eq!(keys, [Key::Free(5, 300)]);
    assert!(!changed.iter().any(|(key, _)| *key == Key::Endpoints(2)));

    memo.demand(&Key::Endpoints(3));
    memo.release(&Key::Endpoints(3));
    assert_eq!(
        settle(&mut memo, vec![]),
        (vec![], vec![]),
        "demanded and released before it was ever needed"
    );
}

#[test]
fn memory_comes_back() {
    let mut memo = mini(&[Key::Count(1)]);
    let before = memo.sizes();
    let mut room = None;
    for round in 0..200 {
        for id in 1000..1100 {
            apply(&mut memo, id, pod((id % 50) as u8 + 10, id + round));
            memo.demand(&Key::Endpoints((id % 50) as u8 + 10));
            memo.demand(&Key::Free(7, id + 1000 * round));
        }
        memo.settle();
        assert!(memo.sizes().keys > before.keys + 100);
        for id in 1000..1100 {
            apply(&mut memo, id, None);
            memo.release(&Key::Endpoints((id % 50) as u8 + 10));
            memo.release(&Key::Free(7, id + 1000 * round));
        }
        memo.settle();
        let after = memo.sizes();
        assert_eq!(Sizes { slots: before.slots, ..after }, before);
        assert_eq!(*room.get_or_insert(after.slots), after.slots, "names that came and went are reused");
    }
}

#[test]
fn notes_live_with_their_key() {
    let mut memo = mini(&[Key::View]);
    let mut check = |what: &str, changes, release: &[Key], changed: usize, expected: &[(Key, &str, &str)]| {
        for (id, obj) in changes {
            apply(&mut memo, id, obj);
        }
        for key in release {
            memo.release(key);
        }
        let settled = memo.settle();
        let change = |note: NoteChange<Mini>| (note.key, note.before.join(","), note.after.join(","));
        let notes: Vec<_> = settled.notes.into_iter().map(change).collect();
        let expected: Vec<_> =
            expected.iter().map(|(key, a, b)| (key.clone(), a.to_string(), b.to_string())).collect();
        assert_eq!((settled.changed.len(), notes), (changed, expected), "{what}");
        let again = memo.rebuilt();
        assert!(memo.notes().eq(again.notes()), "{what}");
        memo.notes().count()
    };
    let (six, none) = (Key::Endpoints(6), "no pod has label 6");
    let noisy = |noise| Some(Obj::Pod { label: 9, address: 1, noise });
    assert_eq!(check("nothing", vec![], &[], 0, &[]), 0);
    assert_eq!(check("a new key has one", vec![(102, rule(6, 6))], &[], 3, &[(six.clone(), "", none)]), 1);
    assert_eq!(check("another cause elsewhere", vec![(1, pod(1, 99))], &[], 1, &[]), 1);
    assert_eq!(check("the cause goes", vec![(50, pod(6, 1))], &[], 2, &[(six.clone(), none, "")]), 0);
    assert_eq!(check("and comes back", vec![(50, None)], &[], 2, &[(six.clone(), "", none)]), 1);
    assert_eq!(check("its key goes", vec![], &[Key::View], 6, &[(six, none, "")]), 0);

    let free = Key::Free(5, 300);
    let mut memo = mini(std::slice::from_ref(&free));
    for (noise, before, after) in [(1, "", "noise 1"), (2, "noise 1", "noise 2")] {
        apply(&mut memo, 300, noisy(noise));
        let settled = memo.settle();
        assert_eq!(settled.changed.len(), usize::from(noise == 1), "a note alone changes no value");
        assert_eq!((&*settled.notes[0].before.join(""), &*settled.notes[0].after.join("")), (before, after));
    }
}
