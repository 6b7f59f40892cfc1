//! Values of which each stands once: who makes one that is there already is given that.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, Weak};

/// As many are looked through for such as are gone only when there are more than this.
const FEW: usize = 1024;

/// Values by what they are. It keeps none alive, so what nobody else has any more is gone.
#[derive(Debug)]
pub struct Shelf<T> {
    known: HashMap<u64, Weak<T>>,
    hasher: RandomState,
    /// How many there may be before those are forgotten that are gone.
    room: usize,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Shelf { known: HashMap::new(), hasher: RandomState::new(), room: FEW }
    }
}

impl<T: Hash + Eq> Shelf<T> {
    /// The one that is equal to this, or this from now on.
    pub fn share(&mut self, value: T) -> Arc<T> {
        let hash = self.hasher.hash_one(&value);
        // Of two with one hash the newer is remembered: the other is shared no further, and no less right.
        if let Some(known) = self.known.get(&hash).and_then(Weak::upgrade)
            && *known == value
        {
            return known;
        }
        let new = Arc::new(value);
        self.known.insert(hash, Arc::downgrade(&new));
        if self.known.len() > self.room {
            self.known.retain(|_, value| value.strong_count() > 0);
            self.known.shrink_to(2 * self.known.len());
            self.room = FEW.max(2 * self.known.len());
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_equal_stands_once_and_what_is_gone_is_forgotten() {
        let mut shelf = Shelf::default();
        let (a, b) = (shelf.share("a".to_owned()), shelf.share("b".to_owned()));
        assert!(Arc::ptr_eq(&a, &shelf.share("a".to_owned())) && !Arc::ptr_eq(&a, &b));
        drop(a);
        assert_eq!(*shelf.share("a".to_owned()), "a");
        for n in 0..10 * FEW {
            shelf.share(n.to_string());
        }
        assert!(shelf.known.len() <= FEW + 1, "{} are remembered", shelf.known.len());
        assert!(Arc::ptr_eq(&b, &shelf.share("b".to_owned())));
    }
}
