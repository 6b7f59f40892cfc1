//! Numbers and times where 0 means "not set", as in Istio.

/// 0 and negative numbers mean "not set".
pub(crate) fn positive(number: i32) -> Option<u32> {
    u32::try_from(number).ok().filter(|n| *n > 0)
}

/// A time limit; what is none counts as not set.
pub(crate) fn duration(written: Option<umbra_api::Duration>) -> Option<std::time::Duration> {
    written.and_then(|d| d.to_std()).filter(|d| !d.is_zero())
}
