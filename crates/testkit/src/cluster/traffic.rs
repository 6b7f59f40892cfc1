//! Traffic that goes on while a test changes something, so that every failed request is seen.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::client::{Answer, Ask, Client, Tally};

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
        F: Future<Output = Result<Answer>> + Send,
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

    /// Asks the same again and again over one kept connection.
    pub fn through(client: Client, ask: Ask, pause: Duration) -> Self {
        let client = Arc::new(Mutex::new(client));
        Self::start(pause, move || {
            let (client, ask) = (client.clone(), ask.clone());
            async move { client.lock().await.ask(&ask).await }
        })
    }

    /// Ends it and gives what it came to.
    ///
    /// # Errors
    /// When the worker panicked.
    pub async fn stop(self) -> Result<Tally> {
        self.stop.store(true, Ordering::Relaxed);
        Ok(self.worker.await?)
    }

    /// Ends it and fails when a request got no answer or another than 200, or when hardly any was sent.
    ///
    /// # Errors
    /// With what the requests came to.
    pub async fn stop_unharmed(self) -> Result<Tally> {
        let tally = self.stop().await?;
        let n = tally.times.len();
        ensure!(n > 20 && tally.all_ok(n), "{n} requests: {:?} {:?}", tally.statuses, tally.failures);
        Ok(tally)
    }
}
