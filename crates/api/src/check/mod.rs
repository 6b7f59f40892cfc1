//! Verdicts on single values, shared by validation (which says what is wrong) and translation (which leaves
//! it out), so that the two cannot disagree.

pub mod regex;

use umbra_ir::Severity;

/// What is wrong with a value, without the place: the caller knows that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// See [`crate::CODES`].
    pub code: &'static str,
    /// What is wrong; what happens instead is for the caller to add.
    pub message: String,
}

impl Problem {
    /// A problem that makes the value unusable.
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Problem { severity: Severity::Error, code, message: message.into() }
    }
}
