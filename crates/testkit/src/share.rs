//! The sums that tell luck from a wrong share.

use std::ops::RangeInclusive;

/// How likely it is that a count is below its range by luck alone, and as likely that it is above. A whole run of the tests
/// looks at some fifty counts.
const LUCK: f64 = 1e-9;

/// How many of `sent` requests may be copied when each is copied with probability `share`: by luck alone, fewer than one
/// count in five hundred million falls outside. A share of 0 or 1 leaves no room.
pub fn expected(sent: usize, share: f64) -> RangeInclusive<usize> {
    let share = share.clamp(0.0, 1.0);
    least(sent, share)..=sent - least(sent, 1.0 - share)
}

/// The smallest number that the count does not fall short of by luck: the sum of the binomial distribution up to it.
fn least(sent: usize, share: f64) -> usize {
    if share <= 0.0 {
        return 0;
    }
    if share >= 1.0 {
        return sent;
    }
    // Logarithms: of many requests, none at all is less likely than the smallest number there is.
    let (mut ln, odds) = (sent as f64 * (-share).ln_1p(), share.ln() - (-share).ln_1p());
    let mut sum = 0.0;
    for count in 0..sent {
        sum += ln.exp();
        if sum >= LUCK {
            return count;
        }
        ln += ((sent - count) as f64 / (count + 1) as f64).ln() + odds;
    }
    sent
}

#[cfg(test)]
mod tests {
    use super::expected;

    #[test]
    fn bounds() {
        for (sent, share, low, high) in [
            (1000, 0.0, 0, 0),
            (1000, 1.0, 1000, 1000),
            (1000, 0.25, 171, 335),
            (10_000, 0.5, 4700, 5300),
            (10, 0.5, 0, 10),
            // One in a million of a thousand requests: none, but one run in a thousand sees one.
            (1000, 0.000_001, 0, 2),
            (1000, 0.999_999, 998, 1000),
            (0, 0.5, 0, 0),
        ] {
            assert_eq!(expected(sent, share), low..=high, "{sent} at {share}");
        }
    }
}
