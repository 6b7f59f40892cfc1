//! Choices read from numbers.

use serde_json::{Map, Value};

/// Numbers to choose by. An exhausted tape gives zeros: the simplest of everything.
pub struct Tape<'a> {
    rest: std::slice::Iter<'a, u16>,
}

impl<'a> Tape<'a> {
    /// A tape of these numbers.
    pub fn new(numbers: &'a [u16]) -> Self {
        Tape { rest: numbers.iter() }
    }

    /// The next number.
    pub fn number(&mut self) -> u16 {
        self.rest.next().copied().unwrap_or(0)
    }

    /// A number below `n`, which is not 0.
    pub fn below(&mut self, n: usize) -> usize {
        usize::from(self.number()) % n
    }

    /// True once in `n` times; never on an exhausted tape.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) + 1 == n
    }

    /// One of these; the first is the simplest.
    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    /// Up to `most` of what `make` gives.
    pub fn list<T>(&mut self, most: usize, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(most + 1)).map(|_| make(self)).collect()
    }

    /// What `make` gives, once in `n` times.
    pub fn maybe<T>(&mut self, n: usize, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.one_in(n) { Some(make(self)) } else { None }
    }

    /// A map with up to `most` of the keys.
    pub fn map(&mut self, most: usize, keys: &[&str], values: &[&str]) -> Value {
        self.list(most, |t| (t.pick(keys).to_owned(), Value::from(t.pick(values)))).into_iter().collect()
    }
}

/// An object of the fields that are there.
pub(super) fn fields<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    let there = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(there.collect::<Map<_, _>>())
}
