//! Weights of destinations, rescaled where Envoy would otherwise mix them up with the share of a mirror.

/// The total of rescaled weights, a prime.
///
/// Envoy draws one number per request, takes it modulo the total of the weights to choose the destination and
/// modulo a million to decide on each copy. With a total that shares a factor with a million the two choices
/// depend on each other: at 50/50 every copy of a 10 % mirror would be of a request to the first destination.
pub(crate) const INDEPENDENT_TOTAL: u32 = 999_983;

/// The weights in proportion, with the total [`INDEPENDENT_TOTAL`], by largest remainder; of equal remainders the
/// first. What is not zero stays at least 1.
///
/// The share of each is off by at most one part in a million, unless there are shares below that: what these
/// are raised by is taken from the others. Without any weight (`istio` gives none such) all count the same.
pub(crate) fn rescale(weights: &[u32]) -> Vec<u32> {
    let sum: u64 = weights.iter().copied().map(u64::from).sum();
    if sum == 0 {
        return vec![1; weights.len()];
    }
    let total = u64::from(INDEPENDENT_TOTAL);
    let mut scaled: Vec<u64> = Vec::with_capacity(weights.len());
    let mut remainders: Vec<(u64, usize)> = Vec::with_capacity(weights.len());
    for (index, &weight) in weights.iter().enumerate() {
        let product = u64::from(weight) * total;
        let whole = product / sum;
        if whole > 0 {
            remainders.push((product % sum, index));
        }
        scaled.push(if weight > 0 { whole.max(1) } else { 0 });
    }
    remainders.sort_by_key(|&(remainder, index)| (std::cmp::Reverse(remainder), index));
    let used: u64 = scaled.iter().sum();
    for &(_, index) in remainders.iter().take(total.saturating_sub(used) as usize) {
        scaled[index] += 1;
    }
    // Only where several tiny ones were raised: the largest at each time gives it back.
    for _ in total..used {
        if let Some(largest) = scaled.iter_mut().max() {
            *largest -= 1;
        }
    }
    scaled.into_iter().map(|weight| weight as u32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_splits() {
        for (weights, want) in [
            (&[33, 67][..], &[329_994, 669_989][..]),
            (&[50, 50], &[499_992, 499_991]),
            (&[333_333, 666_667], &[333_327, 666_656]),
            (&[1, 1, 1], &[333_328, 333_328, 333_327]),
            (&[1, u32::MAX], &[1, 999_982]),
            (&[0, 7], &[0, 999_983]),
            (&[0, 0], &[1, 1]),
            (&[], &[]),
        ] {
            assert_eq!(rescale(weights), want, "{weights:?}");
        }
    }

    proptest! {
        #[test]
        fn shares_stay_what_they_are(weights in prop::collection::vec(0u32..=1_000_000, 1..20)) {
            prop_assume!(weights.iter().any(|w| *w > 0));
            let sum: f64 = weights.iter().map(|w| f64::from(*w)).sum();
            let scaled = rescale(&weights);
            prop_assert_eq!(scaled.iter().sum::<u32>(), INDEPENDENT_TOTAL);
            let tiny = weights.iter().filter(|w| **w > 0 && f64::from(**w) / sum < 1e-6).count();
            let unit = 1.0 / f64::from(INDEPENDENT_TOTAL);
            for (before, after) in weights.iter().zip(&scaled) {
                prop_assert_eq!(*before == 0, *after == 0);
                let error = (f64::from(*after) * unit - f64::from(*before) / sum).abs();
                prop_assert!(error <= unit * (1.0 + tiny as f64), "{} -> {}: {}", before, after, error);
            }
        }

        #[test]
        fn any_weights_give_the_total(weights in prop::collection::vec(any::<u32>(), 1..50)) {
            prop_assume!(weights.iter().any(|w| *w > 0));
            prop_assert_eq!(rescale(&weights).iter().sum::<u32>(), INDEPENDENT_TOTAL);
        }
    }
}
