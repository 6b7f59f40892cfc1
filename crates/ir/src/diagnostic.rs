//! What we tell the author of an object: broken input is a value, not an error.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::{Code, MirrorPlace, ObjectId};

/// How bad it is. `Error` makes `umbra validate` exit 1.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The object cannot mean what it says.
    Error,
    /// It works, but probably not as meant; or another object may still supply what is missing.
    Warning,
    /// Worth knowing.
    Info,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "info",
        })
    }
}

/// One thing that is wrong with, or worth knowing about, one object.
///
/// The message says what is wrong *and what happens instead*.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about.
    pub code: Code,
    /// Whose author should act. `None` when a document could not be read far enough to know.
    pub object: Option<ObjectId>,
    /// The path of the field, such as `spec.http[0].mirrorPercentage.value`; empty: the whole object.
    pub field: String,
    /// The mirror that it is about, if it is about one.
    #[serde(skip)]
    pub mirror: Option<MirrorPlace>,
    /// What is wrong and what happens instead.
    pub message: String,
    /// The file it stands in, when objects come from files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<Arc<str>>,
    /// The line in that file, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// The column in that line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
}

impl Diagnostic {
    /// A diagnostic about `field` of `object`, as bad as its code says.
    pub fn new(code: Code, object: &ObjectId, field: impl Into<String>, message: impl Into<String>) -> Self {
        Diagnostic {
            severity: code.facts().severity,
            code,
            object: Some(object.clone()),
            field: field.into(),
            mirror: None,
            message: message.into(),
            file: None,
            line: None,
            column: None,
        }
    }

    /// A diagnostic about a file, of no object.
    pub fn of_file(code: Code, file: impl Into<Arc<str>>, message: impl Into<String>) -> Self {
        Diagnostic {
            severity: code.facts().severity,
            code,
            object: None,
            field: String::new(),
            mirror: None,
            message: message.into(),
            file: Some(file.into()),
            line: None,
            column: None,
        }
    }

    /// A field that is understood and kept but has no effect yet.
    pub fn not_acted_on(object: &ObjectId, field: impl Into<String>, consequence: &str) -> Self {
        Self::new(Code::NotActedOn, object, field, format!("accepted, not acted on yet: {consequence}"))
    }

    /// The same, said about a mirror.
    pub fn about_mirror(self, place: MirrorPlace) -> Self {
        Diagnostic { mirror: Some(place), ..self }
    }

    /// The same, worse or less bad than its code usually is.
    pub fn with_severity(self, severity: Severity) -> Self {
        Diagnostic { severity, ..self }
    }
}

impl fmt::Display for Diagnostic {
    /// `file:line:column: error: VirtualService ns/name: field: message [Code]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}:")?;
            if let Some(line) = self.line {
                write!(f, "{line}:")?;
                if let Some(column) = self.column {
                    write!(f, "{column}:")?;
                }
            }
            f.write_str(" ")?;
        }
        write!(f, "{}: ", self.severity)?;
        if let Some(object) = &self.object {
            write!(f, "{object}: ")?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        write!(f, "{} [{}]", self.message, self.code)
    }
}
