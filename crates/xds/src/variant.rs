//! The two forms of the protocol.

/// Which of the two ADS methods the stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// State of the world, `StreamAggregatedResources`.
    Sotw,
    /// Incremental, `DeltaAggregatedResources`.
    Delta,
}
