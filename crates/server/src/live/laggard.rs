//! Who an object is not live on, and why.

/// Proxies that are named when an object is not live on them; the rest is counted.
pub(super) const MAX_LAGGARDS: usize = 8;

/// A proxy on which an object is not live.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Laggard {
    /// `POD.NAMESPACE` when its node id tells, else that id.
    pub proxy: String,
    /// A resource that it lacks, such as `rds/8000`; one that it refused before others.
    pub resource: String,
    /// Envoy's words, when it refused the resource.
    pub words: Option<String>,
}

impl Laggard {
    /// Whether its proxy refused the resource. Of a whole replica it is told why, without one.
    pub fn refused(&self) -> bool {
        self.words.is_some() && !self.resource.is_empty()
    }

    /// Who refused says more than who is slow, and must not be cut off.
    pub(crate) fn by_weight(&self, other: &Self) -> std::cmp::Ordering {
        (!self.refused(), self).cmp(&(!other.refused(), other))
    }
}

/// Keeps those that say most.
pub(crate) fn cap(laggards: &mut Vec<Laggard>) {
    laggards.sort_by(Laggard::by_weight);
    laggards.truncate(MAX_LAGGARDS);
}
