//! Judging copies: of which rules, and by what names both sides of it know each other (docs/verdicts.md).

use serde::Serialize;

/// That the copies of a rule's requests are judged beside their primaries.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize)]
pub struct Verdicts {
    /// How many requests a second are judged, over all proxies.
    pub rate: u32,
}

impl Verdicts {
    /// The most that one rule may ask for: what lies above says nothing more, and each request is copied once more.
    pub const MAX_RATE: u32 = 1000;
}

impl Default for Verdicts {
    fn default() -> Self {
        Verdicts { rate: 20 }
    }
}

/// Ends the name of a route that takes judged requests, and what Envoy counts them by.
pub const JUDGED: &str = "#judge";
/// The key of the runtime without which no line of a request is written.
pub const JUDGE_ON: &str = "umbra/judge-on";
/// The header of a copy that says which mirror made it.
pub const SHADOW: &str = "x-shadow";
/// The header of a judged copy that says of which request it is: when that began, to the microsecond.
pub const SHADOW_OF: &str = "x-shadow-of";
