//! A mirror as its author sees it: what was written, and what became of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{ClusterRef, Diagnostic, PortNumber, RuntimeFraction, RuntimeKey};

/// One mirror of a VirtualService, and what became of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MirrorState {
    /// The hosts of the VirtualService, as written.
    pub hosts: Arc<[String]>,
    /// Its path in the object, such as `spec.http[0].mirror`.
    pub field: String,
    /// `spec.http[].name`, often empty.
    pub route: String,
    /// The host that it names, as written.
    pub host: String,
    /// The subset that it names, or empty.
    pub subset: String,
    /// The port that it names.
    pub port: Option<PortNumber>,
    /// Names its fraction in the runtime layer.
    pub key: RuntimeKey,
    /// Its fraction; `None`: not a percentage, so that nothing is mirrored.
    pub share: Option<RuntimeFraction>,
    /// What it comes to, with the number of ready endpoints; several when it names no port and callers use
    /// several. Empty: broken, or nobody can call the rule.
    pub clusters: BTreeMap<ClusterRef, usize>,
    /// The worst that is to be said about it, if anything is.
    pub problem: Option<Diagnostic>,
}

/// Everything that the author of one object should know.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ObjectReport {
    /// Sorted, without repetitions.
    pub diagnostics: Vec<Diagnostic>,
    /// A VirtualService's mirrors in the order in which they are written.
    pub mirrors: Vec<MirrorState>,
}
