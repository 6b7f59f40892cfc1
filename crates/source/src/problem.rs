//! What is said about files and folders, in one place. `docs/diagnostics.md` lists the codes.

use umbra_ir::{Code, Diagnostic, ObjectId, Severity};

use crate::Place;

/// The line on which an object's document names it.
fn line(place: &Place) -> Option<u32> {
    place.locate("metadata.name").or_else(|| place.locate("")).map(|(line, _)| line)
}

pub(crate) fn unreadable(path: &str, why: &str) -> Diagnostic {
    Diagnostic::of_file(
        Code::FileUnreadable,
        path,
        format!("cannot be read ({why}); objects read from it before stay, nothing new is taken"),
    )
}

pub(crate) fn not_utf8(path: &str, at: usize) -> Diagnostic {
    Diagnostic::of_file(
        Code::FileNotUtf8,
        path,
        format!("is not UTF-8 text (byte {at}); nothing is taken from it"),
    )
}

pub(crate) fn too_large(path: &str, limit: u64) -> Diagnostic {
    Diagnostic::of_file(
        Code::FileTooLarge,
        path,
        format!("is larger than {} MiB; nothing is taken from it: split it", limit >> 20),
    )
}

pub(crate) fn not_a_file(path: &str) -> Diagnostic {
    Diagnostic::of_file(Code::FileUnreadable, path, "is no regular file; it is passed over".to_owned())
        .with_severity(Severity::Warning)
}

pub(crate) fn folder_unreadable(path: &str, why: &str) -> Diagnostic {
    Diagnostic::of_file(
        Code::FolderUnreadable,
        path,
        format!("cannot be listed ({why}); objects read from files in it stay as they are"),
    )
}

pub(crate) fn folder_again(path: &str, first: &str) -> Diagnostic {
    Diagnostic::of_file(
        Code::FolderTwice,
        path,
        format!("leads to the same folder as {first}; it is read only there"),
    )
}

pub(crate) fn not_followed(path: &str, why: &str) -> Diagnostic {
    let message = format!("is not entered: {why}; objects read from files in it stay as they are");
    Diagnostic::of_file(Code::FolderNotEntered, path, message)
}

pub(crate) fn doubted(path: &str, lost: usize, all: usize, seconds: u64) -> Diagnostic {
    let message = format!(
        "{lost} of its {all} objects are not in it any more, which looks like an unfinished write: they stay until it has been so for {seconds} seconds"
    );
    Diagnostic::of_file(Code::KeptLastGood, path, message)
}

pub(crate) fn emptied(path: &str) -> Diagnostic {
    Diagnostic::of_file(
        Code::FileEmpty,
        path,
        "has become empty (comments are nothing), which looks like an unfinished write; delete the file to take its objects away"
            .to_owned(),
    )
}

pub(crate) fn kept_file(path: &str, objects: usize) -> Diagnostic {
    let message = format!("its {objects} objects stay in force as they were last read well");
    Diagnostic::of_file(Code::KeptLastGood, path, message)
}

pub(crate) fn kept_object(path: &str, id: &ObjectId) -> Diagnostic {
    let message = "this version cannot be understood; its last good version stays in force";
    Diagnostic { file: Some(path.into()), ..Diagnostic::new(Code::KeptLastGood, id, "", message) }
}

pub(crate) fn twice_in_file(path: &str, id: &ObjectId, place: &Place, first: &Place) -> Diagnostic {
    let message = match line(first) {
        Some(first) => format!("the same object stands in line {first} already; this one is left out"),
        None => "the same object stands in this file already; this one is left out".to_owned(),
    };
    duplicate(path, id, place, message)
}

pub(crate) fn twice_in_folder(path: &str, id: &ObjectId, place: &Place, winner: &str) -> Diagnostic {
    duplicate(
        path,
        id,
        place,
        format!("the same object stands in {winner}, which wins; this one is left out"),
    )
}

fn duplicate(path: &str, id: &ObjectId, place: &Place, message: String) -> Diagnostic {
    let diagnostic = Diagnostic::new(Code::DuplicateObject, id, "", message);
    Diagnostic { file: Some(path.into()), line: line(place), ..diagnostic }
}
