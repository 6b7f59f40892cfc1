//! What holds a mirror's share below the one that its rule writes.

use std::time::Duration;

use serde::Serialize;

use crate::RuntimeFraction;

/// What holds a mirror's share down. Whoever decides how far says so beside the objects; until then nothing is copied.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Pacing {
    /// At most so many copies a second, of all proxies together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_per_second: Option<u32>,
    /// Step by step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ramp: Option<Ramp>,
}

/// Shares one after the other, then the one that is written.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Ramp {
    /// In order, each larger than the one before; none: it goes nowhere.
    pub steps: Vec<RampStep>,
    /// It goes on only where the verdict is that the target answers as the primary does.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub same: bool,
}

/// One of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct RampStep {
    /// The share.
    pub share: RuntimeFraction,
    /// At least for so long.
    pub time: Duration,
    /// And until so many of the rule's requests were counted meanwhile.
    pub requests: u32,
}

impl Ramp {
    /// The share at a step, counted from 0; behind the last there is no limit.
    pub fn share(&self, step: usize) -> RuntimeFraction {
        match self.steps.get(step) {
            Some(step) => step.share,
            None if self.steps.is_empty() => RuntimeFraction::NONE,
            None => RuntimeFraction::ALL,
        }
    }
}

/// How far a ramp has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RampState {
    /// The step that it is at; as many as there are: it is over.
    pub step: usize,
    /// Since when, as a Unix time in seconds.
    pub since: i64,
}
