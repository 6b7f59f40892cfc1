//! Diagnostics while they are collected, and how many of them are listed: what one object says multiplies as its parts do.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::{Code, Diagnostic, ObjectId, Severity};

/// The most diagnostics of one code about one object that are listed; of more, only the number. Nobody reads so many, and
/// each is some hundred bytes in several places.
pub const LISTED: usize = 100;

/// What is said, each thing once.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    listed: BTreeSet<Diagnostic>,
    sorts: BTreeMap<(Option<ObjectId>, Severity, Code), Sort>,
}

/// Those of one code about one object.
#[derive(Clone, Debug, Default)]
struct Sort {
    listed: usize,
    /// Prints of those that are not listed.
    more: HashSet<u64>,
}

impl Notes {
    /// Takes a diagnostic in; one that is there already counts once.
    pub fn insert(&mut self, note: Diagnostic) {
        let sort = self.sorts.entry((note.object.clone(), note.severity, note.code)).or_default();
        if sort.listed < LISTED {
            sort.listed += usize::from(self.listed.insert(note));
        } else if !self.listed.contains(&note) {
            let mut hasher = DefaultHasher::new();
            note.hash(&mut hasher);
            sort.more.insert(hasher.finish());
        }
    }

    /// Those that are listed, for who knows that somebody else says how many more there are.
    pub fn listed(self) -> BTreeSet<Diagnostic> {
        self.listed
    }

    /// All of them, sorted; of what is not listed, how much it is.
    pub fn finish(self) -> Vec<Diagnostic> {
        let Notes { mut listed, sorts } = self;
        for ((object, severity, code), sort) in sorts {
            if let (more @ 1.., Some(object)) = (sort.more.len(), object) {
                let message =
                    format!("{more} more of these are not listed; what is said of the others holds for them");
                listed.insert(Diagnostic::new(code, &object, "", message).with_severity(severity));
            }
        }
        listed.into_iter().collect()
    }
}

impl Extend<Diagnostic> for Notes {
    fn extend<I: IntoIterator<Item = Diagnostic>>(&mut self, notes: I) {
        notes.into_iter().for_each(|note| self.insert(note));
    }
}

impl FromIterator<Diagnostic> for Notes {
    fn from_iter<I: IntoIterator<Item = Diagnostic>>(notes: I) -> Self {
        let mut all = Notes::default();
        all.extend(notes);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    #[test]
    fn many_are_counted() {
        let note = |name: &str, code, nth: usize| {
            let id = ObjectId::new(Kind::Sidecar, "default", name);
            Diagnostic::new(code, &id, format!("spec.hosts[{nth}]"), "is not there")
        };
        let many =
            |name: &str, code, count| (0..count).map(move |nth| note(name, code, nth)).collect::<Vec<_>>();
        let all = [
            many("a", Code::HostNotFound, 150),
            many("a", Code::HostNotFound, 150),
            many("a", Code::HostConflict, 100),
            many("b", Code::HostNotFound, 1),
        ];
        let said = all.into_iter().flatten().collect::<Notes>().finish();
        assert_eq!(said.len(), 100 + 1 + 100 + 1);
        let rest: Vec<_> = said.iter().filter(|note| note.field.is_empty()).collect();
        let [rest] = rest[..] else { panic!("{rest:?}") };
        assert_eq!((rest.code, rest.severity), (Code::HostNotFound, Code::HostNotFound.facts().severity));
        assert!(rest.message.starts_with("50 more of these"), "{}", rest.message);
    }
}
