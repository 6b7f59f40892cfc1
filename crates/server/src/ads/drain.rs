//! How streams end when the process does: spread over a window, so that the other replicas do not get everybody at once.
//! Connections are told at the beginning (GOAWAY), and streams go on being served until it is their turn.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::proxies::Proxies;

/// The window of so many streams is no longer than this for each: a few are no herd.
const FOR_EACH: Duration = Duration::from_millis(50);

/// The end of all streams. Clones are the same.
#[derive(Clone, Debug)]
pub struct Drain {
    shutdown: CancellationToken,
    most: Duration,
    proxies: Arc<Proxies>,
    window: Arc<OnceLock<Duration>>,
}

impl Drain {
    /// Begins when `shutdown` is cancelled, and takes no longer than `most`.
    pub fn new(shutdown: CancellationToken, most: Duration, proxies: Arc<Proxies>) -> Self {
        Drain { shutdown, most, proxies, window: Arc::default() }
    }

    /// How long it takes. It is decided when it begins.
    pub fn window(&self) -> Duration {
        let streams = || u32::try_from(self.proxies.count()).unwrap_or(u32::MAX);
        *self.window.get_or_init(|| self.most.min(FOR_EACH.saturating_mul(streams())))
    }

    /// Everybody ends at once, if it has not begun.
    pub fn hurry(&self) {
        let _ = self.window.set(Duration::ZERO);
    }

    /// Waits until it is a stream's turn to end, at random within the window.
    pub(super) async fn turn(&self) {
        self.shutdown.cancelled().await;
        tokio::time::sleep(self.window().mul_f64(fastrand::f64())).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

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
