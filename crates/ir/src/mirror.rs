//! A mirror as its author sees it: what was written, and what became of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

use crate::{
    AbortLimits, Aborted, Answerer, ClusterRef, CopiedRequests, CopyHost, Destinations, Diagnostic, Pacing,
    PortNumber, RampState, RuntimeFraction, RuntimeKey, Settings, Verdicts,
};

/// Which mirror of an object: what is said about it is found by this, whatever its field is called.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize)]
pub struct MirrorPlace {
    /// Index of its rule in `spec.http`.
    pub rule: usize,
    /// Where that rule delegates: the index in the delegate's `spec.http`.
    pub delegated: Option<usize>,
    /// Index in `mirrors`; `None`: it is `mirror`.
    pub entry: Option<usize>,
}

impl MirrorPlace {
    /// The path of its destination in the object.
    pub fn field(&self) -> String {
        let field = self.entry_field();
        if self.entry.is_some() { field + ".destination" } else { field }
    }

    /// The path of all of it in the object.
    pub fn entry_field(&self) -> String {
        let rule = match self.delegated {
            None => format!("spec.http[{}]", self.rule),
            Some(index) => format!("spec.http[{}].delegate.http[{index}]", self.rule),
        };
        match self.entry {
            None => format!("{rule}.mirror"),
            Some(entry) => format!("{rule}.mirrors[{entry}]"),
        }
    }
}

/// One mirror of a VirtualService, and what became of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MirrorState {
    /// The hosts of the VirtualService, as written.
    pub hosts: Arc<[String]>,
    /// Which one it is.
    pub place: MirrorPlace,
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
    /// Its fraction as proxies are told it; `None`: not a percentage, so that nothing is mirrored.
    pub share: Option<RuntimeFraction>,
    /// The same as it is written, or stopped.
    pub written: Option<RuntimeFraction>,
    /// What holds the first below the second.
    pub pacing: Option<Arc<Pacing>>,
    /// How far its ramp has come; `None`: nobody has said.
    pub ramp: Option<RampState>,
    /// What becomes of its copies is not counted.
    pub unobserved: bool,
    /// Which requests it copies, by the MirrorPolicy that counts for it.
    pub requests: CopiedRequests,
    /// The Host of its copies, by the same.
    pub copied_host: CopyHost,
    /// Somebody has stopped it: its fraction is 0, whatever is written.
    pub stopped: bool,
    /// When it stops by itself.
    pub limits: AbortLimits,
    /// It has, and is stopped.
    pub aborted: Option<Aborted>,
    /// How its copies are judged.
    pub verdicts: Option<Verdicts>,
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
    /// The clusters that the destinations of its rules come to.
    pub destinations: BTreeSet<ClusterRef>,
}

impl ObjectReport {
    /// The clusters to which requests that follow its rules are sent, and copies of them, with who answers there; none where
    /// `settings` want none of that to be counted.
    pub fn destinations(
        &self,
        answerer: impl Fn(&ClusterRef) -> Answerer,
        settings: &Settings,
    ) -> Destinations {
        if !settings.istio_metrics {
            return Destinations::new();
        }
        let copies = self.mirrors.iter().flat_map(|mirror| mirror.clusters.keys());
        self.destinations.iter().chain(copies).map(|cluster| (cluster.clone(), answerer(cluster))).collect()
    }
}
