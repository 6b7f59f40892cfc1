//! How many lines one place in the code may log: a client that is refused a thousand times a second must neither fill a
//! disk nor hide what else happens.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use tracing::callsite::Identifier;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter};

/// Lines at once: more than any one event in the life of a mesh has to say.
const BURST: u32 = 40;
/// Lines a second after that.
const RATE: u32 = 10;

/// Lets so many lines of each place through. Places that only speak when asked to (debug, trace) are not counted.
pub(super) struct Quota {
    since: Instant,
    places: Mutex<HashMap<Identifier, Bucket>>,
    left_out: Counter,
}

impl Quota {
    /// What it keeps back is counted.
    pub(super) fn new(left_out: Counter) -> Self {
        Quota { since: Instant::now(), places: Mutex::default(), left_out }
    }
}

impl<S: Subscriber> Filter<S> for Quota {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        if *event.metadata().level() > Level::INFO {
            return true;
        }
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let allowed = places.entry(event.metadata().callsite()).or_default().take(self.since.elapsed());
        if !allowed {
            self.left_out.inc();
        }
        allowed
    }
}

/// A bucket of lines: full at first, filled again with time.
#[derive(Debug)]
struct Bucket {
    lines: f64,
    at: Duration,
}

impl Default for Bucket {
    fn default() -> Self {
        Bucket { lines: f64::from(BURST), at: Duration::ZERO }
    }
}

impl Bucket {
    /// Takes a line out of it, if there is one. Time is the duration since any fixed instant.
    fn take(&mut self, now: Duration) -> bool {
        let gained = now.saturating_sub(self.at).as_secs_f64() * f64::from(RATE);
        self.lines = (self.lines + gained).min(f64::from(BURST));
        self.at = now;
        if self.lines < 1.0 {
            return false;
        }
        self.lines -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of `lines` at each moment get through.
    fn check(moments: &[(u64, u32)], want: &[u32]) {
        let mut bucket = Bucket::default();
        let through = |(millis, lines): &(u64, u32)| {
            (0..*lines).filter(|_| bucket.take(Duration::from_millis(*millis))).count() as u32
        };
        assert_eq!(moments.iter().map(through).collect::<Vec<_>>(), want, "{moments:?}");
    }

    #[test]
    fn a_burst_and_then_a_trickle() {
        check(&[(0, 3), (1, 4)], &[3, 4]);
        check(&[(0, 1000)], &[BURST]);
        check(&[(0, 1000), (1000, 1000), (1500, 1000)], &[BURST, RATE, RATE / 2]);
        check(&[(0, 1000), (3_600_000, 1000)], &[BURST, BURST]);
    }

    #[test]
    fn each_place_has_its_own() {
        use tracing_subscriber::layer::{Layer, SubscriberExt};
        let left_out = Counter::default();
        let lines = tracing_subscriber::fmt::layer().with_writer(std::io::sink);
        let quota = lines.with_filter(Quota::new(left_out.clone()));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(quota), || {
            for _ in 0..BURST {
                tracing::warn!("one");
                tracing::warn!("another");
            }
            assert_eq!(left_out.get(), 0);
            for _ in 0..100 {
                tracing::warn!("a third");
                tracing::debug!("asked for");
            }
        });
        let most = u64::from(100 - BURST);
        assert!((1..=most).contains(&left_out.get()), "{}", left_out.get());
    }
}
