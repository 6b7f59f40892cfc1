//! What an object's author should know that only shows beside other objects. Computed for every object, also with no
//! proxy connected.

mod budget;
mod connections;
mod gateways;
mod hosts;
mod ownership;
mod ports;
mod shadows;
mod sidecars;
mod targets;

use std::collections::{BTreeMap, BTreeSet};

use umbra_ir::{ClusterRef, Code, Diagnostic, MirrorPlace, MirrorState, Notes, ObjectReport, Severity};

pub use connections::report_connections;
pub use gateways::report_gateway;
pub use hosts::report_rules;
pub use ownership::report_foreign_rules;
pub use ports::report_ports;
pub use sidecars::report_sidecar;

/// What is to be said about one object, while it is collected.
#[derive(Default)]
pub struct Report {
    notes: Notes,
    /// What is not to be said now.
    unsaid: Option<Code>,
    mirrors: Vec<MirrorState>,
    /// Where each mirror stands in `mirrors`.
    places: BTreeMap<MirrorPlace, usize>,
    destinations: BTreeSet<ClusterRef>,
}

impl Report {
    /// With the mirrors as they are written, before any is looked up.
    pub fn new(mirrors: Vec<MirrorState>) -> Self {
        let places = mirrors.iter().enumerate().map(|(index, state)| (state.place, index)).collect();
        Report { mirrors, places, ..Report::default() }
    }

    /// Takes a diagnostic in; one that is there already counts once.
    pub fn insert(&mut self, diagnostic: Diagnostic) {
        if self.unsaid == Some(diagnostic.code) {
            return;
        }
        self.judge_mirror(&diagnostic);
        self.notes.insert(diagnostic);
    }

    /// A mirror has the worst that is said about it; of what is equally bad, the first.
    fn judge_mirror(&mut self, note: &Diagnostic) {
        let index = note.mirror.and_then(|place| self.places.get(&place));
        let Some(mirror) = index.and_then(|index| self.mirrors.get_mut(*index)) else { return };
        if note.severity != Severity::Info && mirror.problem.as_ref().is_none_or(|worst| note < worst) {
            mirror.problem = Some(note.clone());
        }
    }

    /// Notes a cluster that a destination comes to.
    fn goes_to(&mut self, cluster: ClusterRef) {
        self.destinations.insert(cluster);
    }

    /// Notes a cluster that a mirror comes to, with its ready endpoints.
    fn mirror_goes_to(&mut self, place: MirrorPlace, cluster: ClusterRef, endpoints: usize) {
        let index = self.places.get(&place);
        if let Some(state) = index.and_then(|index| self.mirrors.get_mut(*index)) {
            state.clusters.insert(cluster, endpoints);
        }
    }

    /// All that was found, each mirror with the worst that is said about it.
    pub fn finish(self) -> ObjectReport {
        ObjectReport {
            diagnostics: self.notes.finish(),
            mirrors: self.mirrors,
            destinations: self.destinations,
        }
    }
}

impl Extend<Diagnostic> for Report {
    fn extend<I: IntoIterator<Item = Diagnostic>>(&mut self, notes: I) {
        notes.into_iter().for_each(|note| self.insert(note));
    }
}
