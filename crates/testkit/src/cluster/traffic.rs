//! Traffic that goes on while a test changes something, so that every failed request is seen.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::client::{Answer, Tally};

/// Requests one after the other until [`Traffic::stop`].
#[derive(Debug)]
pub struct Traffic {
    stop: Arc<AtomicBool>,
    worker: JoinHandle<Tally>,
}

impl Traffic {
    /// Asks again and again, with this pause between the requests.
    pub fn start<F>(pause: Duration, mut ask: impl FnMut() -> F + Send + 'static) -> Self
    where
        F: Future<Output = anyhow::Result<Answer>> + Send,
    {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        let worker = tokio::spawn(async move {
            let mut tally = Tally::default();
            while !seen.load(Ordering::Relaxed) {
                tally.add(ask().await);
                tokio::time::sleep(pause).await;
            }
            tally
        });
        Self { stop, worker }
    }

    /// Ends it and gives what it came to.
    ///
    /// # Errors
    /// When the worker panicked.
    pub async fn stop(self) -> anyhow::Result<Tally> {
        self.stop.store(true, Ordering::Relaxed);
        Ok(self.worker.await?)
    }
}
