//! How values are spread, in steps of a twelfth: for medians, not for charts.

/// Steps to each doubling.
const STEPS: f64 = 8.0;
/// Thirty-two doublings.
const PLACES: usize = 256;

/// Counts of positive values, relative to the smallest that is told apart. Adding two costs as much as one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Histogram {
    counts: Box<[u32; PLACES]>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { counts: Box::new([0; PLACES]), total: 0 }
    }
}

impl Histogram {
    /// Counts a value in multiples of the smallest that is told apart; below it counts as that.
    pub fn add(&mut self, value: f64) {
        let place = (value.max(1.0).log2() * STEPS) as usize;
        if let Some(count) = self.counts.get_mut(place.min(PLACES - 1)) {
            *count = count.saturating_add(1);
            self.total += 1;
        }
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.total
    }

    /// Adds another one's.
    pub fn merge(&mut self, other: &Self) {
        for (to, more) in self.counts.iter_mut().zip(other.counts.iter()) {
            *to = to.saturating_add(*more);
        }
        self.total = self.total.saturating_add(other.total);
    }

    /// How many there are in steps of so many of the finest ones (which an eighth of a doubling are), with the upper end of each step: those
    /// in which there is something.
    pub fn steps(&self, finest: usize) -> impl Iterator<Item = (f64, u64)> {
        let finest = finest.max(1);
        let steps = self.counts.chunks(finest).enumerate().map(move |(nth, counts)| {
            let end = ((nth + 1) * finest) as f64 / STEPS;
            (end.exp2(), counts.iter().map(|count| u64::from(*count)).sum::<u64>())
        });
        steps.filter(|(_, count)| *count > 0)
    }

    /// The value below which that part of all lies, as near as steps tell; `None`: nothing was counted.
    pub fn quantile(&self, part: f64) -> Option<f64> {
        let wanted = part * self.total as f64;
        let mut below = 0.0;
        for (place, count) in self.counts.iter().enumerate() {
            let count = f64::from(*count);
            if count > 0.0 && below + count >= wanted {
                let inside = (wanted - below) / count;
                return Some(((place as f64 + inside) / STEPS).exp2());
            }
            below += count;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_wider_steps() {
        let mut histogram = Histogram::default();
        [0.0, 1.5, 2.0, 3.9, 100.0].into_iter().for_each(|value| histogram.add(value));
        let steps = |finest| histogram.steps(finest).collect::<Vec<_>>();
        assert_eq!(steps(8), [(2.0, 2), (4.0, 2), (128.0, 1)]);
        assert_eq!(steps(4).iter().map(|(_, count)| count).sum::<u64>(), 5);
        assert!(steps(1).iter().all(|(end, _)| *end > 1.0));
    }

    #[test]
    fn medians() {
        for (values, want) in [
            (vec![], None),
            (vec![0.0; 3], Some(1.0)),
            (vec![100.0; 9], Some(100.0)),
            (vec![10.0, 100.0, 1000.0], Some(100.0)),
            (vec![1e30; 5], Some(4.2e9)),
        ] {
            let mut histogram = Histogram::default();
            values.iter().for_each(|value| histogram.add(*value));
            let mut twice = histogram.clone();
            twice.merge(&histogram);
            assert_eq!(twice.count(), 2 * values.len() as u64);
            for got in [histogram.quantile(0.5), twice.quantile(0.5)] {
                let near = match (got, want) {
                    (Some(got), Some(want)) => (got / want).log2().abs() <= 1.0 / STEPS,
                    (got, want) => got.is_none() && want.is_none(),
                };
                assert!(near, "{values:?}: {got:?}, not {want:?}");
            }
        }
    }
}
