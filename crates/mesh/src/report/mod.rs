//! What an object's author should know that only shows beside other objects. Computed for every object, also with no
//! proxy connected.

mod hosts;
mod ownership;
mod ports;
mod targets;

use std::collections::BTreeSet;

use umbra_ir::{Diagnostic, MirrorState, ObjectReport, Severity};

pub use hosts::report_rules;
pub use ownership::report_foreign_rules;
pub use ports::report_ports;

/// What is to be said about one object, while it is collected.
#[derive(Default)]
pub struct Report {
    notes: BTreeSet<Diagnostic>,
    mirrors: Vec<MirrorState>,
}

impl Report {
    /// With the mirrors as they are written, before any is looked up.
    pub fn new(mirrors: Vec<MirrorState>) -> Self {
        Report { notes: BTreeSet::new(), mirrors }
    }

    /// Takes a diagnostic in; one that is there already counts once.
    pub fn insert(&mut self, diagnostic: Diagnostic) {
        self.notes.insert(diagnostic);
    }

    /// All that was found, each mirror with the worst that is said about it.
    pub fn finish(mut self) -> ObjectReport {
        for mirror in &mut self.mirrors {
            let about = self.notes.iter().filter(|note| note.severity != Severity::Info);
            let about = about.filter(|note| note.mirror == Some(mirror.place));
            mirror.problem = about.min_by_key(|note| note.severity).cloned();
        }
        ObjectReport { diagnostics: self.notes.into_iter().collect(), mirrors: self.mirrors }
    }
}

impl Extend<Diagnostic> for Report {
    fn extend<I: IntoIterator<Item = Diagnostic>>(&mut self, notes: I) {
        self.notes.extend(notes);
    }
}
