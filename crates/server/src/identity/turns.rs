//! Turns at the API server: a flood of questions here must not become one there, nobody waits without an end, and no address
//! has all places in the queue.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::Refusal;
use crate::crowd::{Portion, Portions, origin};

/// Questions at once.
const AT_ONCE: usize = 16;
/// Questions of one address that are asked or wait.
const OF_ONE: usize = 128;
/// How long one may wait for its turn; its answer has a deadline of its own.
const PATIENCE: Duration = Duration::from_secs(5);

/// See the module. Clones share them.
#[derive(Clone)]
pub(super) struct Turns {
    places: Arc<Semaphore>,
    of: Portions<IpAddr>,
}

/// A turn, until this is dropped.
pub(super) struct Turn {
    _place: OwnedSemaphorePermit,
    _portion: Portion<IpAddr>,
}

impl Default for Turns {
    fn default() -> Self {
        Turns { places: Arc::new(Semaphore::new(AT_ONCE)), of: Portions::new(OF_ONE) }
    }
}

impl Turns {
    /// Waits for a turn.
    ///
    /// # Errors
    /// It did not come in time, or too many of this address wait already.
    pub(super) async fn take(&self, from: IpAddr) -> Result<Turn, Refusal> {
        let later = |why: &str| Refusal::Later(why.to_owned());
        let portion = self.of.take(origin(from));
        let portion = portion
            .ok_or_else(|| later("too much of this address is asked at the API server, and not answered"))?;
        match timeout(PATIENCE, self.places.clone().acquire_owned()).await {
            Ok(Ok(place)) => Ok(Turn { _place: place, _portion: portion }),
            _ => Err(later("the API server is asked too much just now")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_without_an_end_or_has_the_whole_queue() {
        let turns = Turns::default();
        let [one, other]: [IpAddr; 2] = [[10, 0, 0, 1].into(), [10, 0, 0, 2].into()];
        let take = |whose| {
            let turns = turns.clone();
            tokio::spawn(async move { turns.take(whose).await.is_ok() })
        };
        let mut taken = Vec::new();
        for _ in 0..AT_ONCE {
            taken.push(turns.take(one).await.ok().unwrap());
        }
        assert!(!take(other).await.unwrap(), "its time was over");
        let waiting: Vec<_> = (AT_ONCE..OF_ONE).map(|_| take(one)).collect();
        let now = tokio::time::Instant::now();
        while turns.of.take(one).is_some() {
            tokio::task::yield_now().await;
        }
        assert!(turns.take(one).await.is_err() && now.elapsed().is_zero(), "its part of the queue is full");
        let last = take(other);
        taken.clear();
        for waited in waiting.into_iter().chain([last]) {
            assert!(waited.await.unwrap());
        }
        assert!(now.elapsed().is_zero());
    }
}
