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

use umbra_ir::{ClusterRef, Diagnostic, MirrorPlace, MirrorState, ObjectReport, Severity};

pub use connections::report_connections;
pub use gateways::report_gateway;
pub use hosts::report_rules;
pub use ownership::report_foreign_rules;
pub use ports::report_ports;
pub use sidecars::report_sidecar;

/// What is to be said about one object, while it is collected.
#[derive(Default)]
pub struct Report {
    notes: BTreeSet<Diagnostic>,
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
        self.notes.insert(diagnostic);
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
    pub fn finish(mut self) -> ObjectReport {
        for note in self.notes.iter().filter(|note| note.severity != Severity::Info) {
            let index = note.mirror.and_then(|place| self.places.get(&place));
            let Some(mirror) = index.and_then(|index| self.mirrors.get_mut(*index)) else { continue };
            if mirror.problem.as_ref().is_none_or(|worst| note.severity < worst.severity) {
                mirror.problem = Some(note.clone());
            }
        }
        ObjectReport {
            diagnostics: self.notes.into_iter().collect(),
            mirrors: self.mirrors,
            destinations: self.destinations,
        }
    }
}

impl Extend<Diagnostic> for Report {
    fn extend<I: IntoIterator<Item = Diagnostic>>(&mut self, notes: I) {
        self.notes.extend(notes);
    }
}
