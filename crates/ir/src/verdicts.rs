//! Judging copies: of which rules, and by what names both sides of it know each other (docs/verdicts.md).

use serde::Serialize;

/// That the copies of a rule's requests are judged beside their primaries.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize)]
pub struct Verdicts {
    /// How many requests a second are judged, over all proxies.
    pub rate: u32,
    /// The bodies of their answers are compared, too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub contents: bool,
    /// Pairs that can be looked at show the query of their request.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub queries: bool,
    /// Fields that differ show values, where bodies are compared.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub values: bool,
}

/// What a proxy can tell of judged requests, by its bootstrap.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default, Serialize)]
pub enum Judges {
    /// Nothing.
    #[default]
    Nothing,
    /// umbra how they ended, by lines.
    Lines,
    /// That, and a judge what was answered.
    Bodies,
}

impl Judges {
    /// Whether it tells anything.
    pub fn any(self) -> bool {
        self != Judges::Nothing
    }

    /// Whether a judge sees what was answered.
    pub fn sees_bodies(self) -> bool {
        self == Judges::Bodies
    }
}

impl Verdicts {
    /// The most that one rule may ask for: what lies above says nothing more, and each request is copied once more.
    pub const MAX_RATE: u32 = 1000;

    /// What mirrors of one rule ask for together: a request is judged for all of them.
    #[must_use]
    pub fn most(self, other: Verdicts) -> Verdicts {
        Verdicts {
            rate: self.rate.max(other.rate),
            contents: self.contents || other.contents,
            queries: self.queries || other.queries,
            values: self.values || other.values,
        }
    }
}

impl Default for Verdicts {
    fn default() -> Self {
        Verdicts { rate: 20, contents: false, queries: false, values: false }
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
