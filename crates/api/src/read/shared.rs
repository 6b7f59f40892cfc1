//! Labels are kept once for all objects that have the same: the Pods of a Deployment differ in little but their names.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

type Labels = BTreeMap<String, String>;

/// Below this many nobody looks for those that are no longer in use.
const FEW: usize = 1024;

static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(|| Mutex::new(Known::default()));

/// Labels that objects have, and at most as many again that none has any more.
#[derive(Debug, Default)]
struct Known {
    all: HashSet<Arc<Labels>>,
    /// With so many, those that are in use are kept alone.
    full: usize,
}

/// The same labels, in common with every other object that has them.
pub(crate) fn labels(labels: Labels) -> Arc<Labels> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner).share(labels)
}

impl Known {
    fn share(&mut self, labels: Labels) -> Arc<Labels> {
        if let Some(known) = self.all.get(&labels) {
            return known.clone();
        }
        if self.all.len() >= self.full {
            self.all.retain(|it| Arc::strong_count(it) > 1);
            self.full = (2 * self.all.len()).max(FEW);
        }
        let new = Arc::new(labels);
        self.all.insert(new.clone());
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(value: usize) -> Labels {
        Labels::from([("app".to_owned(), value.to_string())])
    }

    #[test]
    fn the_same_are_one_and_those_of_nobody_go() {
        let mut known = Known::default();
        let (one, other) = (known.share(labels(1)), known.share(labels(2)));
        assert!(Arc::ptr_eq(&one, &known.share(labels(1))) && !Arc::ptr_eq(&one, &other));
        for value in 0..10 * FEW {
            drop(known.share(labels(value)));
        }
        assert!(known.all.len() <= FEW, "{}", known.all.len());
        assert!(Arc::ptr_eq(&one, &known.share(labels(1))) && Arc::ptr_eq(&other, &known.share(labels(2))));
    }
}
