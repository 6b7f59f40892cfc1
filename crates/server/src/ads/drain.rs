//! How streams end when the process does: spread over a window, so that the other replicas do not get everybody at once.
//! Connections are told at the beginning (GOAWAY), and streams go on being served until it is their turn.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::proxies::Proxies;

/// The window of so many streams is no longer than this for each: a few are no herd, and four a second are none for anybody.
const FOR_EACH: Duration = Duration::from_millis(250);

/// The end of all streams. Clones are the same.
#[derive(Clone, Debug)]
pub struct Drain {
    shutdown: CancellationToken,
    most: Duration,
    proxies: Arc<Proxies>,
    window: Arc<OnceLock<Window>>,
    /// How many have asked for their turn since it began.
    turns: Arc<AtomicU32>,
}

/// When streams end: each has a part of the time to itself, so that as many end in each second as in any other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Window {
    time: Duration,
    streams: u32,
}

impl Window {
    /// When the `nth` of them ends, at random (from 0 to 1) within its part.
    fn turn(self, nth: u32, random: f64) -> Duration {
        let part = self.time / self.streams.max(1);
        // Whoever came meanwhile has a part somewhere.
        part * (nth % self.streams.max(1)) + part.mul_f64(random)
    }
}

impl Drain {
    /// Begins when `shutdown` is cancelled, and takes no longer than `most`.
    pub fn new(shutdown: CancellationToken, most: Duration, proxies: Arc<Proxies>) -> Self {
        Drain { shutdown, most, proxies, window: Arc::default(), turns: Arc::default() }
    }

    /// How long it takes. It is decided when it begins.
    pub fn window(&self) -> Duration {
        self.begin().time
    }

    fn begin(&self) -> Window {
        *self.window.get_or_init(|| {
            let streams = u32::try_from(self.proxies.count()).unwrap_or(u32::MAX);
            Window { time: self.most.min(FOR_EACH.saturating_mul(streams)), streams }
        })
    }

    /// Everybody ends at once, if it has not begun.
    pub fn hurry(&self) {
        let _ = self.window.set(Window { time: Duration::ZERO, streams: 0 });
    }

    /// Waits until it is a stream's turn to end.
    pub(super) async fn turn(&self) {
        self.shutdown.cancelled().await;
        let nth = self.turns.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(self.begin().turn(nth, fastrand::f64())).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    /// Of so many, in no second more than this.
    #[test]
    fn no_more_than_a_tenth_ends_in_a_second() {
        for (streams, most) in [(1500_u32, 150), (200, 20), (100, 10), (40, 5)] {
            let time = Duration::from_secs(20).min(FOR_EACH * streams);
            let turns: Vec<Duration> =
                (0..streams).map(|nth| Window { time, streams }.turn(nth, fastrand::f64())).collect();
            assert!(turns.iter().all(|turn| *turn <= time));
            let within = |from: &Duration| {
                turns.iter().filter(|turn| (*from..*from + Duration::from_secs(1)).contains(*turn)).count()
            };
            let found = turns.iter().map(within).max();
            assert!(found.is_some_and(|found| found <= most), "{streams}: {found:?}");
        }
    }

    #[tokio::test]
    async fn nobody_is_waited_for_where_there_is_nobody() {
        let shutdown = CancellationToken::new();
        let proxies = Proxies::new(Arc::new(Metrics::default()));
        let drain = Drain::new(shutdown.clone(), Duration::from_secs(20), proxies);
        assert!(futures::poll!(Box::pin(drain.turn())).is_pending());
        shutdown.cancel();
        drain.turn().await;
        assert_eq!(drain.window(), Duration::ZERO);
    }
}
