//! Sets of names whose copies share their nodes: thousands of streams that ask for the same names have them once.

use std::fmt;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_128;

use crate::shelf::Shelf;
use crate::tree::{Node, Tree};

/// A set of names. Whether two are the same is known without a look at the names: by their number and the sum of their
/// hashes, in whatever order they came.
#[derive(Clone, Default)]
pub(crate) struct Names {
    set: Tree<()>,
    print: Print,
    /// How many names, and bytes of names, at most are not in common with the set that this one is a copy of.
    own: (usize, usize),
}

/// What a name in a set costs beside its bytes, about: a node of the tree, and the head of the text.
pub(crate) const NAME: usize = 160;

/// The sum of the hashes of the members of a set, and how many bytes they have. A chance that two different sets have
/// the same is one in 2^128, and who looks for such sets is told too little himself.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Print {
    count: usize,
    bytes: usize,
    sum: u128,
}

impl Print {
    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// A hash of them all, whatever order they came in.
    pub(crate) fn hash(&self) -> u64 {
        (self.sum >> 64) as u64 ^ self.sum as u64
    }

    fn plus(&mut self, bytes: usize, hash: u128) {
        *self = Print { count: self.count + 1, bytes: self.bytes + bytes, sum: self.sum.wrapping_add(hash) };
    }

    fn minus(&mut self, bytes: usize, hash: u128) {
        *self = Print { count: self.count - 1, bytes: self.bytes - bytes, sum: self.sum.wrapping_sub(hash) };
    }

    /// Adds a name with a version.
    pub(crate) fn add_version(&mut self, name: &str, version: &str) {
        self.plus(name.len() + version.len(), of_version(name, version));
    }

    /// Takes a name with a version away.
    pub(crate) fn take_version(&mut self, name: &str, version: &str) {
        self.minus(name.len() + version.len(), of_version(name, version));
    }
}

/// A product, so that a version belongs to its name.
fn of_version(name: &str, version: &str) -> u128 {
    xxh3_128(name.as_bytes()).wrapping_mul(xxh3_128(version.as_bytes()) | 1)
}

impl Names {
    /// Adds a name; false when it was there.
    pub(crate) fn insert(&mut self, name: Arc<str>) -> bool {
        if self.set.contains_key(&name) {
            return false;
        }
        self.print.plus(name.len(), xxh3_128(name.as_bytes()));
        self.own = (self.own.0 + 1, self.own.1 + name.len());
        self.set.insert(name, ());
        true
    }

    /// The same after some names came (`Some`) and went, in order; none came that was there, or went that was not.
    pub(crate) fn with(&self, changes: Vec<(Arc<str>, Option<()>)>, shelf: &mut Shelf<Node<()>>) -> Self {
        let mut print = self.print;
        for (name, comes) in &changes {
            let hash = xxh3_128(name.as_bytes());
            match comes {
                Some(()) => print.plus(name.len(), hash),
                None => print.minus(name.len(), hash),
            }
        }
        Names { set: self.set.with(changes, shelf), print, own: (0, 0) }
    }

    /// A copy that has everything in common with this one.
    pub(crate) fn in_common(&self) -> Self {
        Names { own: (0, 0), ..self.clone() }
    }

    /// The bytes that it keeps for itself alone, about.
    pub(crate) fn weight(&self) -> usize {
        self.own.0.min(self.print.count) * NAME + self.own.1.min(self.print.bytes)
    }

    /// Takes a name away; false when it was not there.
    pub(crate) fn remove(&mut self, name: &str) -> bool {
        let was = self.set.remove(name);
        if was {
            self.print.minus(name.len(), xxh3_128(name.as_bytes()));
        }
        was
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.set.contains_key(name)
    }

    /// The name as it stands here.
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<str>> {
        self.set.name(name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<str>> {
        self.set.keys()
    }

    pub(crate) fn len(&self) -> usize {
        self.print.count
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.print.count == 0
    }

    /// How long they are together.
    pub(crate) fn bytes(&self) -> usize {
        self.print.bytes
    }

    /// These are the same names.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.print == other.print
    }

    /// A list has just these names, each once.
    pub(crate) fn is_list(&self, list: &[String]) -> bool {
        if list.len() != self.print.count {
            return false;
        }
        let mut print = Print::default();
        list.iter().for_each(|name| print.plus(name.len(), xxh3_128(name.as_bytes())));
        print == self.print
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Names {
        let mut names = Names::default();
        for name in list {
            names.insert((*name).into());
        }
        names
    }

    #[test]
    fn sets_are_the_same_by_what_is_in_them() {
        let mut some = names(&["a", "b", "c", "c"]);
        assert!(some.is_same(&names(&["c", "b", "a"])) && some.len() == 3 && some.bytes() == 3);
        assert!(!some.is_same(&names(&["a", "b", "d"])) && !some.is_same(&names(&["a", "bc"])));
        assert!(some.remove("c") && !some.remove("c") && some.is_same(&names(&["b", "a"])));
        let list = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert!(some.is_list(&list(&["b", "a"])));
        assert!(!some.is_list(&list(&["a", "a"])) && !some.is_list(&list(&["a", "b", "b"])));
    }

    #[test]
    fn what_is_in_common_weighs_nothing() {
        let all = names(&["a", "b"]);
        assert_eq!((all.weight(), all.in_common().weight()), (2 * NAME + 2, 0));
        let mut more = all.in_common();
        more.insert("long".into());
        assert_eq!(more.weight(), NAME + 4);
        assert!(["long", "a", "b"].into_iter().all(|name| more.remove(name)));
        assert_eq!(more.weight(), 0);
    }

    #[test]
    fn a_version_belongs_to_its_name() {
        let print = |pairs: &[(&str, &str)]| {
            let mut print = Print::default();
            pairs.iter().for_each(|(name, version)| print.add_version(name, version));
            print
        };
        assert_eq!(print(&[("a", "1"), ("b", "2")]), print(&[("b", "2"), ("a", "1")]));
        assert_ne!(print(&[("a", "1"), ("b", "2")]), print(&[("a", "2"), ("b", "1")]));
        let mut less = print(&[("a", "1"), ("b", "2")]);
        less.take_version("a", "1");
        assert_eq!(less, print(&[("b", "2")]));
    }
}
