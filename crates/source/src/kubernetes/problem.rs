//! What is said about objects of the cluster. `docs/diagnostics.md` lists the codes.

use umbra_ir::{Code, Diagnostic, ObjectId};

use crate::Place;

/// An object of which the reader of JSON cannot make anything.
pub(crate) fn unreadable(id: &ObjectId, why: &str) -> Diagnostic {
    Diagnostic::new(Code::WrongType, id, "", format!("the object cannot be read: {why}"))
}

/// A version that does not fit its type, of an object that was understood before.
pub(crate) fn kept(id: &ObjectId) -> Diagnostic {
    let message = "this version cannot be understood; its last good version stays in force";
    Diagnostic::new(Code::KeptLastGood, id, "", message)
}

/// The same object as a file and in the cluster.
pub(crate) fn also_in_cluster(id: &ObjectId, place: &Place) -> Diagnostic {
    let message = "the cluster has this object too; the file wins, the cluster's is left out";
    let line = place.locate("metadata.name").or_else(|| place.locate("")).map(|(line, _)| line);
    Diagnostic {
        file: Some(place.file.clone()),
        line,
        ..Diagnostic::new(Code::DuplicateObject, id, "", message)
    }
}
