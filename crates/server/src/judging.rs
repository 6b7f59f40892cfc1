//! Decides what part of each rule's requests is judged, as a loop: so many requests a second over all proxies, whatever the traffic.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::engine_task::EngineHandle;
use crate::observe::Observed;
use crate::peers::Peers;

/// How often: as often as proxies tell how many requests there were.
const LOOK: Duration = Duration::from_secs(5);

/// Each replica decides for the proxies that are connected to it, whose counts come by the same connections: it judges its part of
/// what is asked for.
pub(crate) async fn follow(
    engine: EngineHandle,
    observed: Observed,
    peers: Arc<Peers>,
) -> anyhow::Result<()> {
    engine.ready().await;
    let mut told = BTreeMap::new();
    loop {
        observed.refresh().await;
        observed.verdicts().turn();
        let requests = |rule: &str| observed.requests(rule).map(|(all, _)| all);
        let shares = observed.verdicts().pace(requests, peers.count().await);
        if shares != told {
            engine.judged(shares.clone()).await;
            told = shares;
        }
        tokio::time::sleep(LOOK).await;
    }
}
