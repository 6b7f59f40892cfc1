//! The sums that tell luck from a wrong share.

use std::ops::RangeInclusive;

/// How many of `sent` requests may be copied when each is copied with probability `share`: the expected number
/// and five standard deviations to either side (by luck alone, fewer than one run in a million falls outside).
/// A share of 0 or 1 leaves no room.
pub fn expected(sent: usize, share: f64) -> RangeInclusive<usize> {
    let (n, p) = (sent as f64, share.clamp(0.0, 1.0));
    let (mean, spread) = (n * p, 5.0 * (n * p * (1.0 - p)).sqrt());
    let low = (mean - spread).ceil().max(0.0);
    let high = (mean + spread).floor().min(n);
    low as usize..=high as usize
}

#[cfg(test)]
mod tests {
    use super::expected;

    #[test]
    fn bounds() {
        for (sent, share, low, high) in [
            (1000, 0.0, 0, 0),
            (1000, 1.0, 1000, 1000),
            (1000, 0.25, 182, 318),
            (10_000, 0.5, 4750, 5250),
            (10, 0.5, 0, 10),
            (0, 0.5, 0, 0),
        ] {
            assert_eq!(expected(sent, share), low..=high, "{sent} at {share}");
        }
    }
}
