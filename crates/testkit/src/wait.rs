//! Waiting for a condition with a deadline.

use std::future::Future;
use std::time::{Duration, Instant};

/// How long a condition may take unless a test says otherwise: far more than anything needs, since a busy
/// machine must not make a test fail.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The pause between two looks: short beside everything that is waited for.
const PAUSE: Duration = Duration::from_millis(5);

/// Looks until `look` gives a value; `None` when `deadline` has passed. It looks at least once.
pub async fn until<T, F: Future<Output = Option<T>>>(
    deadline: Duration,
    mut look: impl FnMut() -> F,
) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = look().await {
            return Some(value);
        }
        if start.elapsed() >= deadline {
            return None;
        }
        tokio::time::sleep(PAUSE).await;
    }
}
