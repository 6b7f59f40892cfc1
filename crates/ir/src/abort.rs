//! When copying stops by itself: the limits of a mirror, and which of them was crossed.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// The limits of one mirror, each within a time and from a least number of requests or copies on; `None`: no such limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct AbortLimits {
    /// What part of the target's answers to copies may be 5xx.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow_errors: Option<AbortLimit>,
    /// What part of the copies may get no whole answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copies_lost: Option<AbortLimit>,
    /// By how much, in parts of all answers, the 5xx of the rule's own requests may be more than without copies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub primary_errors: Option<AbortLimit>,
    /// By what part of it their mean time may be longer than without copies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub primary_latency: Option<AbortLimit>,
    /// The verdict must not be that the target answers otherwise than the primary.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub different: bool,
}

/// One of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct AbortLimit {
    /// In millionths.
    pub most: u32,
    /// How far it is looked back, at most.
    pub window: Duration,
    /// Fewer than this say nothing.
    pub sample: u32,
}

impl AbortLimit {
    /// How far it is looked back where nothing is said.
    pub const WINDOW: Duration = Duration::from_secs(30);
    /// The least number where nothing is said.
    pub const SAMPLE: u32 = 100;
    /// The shortest and the longest window: proxies tell every five seconds.
    pub const WINDOWS: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(600));
}

impl fmt::Display for AbortLimit {
    /// `5% in 30s of 100`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = f64::from(self.most) / 10_000.0;
        write!(f, "{percent}% in {}s of {}", self.window.as_secs(), self.sample)
    }
}

/// Which limit was crossed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum AbortReason {
    /// [`AbortLimits::shadow_errors`].
    ShadowErrors,
    /// [`AbortLimits::copies_lost`].
    CopiesLost,
    /// [`AbortLimits::primary_errors`].
    PrimaryErrors,
    /// [`AbortLimits::primary_latency`].
    PrimaryLatency,
    /// [`AbortLimits::different`].
    Verdict,
}

impl AbortReason {
    /// Every one, in the order in which they are judged.
    pub const ALL: [AbortReason; 5] = [
        AbortReason::ShadowErrors,
        AbortReason::CopiesLost,
        AbortReason::PrimaryErrors,
        AbortReason::PrimaryLatency,
        AbortReason::Verdict,
    ];

    /// The name of the limit, as people write it.
    pub const fn limit_name(self) -> &'static str {
        match self {
            AbortReason::ShadowErrors => "shadowErrors",
            AbortReason::CopiesLost => "copiesLost",
            AbortReason::PrimaryErrors => "primaryErrors",
            AbortReason::PrimaryLatency => "primaryLatency",
            AbortReason::Verdict => "verdict",
        }
    }
}

impl AbortLimits {
    /// The limit of this name.
    pub fn get(&self, reason: AbortReason) -> Option<AbortLimit> {
        match reason {
            AbortReason::ShadowErrors => self.shadow_errors,
            AbortReason::CopiesLost => self.copies_lost,
            AbortReason::PrimaryErrors => self.primary_errors,
            AbortReason::PrimaryLatency => self.primary_latency,
            AbortReason::Verdict => None,
        }
    }

    /// Sets the limit of this name.
    pub fn set(&mut self, reason: AbortReason, limit: AbortLimit) {
        let to = match reason {
            AbortReason::ShadowErrors => &mut self.shadow_errors,
            AbortReason::CopiesLost => &mut self.copies_lost,
            AbortReason::PrimaryErrors => &mut self.primary_errors,
            AbortReason::PrimaryLatency => &mut self.primary_latency,
            // It has no figures.
            AbortReason::Verdict => return,
        };
        *to = Some(limit);
    }

    /// Those that there are, with figures.
    pub fn each(&self) -> impl Iterator<Item = (AbortReason, AbortLimit)> {
        AbortReason::ALL.into_iter().filter_map(|reason| Some((reason, self.get(reason)?)))
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        !self.different && self.each().next().is_none()
    }

    /// Each as people read it.
    pub fn words(&self) -> Vec<(AbortReason, String)> {
        let each = self.each().map(|(reason, limit)| (reason, format!("{} {limit}", reason.limit_name())));
        let verdict = self.different.then(|| (AbortReason::Verdict, "verdict different".to_owned()));
        each.chain(verdict).collect()
    }
}

/// That a mirror was stopped by its limits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Aborted {
    /// Which limit was crossed.
    pub reason: AbortReason,
    /// The figures that decided, and when.
    pub words: String,
}
