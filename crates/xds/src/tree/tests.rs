//! Against a map of the standard library, and against itself.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

type Model = BTreeMap<Arc<str>, Arc<u8>>;

fn name(n: u8) -> Arc<str> {
    format!("name-{n}").into()
}

/// Values of which each number stands once.
fn values() -> Vec<Arc<u8>> {
    (0..4).map(Arc::new).collect()
}

fn is(tree: &Tree<Arc<u8>>, model: &Model) {
    assert!(tree.iter().eq(model.iter()), "{tree:?} is not {model:?}");
    assert_eq!((tree.len(), tree.is_empty()), (model.len(), model.is_empty()));
    for n in 0..=u8::MAX {
        assert_eq!(tree.get(&name(n)), model.get(&name(n)));
    }
}

/// Some names with what becomes of them: a value, or none.
fn batches() -> impl Strategy<Value = Vec<Vec<(u8, Option<usize>)>>> {
    let change = (0_u8..40, proptest::option::of(0_usize..4));
    proptest::collection::vec(proptest::collection::vec(change, 0..30), 1..8)
}

proptest! {
    /// By whatever way it came about, it has what a map has, and with a shelf what is equal is one.
    #[test]
    fn it_is_a_map_of_one_shape(batches in batches()) {
        let (values, mut shelf) = (values(), Shelf::default());
        let (mut alone, mut shared, mut model) = (Tree::default(), Tree::default(), Model::new());
        let mut before = Vec::new();
        for batch in batches {
            before.push((shared.clone(), model.clone()));
            let batch: BTreeMap<Arc<str>, Option<Arc<u8>>> =
                batch.into_iter().map(|(n, value)| (name(n), value.map(|it| values[it].clone()))).collect();
            for (name, value) in &batch {
                let was = match value {
                    Some(value) => !alone.insert(name.clone(), value.clone()),
                    None => alone.remove(name),
                };
                assert_eq!(was, match value {
                    Some(value) => model.insert(name.clone(), value.clone()),
                    None => model.remove(name),
                }.is_some());
            }
            shared = shared.with(batch, &mut shelf);
            is(&alone, &model);
            is(&shared, &model);
            let whole = Tree::default().with(model.iter().map(|(k, v)| (k.clone(), Some(v.clone()))), &mut shelf);
            assert!(whole.is_one_with(&shared), "made at once it is another");
            assert_eq!(alone, shared);
            assert_eq!(model.clone().into_iter().collect::<Tree<_>>(), shared);
        }
        for (tree, model) in &before {
            is(tree, model);
            let (mut told, mut wanted) = (Vec::new(), Vec::new());
            tree.differences(&shared, |name, a, b| told.push((name.clone(), a.cloned(), b.cloned())));
            let names: std::collections::BTreeSet<_> = tree.keys().chain(shared.keys()).cloned().collect();
            for name in names {
                let (a, b) = (tree.get(&name).cloned(), shared.get(&name).cloned());
                if a != b {
                    wanted.push((name, a, b));
                }
            }
            assert_eq!(told, wanted);
        }
    }
}

/// A name more costs a few nodes, and who has it too has the same.
#[test]
fn what_two_have_in_common_stands_once() {
    let mut shelf = Shelf::default();
    let value = Arc::new(0);
    let all = (0..=u8::MAX).map(|n| (name(n), Some(value.clone()))).collect::<BTreeMap<_, _>>();
    let one = Tree::default().with(all, &mut shelf);
    let more = |tree: &Tree<_>, shelf: &mut _| tree.with([("more".into(), Some(value.clone()))], shelf);
    let two = more(&one, &mut shelf);
    let nodes = |tree: &Tree<Arc<u8>>| {
        let mut left = vec![tree.root.clone()];
        let mut found = std::collections::BTreeSet::new();
        while let Some(next) = left.pop() {
            if let Some(node) = next {
                found.insert(Arc::as_ptr(&node).addr());
                left.extend([node.left.clone(), node.right.clone()]);
            }
        }
        found
    };
    let own = nodes(&two).difference(&nodes(&one)).count();
    assert!(own < 64, "{own} nodes of 257 are its own");
    assert!(more(&one, &mut shelf).is_one_with(&two));
    assert!(two.with([("more".into(), None)], &mut shelf).is_one_with(&one));
}
