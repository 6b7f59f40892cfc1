//! What is said about files and folders, in one place. `docs/diagnostics.md` lists the codes.

use std::sync::Arc;

use umbra_ir::{Diagnostic, ObjectId, Severity};

use crate::Place;

/// Every code of this crate with its meaning in one line, for the documentation.
pub const CODES: &[(&str, &str)] = &[
    (
        "FileUnreadable",
        "A file cannot be read, is no regular file, or a link leads nowhere; what it held before stays.",
    ),
    ("FileNotUtf8", "A file is not UTF-8 text; what it held before stays."),
    ("FileTooLarge", "A file is larger than 64 MiB; what it held before stays."),
    ("FolderUnreadable", "A folder cannot be listed; everything below it stays as it was."),
    ("FolderTwice", "Two paths lead to the same folder (a loop of links, for example); it is read once."),
    (
        "FileEmpty",
        "A file has become empty, which looks like an unfinished write; its objects stay until it is deleted.",
    ),
    (
        "KeptLastGood",
        "What stays in force instead of a version that cannot be understood, or is out of reach.",
    ),
    ("DuplicateObject", "The same object stands in two places; the message says which counts."),
];

fn about_file(severity: Severity, code: &'static str, path: &str, message: String) -> Diagnostic {
    Diagnostic {
        severity,
        code,
        object: None,
        field: String::new(),
        message,
        file: Some(Arc::from(path)),
        line: None,
        column: None,
    }
}

/// The line on which an object's document names it.
fn line(place: &Place) -> Option<u32> {
    place.locate("metadata.name").or_else(|| place.locate("")).map(|(line, _)| line)
}

pub(crate) fn unreadable(path: &str, why: &str) -> Diagnostic {
    about_file(
        Severity::Error,
        "FileUnreadable",
        path,
        format!("cannot be read ({why}); objects read from it before stay, nothing new is taken"),
    )
}

pub(crate) fn not_utf8(path: &str, at: usize) -> Diagnostic {
    about_file(
        Severity::Error,
        "FileNotUtf8",
        path,
        format!("is not UTF-8 text (byte {at}); nothing is taken from it"),
    )
}

pub(crate) fn too_large(path: &str, limit: u64) -> Diagnostic {
    about_file(
        Severity::Error,
        "FileTooLarge",
        path,
        format!("is larger than {} MiB; nothing is taken from it: split it", limit >> 20),
    )
}

pub(crate) fn not_a_file(path: &str) -> Diagnostic {
    about_file(Severity::Warning, "FileUnreadable", path, "is no regular file; it is passed over".to_owned())
}

pub(crate) fn folder_unreadable(path: &str, why: &str) -> Diagnostic {
    about_file(
        Severity::Error,
        "FolderUnreadable",
        path,
        format!("cannot be listed ({why}); objects read from files in it stay as they are"),
    )
}

pub(crate) fn folder_again(path: &str, first: &str) -> Diagnostic {
    about_file(
        Severity::Warning,
        "FolderTwice",
        path,
        format!("leads to the same folder as {first}; it is read only there"),
    )
}

pub(crate) fn emptied(path: &str) -> Diagnostic {
    about_file(
        Severity::Warning,
        "FileEmpty",
        path,
        "has become empty, which looks like an unfinished write; delete the file to take its objects away"
            .to_owned(),
    )
}

pub(crate) fn kept_file(path: &str, objects: usize) -> Diagnostic {
    let message = format!("its {objects} objects stay in force as they were last read well");
    about_file(Severity::Warning, "KeptLastGood", path, message)
}

pub(crate) fn kept_object(path: &str, id: &ObjectId) -> Diagnostic {
    let message = "this version cannot be understood; its last good version stays in force";
    Diagnostic { file: Some(path.into()), ..Diagnostic::warning("KeptLastGood", id, "", message) }
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
    let diagnostic = Diagnostic::warning("DuplicateObject", id, "", message);
    Diagnostic { file: Some(path.into()), line: line(place), ..diagnostic }
}
