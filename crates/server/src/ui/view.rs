//! What the pages show, asked of all replicas once for everybody who looks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use umbra_proto::umbra::v1::{Minute, Mirror};

use crate::peers::Peers;

/// How long an answer of the replicas is new enough.
const FRESH: Duration = Duration::from_millis(500);
/// The same of minutes, of which only the last can become another.
const FRESH_MINUTES: Duration = Duration::from_secs(10);

/// The last hour of mirrors, by runtime key.
type Minutes = BTreeMap<String, Vec<Minute>>;

/// Every mirror, as all replicas together know it.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) mirrors: Vec<Mirror>,
    minutes: Arc<Minutes>,
}

impl View {
    /// The last hour of a mirror.
    pub(super) fn minutes(&self, mirror: &Mirror) -> &[Minute] {
        self.minutes.get(&mirror.runtime_key).map_or(&[], Vec::as_slice)
    }
}

#[derive(Debug, Default)]
struct Kept {
    view: Option<(Instant, Arc<View>)>,
    minutes: Option<(Instant, Arc<Minutes>)>,
}

/// The newest view. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Views {
    peers: Arc<Peers>,
    kept: Arc<Mutex<Kept>>,
    /// Replicas are asked once at a time.
    turn: Arc<Semaphore>,
}

fn fresh<T>(kept: Option<&(Instant, Arc<T>)>, within: Duration) -> Option<Arc<T>> {
    kept.filter(|(at, _)| at.elapsed() < within).map(|(_, it)| it.clone())
}

impl Views {
    pub(super) fn new(peers: Arc<Peers>) -> Self {
        Views { peers, kept: Arc::default(), turn: Arc::new(Semaphore::new(1)) }
    }

    fn look<T>(&self, look: impl FnOnce(&mut Kept) -> T) -> T {
        look(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What there is now.
    pub(super) async fn get(&self) -> Arc<View> {
        // The semaphore is never closed.
        let _turn = self.turn.acquire().await;
        if let Some(view) = self.look(|kept| fresh(kept.view.as_ref(), FRESH)) {
            return view;
        }
        let minutes = match self.look(|kept| fresh(kept.minutes.as_ref(), FRESH_MINUTES)) {
            Some(minutes) => minutes,
            None => {
                let minutes = Arc::new(self.peers.histories().await);
                self.look(|kept| kept.minutes = Some((Instant::now(), minutes.clone())));
                minutes
            }
        };
        let view = Arc::new(View { mirrors: self.peers.mirrors().await, minutes });
        self.look(|kept| kept.view = Some((Instant::now(), view.clone())));
        view
    }
}
