//! How much is enough.

use std::time::Duration;

/// From when on it counts that a shadow differs.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct JudgeLimits {
    /// The least number of pairs.
    pub pairs: u64,
    /// The probability of being wrong that is put up with, over all aspects and however often one looks.
    pub p: f64,
    /// The part of pairs that may differ more than the control does.
    pub effect: f64,
    /// The part of what should have been compared that must have been, for the rest to be like it.
    pub coverage: f64,
    /// By what part a copy may take longer.
    pub latency: f64,
    /// And by what time, whatever the part: less is noise of the machine's.
    pub latency_floor: Duration,
    /// A copy that takes this many times as long,
    pub stall: f64,
    /// and so much more, stalls.
    pub stall_floor: Duration,
}

impl Default for JudgeLimits {
    fn default() -> Self {
        JudgeLimits {
            pairs: 200,
            p: 0.001,
            effect: 0.005,
            coverage: 0.9,
            latency: 0.1,
            latency_floor: Duration::from_millis(1),
            stall: 2.0,
            stall_floor: Duration::from_millis(100),
        }
    }
}
