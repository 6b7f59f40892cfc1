//! The sign test for somebody who looks again and again.

/// The probability of ever seeing, however often one looks, evidence as strong as `a` against `b` that two things which are
/// equally likely are not: a two-sided sign test (`Binomial(a + b, 1/2)`) that stays valid when it ends as soon as it says
/// something (a likelihood ratio, mixed over all probabilities alike; Robbins 1970, Howard et al. 2021).
///
/// A plain sign test of level 0.001 that is looked at every few seconds is wrong far more often than once in a thousand. This
/// one needs few more: 14 against 0 where that needs 11.
pub fn always_valid_p(a: u64, b: u64) -> f64 {
    let (a, b) = (a as f64, b as f64);
    // ∫ p^a (1-p)^b dp = B(a+1, b+1), against (1/2)^(a+b).
    let log_beta = libm::lgamma(a + 1.0) + libm::lgamma(b + 1.0) - libm::lgamma(a + b + 2.0);
    let log_ratio = log_beta + (a + b) * std::f64::consts::LN_2;
    (-log_ratio).exp().min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        for (a, b, want) in [
            (0, 0, 1.0),
            (1, 0, 1.0),
            (13, 0, 14.0 / 8192.0),
            (0, 13, 14.0 / 8192.0),
            (14, 0, 15.0 / 16384.0),
            (5, 5, 1.0),
            (1_000_000, 1_000_000, 1.0),
        ] {
            let got = always_valid_p(a, b);
            assert!((got - want).abs() < 1e-9, "{a} {b}: {got}");
        }
        assert!(always_valid_p(92, 39) < 0.001);
        assert!(always_valid_p(37, 49) > 0.5);
        assert_eq!(always_valid_p(1_000_000, 0), 0.0);
    }

    /// What it promises, played: of fair coins that are looked at after each of 5000 throws, no more than the level are ever said
    /// to be unfair, and most that fall on one side in three of five are.
    #[test]
    fn however_often_one_looks() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut ever = |chance: f64| {
            let (mut a, mut b) = (0, 0);
            (0..5000).any(|_| {
                *(if random.f64() < chance { &mut a } else { &mut b }) += 1;
                always_valid_p(a, b) < 0.05
            })
        };
        let fair = (0..300).filter(|_| ever(0.5)).count();
        let unfair = (0..100).filter(|_| ever(0.6)).count();
        assert!(fair <= 15, "{fair} of 300 fair ones");
        assert!(unfair == 100, "{unfair} of 100 unfair ones");
    }
}
