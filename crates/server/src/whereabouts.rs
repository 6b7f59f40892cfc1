//! Where proxies are whose streams have ended: back on another replica, gone with their Pods, or away.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use umbra_ir::ObjectId;

use crate::engine_task::EngineHandle;
use crate::peers::Peers;
use crate::proxies::{Proxies, pod_of};

/// From one look to the next.
const PAUSE: Duration = Duration::from_secs(1);
/// Every so many looks the other replicas are asked.
const ASK: u32 = 5;

/// Looks after those who are away, for ever.
pub(crate) async fn follow(engine: EngineHandle, proxies: Arc<Proxies>, peers: Arc<Peers>) {
    let away = proxies.away();
    for turn in 0_u32.. {
        tokio::time::sleep(PAUSE).await;
        let pods = away.pods();
        if pods.is_empty() {
            continue;
        }
        let there = engine.running(pods.clone()).await;
        let mut found: BTreeSet<ObjectId> =
            pods.iter().filter(|pod| !there.contains(*pod)).cloned().collect();
        // One that was cut off may have come back before its old stream ended.
        found.extend(proxies.list().iter().map(|proxy| pod_of(proxy)));
        if turn % ASK == 0 {
            let left = pods.into_iter().filter(|pod| !found.contains(pod)).collect();
            found.extend(peers.find(left).await);
        }
        away.forget(&found);
        // Answers about liveness may be other ones: some count by now, some no longer.
        proxies.answered();
    }
}
