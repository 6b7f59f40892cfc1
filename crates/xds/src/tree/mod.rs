//! A map by name, in order, whose copies share their nodes.
//!
//! Its shape follows from its names alone, however it came about (a treap: each name has a rank, made from its hash, and stands
//! above all names of lower rank). So two maps that differ in a few names are the same nearly everywhere, and with a [`Shelf`]
//! for the nodes they stand there once, whatever has happened to each of them.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::{Arc, OnceLock};

use crate::shelf::Shelf;

/// What is the same wherever it stands is told by where it stands.
pub trait Identity: Clone {
    /// Equal for two that are the same thing.
    fn identity(&self) -> usize;
}

impl<T> Identity for Arc<T> {
    fn identity(&self) -> usize {
        Arc::as_ptr(self).addr()
    }
}

impl Identity for () {
    fn identity(&self) -> usize {
        0
    }
}

/// A name with its value, and all below it.
#[derive(Clone, Debug)]
pub struct Node<V> {
    rank: u64,
    name: Arc<str>,
    value: V,
    left: Link<V>,
    right: Link<V>,
}

type Link<V> = Option<Arc<Node<V>>>;

/// Makes a node of its parts, or finds it.
type Maker<'a, V> = &'a mut dyn FnMut(Node<V>) -> Arc<Node<V>>;

/// Hears of a name with its value here and there.
type Listener<'a, V> = &'a mut dyn FnMut(&Arc<str>, Option<&V>, Option<&V>);

/// See the module.
#[derive(Clone)]
pub struct Tree<V> {
    root: Link<V>,
    len: usize,
}

/// One thing to do to a tree: put a value under a name, or take the name away.
struct Step<V> {
    rank: u64,
    name: Arc<str>,
    value: Option<V>,
}

/// No one outside can know the ranks of names, and so nobody can choose names that make a tree deep.
fn rank(name: &str) -> u64 {
    static RANKS: OnceLock<RandomState> = OnceLock::new();
    RANKS.get_or_init(RandomState::new).hash_one(name)
}

fn address<V>(link: &Link<V>) -> usize {
    link.as_ref().map_or(0, |node| Arc::as_ptr(node).addr())
}

impl<V> Node<V> {
    /// Which of two stands above the other; equal for one name alone.
    fn order(&self) -> (u64, &str) {
        (self.rank, &self.name)
    }
}

impl<V> Step<V> {
    fn order(&self) -> (u64, &str) {
        (self.rank, &self.name)
    }
}

/// Two nodes are the same when they have the same value and the same below them.
impl<V: Identity> PartialEq for Node<V> {
    fn eq(&self, other: &Self) -> bool {
        let parts = |it: &Self| (it.value.identity(), address(&it.left), address(&it.right));
        parts(self) == parts(other) && self.name == other.name
    }
}

impl<V: Identity> Eq for Node<V> {}

impl<V: Identity> Hash for Node<V> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.rank, self.value.identity(), address(&self.left), address(&self.right)).hash(state);
    }
}

impl<V> Default for Tree<V> {
    fn default() -> Self {
        Tree { root: None, len: 0 }
    }
}

impl<V> Tree<V> {
    /// How many names there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn find(&self, name: &str) -> Option<&Node<V>> {
        let mut next = self.root.as_deref();
        while let Some(node) = next {
            next = match name.cmp(&node.name) {
                Ordering::Less => node.left.as_deref(),
                Ordering::Equal => return Some(node),
                Ordering::Greater => node.right.as_deref(),
            };
        }
        None
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&V> {
        self.find(name).map(|node| &node.value)
    }

    /// The name as it stands here.
    pub fn name(&self, name: &str) -> Option<&Arc<str>> {
        self.find(name).map(|node| &node.name)
    }

    /// There is this name.
    pub fn contains_key(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Names and values, by name.
    pub fn iter(&self) -> Iter<'_, V> {
        // About as deep as it is.
        let depth = self.len.checked_ilog2().map_or(0, |log| 2 * log as usize + 2);
        let mut iter = Iter { above: Vec::with_capacity(depth) };
        iter.descend(self.root.as_deref());
        iter
    }

    /// Names, in order.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<str>> {
        self.iter().map(|(name, _)| name)
    }

    /// Values, by name.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// The two are one: no name differs. Two that are not one may have the same in them all the same.
    pub fn is_one_with(&self, other: &Self) -> bool {
        address(&self.root) == address(&other.root)
    }

    /// A number for what is in it, as long as it lives.
    pub(crate) fn address(&self) -> usize {
        address(&self.root)
    }
}

impl<V: Clone> Tree<V> {
    /// Puts a value under a name; true when the name is new.
    pub fn insert(&mut self, name: Arc<str>, value: V) -> bool {
        let new = insert(&mut self.root, Node { rank: rank(&name), name, value, left: None, right: None });
        self.len += usize::from(new);
        new
    }

    /// Takes a name away; false when it was not there.
    pub fn remove(&mut self, name: &str) -> bool {
        // Whoever shares nodes with others copies them only to change them.
        let was = self.contains_key(name) && remove(&mut self.root, name);
        self.len -= usize::from(was);
        was
    }
}

impl<V: Identity> Tree<V> {
    /// The tree after some changes, one for each name (`None`: it goes), in the order of names. All nodes that are new stand on
    /// the shelf.
    #[must_use]
    pub fn with(
        &self,
        changes: impl IntoIterator<Item = (Arc<str>, Option<V>)>,
        shelf: &mut Shelf<Node<V>>,
    ) -> Self {
        let step = |(name, value): (Arc<str>, _)| Step { rank: rank(&name), name, value };
        let steps: Vec<Step<V>> = changes.into_iter().map(step).collect();
        debug_assert!(steps.is_sorted_by(|a, b| a.name < b.name), "each name once, in order");
        let len = steps.iter().fold(self.len, |len, step| {
            match (self.contains_key(&step.name), step.value.is_some()) {
                (false, true) => len + 1,
                (true, false) => len - 1,
                _ => len,
            }
        });
        Tree { root: walk(&self.root, &steps, &mut |node| shelf.share(node)), len }
    }

    /// Tells of each name whose value is not the same here and there, with both; in order. What the two have in common is not
    /// looked at.
    pub fn differences(&self, other: &Self, mut found: impl FnMut(&Arc<str>, Option<&V>, Option<&V>)) {
        compare(&self.root, &other.root, &mut found);
    }
}

/// Puts a node in place; true when its name is new.
fn insert<V: Clone>(link: &mut Link<V>, new: Node<V>) -> bool {
    match link {
        Some(node) if node.order() >= new.order() => match new.name.cmp(&node.name) {
            Ordering::Less => insert(&mut Arc::make_mut(node).left, new),
            Ordering::Equal => {
                Arc::make_mut(node).value = new.value;
                false
            }
            Ordering::Greater => insert(&mut Arc::make_mut(node).right, new),
        },
        _ => {
            let (left, right) = split(link, &new.name, &mut Arc::new);
            *link = Some(Arc::new(Node { left, right, ..new }));
            true
        }
    }
}

fn remove<V: Clone>(link: &mut Link<V>, name: &str) -> bool {
    let Some(node) = link else { return false };
    match name.cmp(&node.name) {
        Ordering::Less => remove(&mut Arc::make_mut(node).left, name),
        Ordering::Greater => remove(&mut Arc::make_mut(node).right, name),
        Ordering::Equal => {
            *link = join(&node.left, &node.right, &mut Arc::new);
            true
        }
    }
}

/// What is before a name that is not there, and what is behind it.
fn split<V: Clone>(link: &Link<V>, name: &str, make: Maker<'_, V>) -> (Link<V>, Link<V>) {
    let Some(node) = link else { return (None, None) };
    if *node.name < *name {
        let (left, right) = split(&node.right, name, make);
        let node = if same(&left, &node.right) {
            node.clone()
        } else {
            make(Node { right: left, ..Node::clone(node) })
        };
        (Some(node), right)
    } else {
        let (left, right) = split(&node.left, name, make);
        let node = if same(&right, &node.left) {
            node.clone()
        } else {
            make(Node { left: right, ..Node::clone(node) })
        };
        (left, Some(node))
    }
}

/// All of two of which one is before the other.
fn join<V: Clone>(left: &Link<V>, right: &Link<V>, make: Maker<'_, V>) -> Link<V> {
    let (Some(before), Some(behind)) = (left, right) else { return left.clone().or_else(|| right.clone()) };
    Some(if before.order() > behind.order() {
        let right = join(&before.right, right, make);
        make(Node { right, ..Node::clone(before) })
    } else {
        let left = join(left, &behind.left, make);
        make(Node { left, ..Node::clone(behind) })
    })
}

fn same<V>(a: &Link<V>, b: &Link<V>) -> bool {
    address(a) == address(b)
}

/// Takes the steps below a link; what none of them concerns stays as it is.
fn walk<V: Clone>(link: &Link<V>, steps: &[Step<V>], make: Maker<'_, V>) -> Link<V> {
    if steps.is_empty() {
        return link.clone();
    }
    let puts = steps.iter().filter(|step| step.value.is_some());
    let highest = puts.max_by(|a, b| a.order().cmp(&b.order()));
    match (link, highest) {
        (Some(node), highest) if highest.is_none_or(|step| step.order() <= node.order()) => {
            let (before, behind) = steps.split_at(steps.partition_point(|step| *step.name < *node.name));
            let own = behind.first().filter(|step| step.name == node.name);
            let behind = &behind[usize::from(own.is_some())..];
            let left = walk(&node.left, before, make);
            let right = walk(&node.right, behind, make);
            let value = match own.map(|step| &step.value) {
                Some(None) => return join(&left, &right, make),
                Some(Some(value)) => value,
                None if same(&left, &node.left) && same(&right, &node.right) => return link.clone(),
                None => &node.value,
            };
            let (rank, name) = (node.rank, node.name.clone());
            Some(make(Node { rank, name, value: value.clone(), left, right }))
        }
        (_, Some(step)) => {
            let (rank, name, value) = (step.rank, step.name.clone(), step.value.clone()?);
            let (left, right) = split(link, &name, make);
            let (before, behind) = steps.split_at(steps.partition_point(|it| it.name < name));
            let (left, right) = (walk(&left, before, make), walk(&right, &behind[1..], make));
            Some(make(Node { rank, name, value, left, right }))
        }
        (_, None) => None,
    }
}

fn compare<V: Identity>(a: &Link<V>, b: &Link<V>, found: Listener<'_, V>) {
    match (a, b) {
        _ if same(a, b) => {}
        (Some(x), Some(y)) if x.name == y.name => {
            compare(&x.left, &y.left, found);
            if x.value.identity() != y.value.identity() {
                found(&x.name, Some(&x.value), Some(&y.value));
            }
            compare(&x.right, &y.right, found);
        }
        (Some(x), y) if y.as_ref().is_none_or(|y| x.order() > y.order()) => {
            let (left, right) = split(b, &x.name, &mut Arc::new);
            compare(&x.left, &left, found);
            found(&x.name, Some(&x.value), None);
            compare(&x.right, &right, found);
        }
        (_, Some(y)) => {
            let (left, right) = split(a, &y.name, &mut Arc::new);
            compare(&left, &y.left, found);
            found(&y.name, None, Some(&y.value));
            compare(&right, &y.right, found);
        }
        (_, None) => {}
    }
}

/// Names and values of a [`Tree`], in order.
#[derive(Clone)]
pub struct Iter<'a, V> {
    /// The next one last, then those above whose turn is later.
    above: Vec<&'a Node<V>>,
}

impl<'a, V> Iter<'a, V> {
    fn descend(&mut self, mut next: Option<&'a Node<V>>) {
        while let Some(node) = next {
            self.above.push(node);
            next = node.left.as_deref();
        }
    }
}

impl<'a, V> Iterator for Iter<'a, V> {
    type Item = (&'a Arc<str>, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        let node = self.above.pop()?;
        self.descend(node.right.as_deref());
        Some((&node.name, &node.value))
    }
}

impl<'a, V> IntoIterator for &'a Tree<V> {
    type Item = (&'a Arc<str>, &'a V);
    type IntoIter = Iter<'a, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Of several values of one name the last counts. Names that come in order cost a node each.
impl<V: Clone> FromIterator<(Arc<str>, V)> for Tree<V> {
    fn from_iter<I: IntoIterator<Item = (Arc<str>, V)>>(all: I) -> Self {
        let mut tree = Tree::default();
        for (name, value) in all {
            tree.insert(name, value);
        }
        tree
    }
}

impl<V: PartialEq> PartialEq for Tree<V> {
    fn eq(&self, other: &Self) -> bool {
        self.is_one_with(other) || (self.len == other.len && self.iter().eq(other.iter()))
    }
}

impl<V: Eq> Eq for Tree<V> {}

impl<V: fmt::Debug> fmt::Debug for Tree<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests;
