//! Parts of a CORS policy. Each that cannot be built is left out: that never lets more origins in.

use umbra_ir::Code;

use super::Problem;
use super::headers::{check_header_name, quote};
use super::regex::check_regex;
use crate::types::http_action::CorsPolicy;
use crate::types::http_route::StringMatch;
use crate::types::scalar::Duration;

/// The origins that count: `allowOrigins`, else the old `allowOrigin`, each of which is the whole origin.
pub fn allowed_origins(policy: &CorsPolicy) -> Vec<StringMatch> {
    if policy.allow_origins.is_empty() {
        return policy.allow_origin.iter().cloned().map(StringMatch::Exact).collect();
    }
    policy.allow_origins.clone()
}

/// An origin that a browser can name: a text, the beginning of one, or a pattern for it.
pub fn check_origin(origin: &StringMatch) -> Result<(), Problem> {
    match origin {
        StringMatch::Exact(text) | StringMatch::Prefix(text) | StringMatch::Regex(text)
            if text.is_empty() =>
        {
            Err(Problem::new(Code::InvalidCors, "an empty text is no origin"))
        }
        StringMatch::Present => Err(Problem::new(Code::InvalidCors, "no exact, prefix or regex")),
        StringMatch::Regex(pattern) => check_regex(pattern).map(drop),
        StringMatch::Exact(_) | StringMatch::Prefix(_) => Ok(()),
    }
}

/// A method or the name of a header, or `*` for all.
pub fn check_cors_word(word: &str) -> Result<(), Problem> {
    // What is a header's name by its letters is a method's, too.
    check_header_name(word)
        .map_err(|_| Problem::new(Code::InvalidCors, format!("{} is neither a name nor *", quote(word))))
}

/// How long a preflight's answer may be remembered, which browsers are told in whole seconds.
pub fn check_max_age(age: Duration) -> Result<(), Problem> {
    if age.nanos() < 0 {
        return Err(Problem::new(Code::InvalidCors, format!("{age} is negative")));
    }
    Ok(())
}

/// The seconds that browsers are told; a fraction is cut off, as in Istio. `None`: not said.
pub fn max_age_seconds(policy: &CorsPolicy) -> Option<u64> {
    let age = policy.max_age.filter(|age| check_max_age(*age).is_ok())?;
    u64::try_from(age.nanos() / 1_000_000_000).ok()
}
