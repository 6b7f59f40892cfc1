//! Who may see an object (`exportTo`).

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;

/// A resolved `exportTo`: `.` has become the object's own namespace.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize)]
pub enum Visibility {
    /// `*`, or nothing written.
    All,
    /// These namespaces; none for `~`.
    Namespaces(Arc<BTreeSet<Arc<str>>>),
}

impl Visibility {
    /// Resolves the entries of an `exportTo` list of an object in `namespace`.
    ///
    /// Empty means everyone; `*` makes the other entries meaningless, and without it `~` does: nobody
    /// (istio `pilot/pkg/model/push_context.go`).
    pub fn resolve<'a>(entries: impl IntoIterator<Item = &'a str>, namespace: &Arc<str>) -> Self {
        let mut namespaces = BTreeSet::new();
        let (mut any, mut nobody) = (false, false);
        for entry in entries {
            any = true;
            match entry {
                "*" => return Visibility::All,
                "." => {
                    namespaces.insert(namespace.clone());
                }
                "~" => nobody = true,
                other => {
                    namespaces.insert(other.into());
                }
            }
        }
        match (any, nobody) {
            (false, _) => Visibility::All,
            (true, true) => Visibility::Namespaces(Arc::default()),
            (true, false) => Visibility::Namespaces(Arc::new(namespaces)),
        }
    }

    /// What an annotation lists: comma-separated namespaces, or `*`; nobody when there is none.
    pub fn listed(annotation: Option<&str>, namespace: &Arc<str>) -> Self {
        let entries = || annotation.unwrap_or_default().split(',').map(str::trim).filter(|e| !e.is_empty());
        match entries().next() {
            Some(_) => Visibility::resolve(entries(), namespace),
            None => Visibility::Namespaces(Arc::default()),
        }
    }

    /// Whether a proxy or object in `namespace` sees it.
    pub fn covers(&self, namespace: &str) -> bool {
        match self {
            Visibility::All => true,
            Visibility::Namespaces(set) => set.contains(namespace),
        }
    }
}
