//! Who has taken what was written: asked until every proxy has, or patience ends.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use umbra_ir::{ObjectId, RuntimeKey};
use umbra_istio::Stop;

use super::Annotations;
use crate::live::ObjectLive;

/// Objects that one question may name.
const MAX_OBJECTS: usize = 1000;
/// Proxies that are named in words.
const NAMED: usize = 3;

/// How far one VirtualService has come.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Confirmed {
    /// Proxies that have taken it, of how many.
    pub(crate) live: usize,
    pub(crate) total: usize,
    /// Runtime keys of mirrors that are stopped.
    pub(crate) stopped: Vec<String>,
    /// Proxies that have not taken it.
    pub(crate) laggards: Vec<String>,
    /// What is missing, in words; `None`: nothing.
    pub(crate) why_not: Option<String>,
}

/// What all replicas say, or why nobody knows.
pub(crate) type Said = Result<BTreeMap<ObjectId, Confirmed>, String>;

/// Waits until what the annotations say is in force everywhere, by a question each `pause`; gives how far each has come.
pub(crate) async fn wait<F: Future<Output = Said>>(
    annotations: &Annotations,
    (pause, patience): (Duration, Duration),
    ask: impl Fn(Vec<ObjectId>) -> F,
) -> BTreeMap<ObjectId, Confirmed> {
    let deadline = Instant::now() + patience;
    let mut all: BTreeMap<ObjectId, Confirmed> = BTreeMap::new();
    let mut heard = false;
    loop {
        let open = annotations.keys().filter(|id| all.get(*id).is_none_or(|it| it.why_not.is_some()));
        let open: Vec<ObjectId> = open.cloned().collect();
        if open.is_empty() {
            return all;
        }
        for part in open.chunks(MAX_OBJECTS) {
            match ask(part.to_vec()).await {
                Ok(now) => {
                    heard = true;
                    all.extend(now);
                }
                Err(why) => {
                    let silent = |id: &ObjectId| {
                        let before = all.get(id).cloned().unwrap_or_default();
                        (id.clone(), Confirmed { why_not: Some(why.clone()), ..before })
                    };
                    let now: Vec<_> = part.iter().map(silent).collect();
                    all.extend(now);
                }
            }
        }
        let left = deadline.saturating_duration_since(Instant::now());
        // Where nobody has ever answered, nobody will.
        if left.is_zero() || !heard {
            return all;
        }
        tokio::time::sleep(pause.min(left)).await;
    }
}

/// Which of a VirtualService's mirrors (name of the rule, key) its annotation stops, sorted.
pub(crate) fn stopped<'a>(
    mirrors: impl Iterator<Item = (&'a str, RuntimeKey)>,
    annotation: Option<&str>,
) -> Vec<RuntimeKey> {
    let all: Vec<_> = mirrors.collect();
    let named: Vec<_> = all.iter().map(|(rule, key)| (*rule, key)).collect();
    let by = Stop::parse(annotation).stopped(&named);
    let stopped = named.iter().zip(by).filter(|(_, by)| by.is_some());
    let mut keys: Vec<RuntimeKey> = stopped.map(|((_, key), _)| (*key).clone()).collect();
    keys.sort();
    keys
}

/// What it comes to that the replicas say `live` of an object whose mirrors `wanted` should be stopped, and those `silent` nothing.
pub(crate) fn judge(
    live: Option<&ObjectLive>,
    id: &ObjectId,
    wanted: &[RuntimeKey],
    silent: &[String],
) -> Confirmed {
    let Some(live) = live else {
        let why = format!("umbra knows no {id}");
        return Confirmed { why_not: Some(why), ..Confirmed::default() };
    };
    let laggards: Vec<String> = live
        .laggards
        .iter()
        .map(|it| match &it.words {
            Some(words) if it.resource.is_empty() => format!("{} ({words})", it.proxy),
            Some(words) => format!("{} (rejected {}: {words})", it.proxy, it.resource),
            None => format!("{} ({})", it.proxy, it.resource),
        })
        .collect();
    let why_not = if live.stopped != wanted {
        Some("umbra has not seen it yet".to_owned())
    } else if !silent.is_empty() {
        Some(format!("replicas that did not answer: {}", silent.join(", ")))
    } else if live.live < live.total || !laggards.is_empty() {
        let named = laggards.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
        let more = (live.total - live.live.min(live.total)).saturating_sub(laggards.len().min(NAMED));
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        Some(format!("{} of {} proxies have taken it; waiting for {named}{more}", live.live, live.total))
    } else {
        None
    };
    let stopped = live.stopped.iter().map(|key| key.as_str().to_owned()).collect();
    Confirmed { live: live.live, total: live.total, stopped, laggards, why_not }
}

#[cfg(test)]
mod tests {
    use umbra_ir::Kind;

    use super::*;
    use crate::live::Laggard;

    #[test]
    fn when_it_is_confirmed() {
        let id = ObjectId::new(Kind::VirtualService, "shop", "web");
        let key = RuntimeKey::new("mirror/shop/web/r/|v2|web");
        let live = |live, total, stopped: &[&RuntimeKey]| ObjectLive {
            object: id.clone(),
            generation: 1,
            newest: 1,
            total,
            live,
            laggards: (live..total)
                .map(|n| Laggard {
                    proxy: format!("p{n}.shop"),
                    resource: "rtds/umbra".to_owned(),
                    words: None,
                })
                .collect(),
            excused: Vec::new(),
            stopped: stopped.iter().map(|key| (*key).clone()).collect(),
            away: Vec::new(),
            total_away: 0,
        };
        for (known, silent, want) in [
            (None, &[][..], "umbra knows no VirtualService shop/web"),
            (Some(live(2, 2, &[])), &[], "umbra has not seen it yet"),
            (Some(live(2, 2, &[&key])), &["b"], "replicas that did not answer: b"),
            (
                Some(live(1, 6, &[&key])),
                &[],
                "1 of 6 proxies have taken it; waiting for p1.shop (rtds/umbra); p2.shop (rtds/umbra); p3.shop (rtds/umbra); and 2 more",
            ),
            (Some(live(2, 2, &[&key])), &[], ""),
            (Some(live(0, 0, &[&key])), &[], ""),
        ] {
            let silent: Vec<String> = silent.iter().map(|who| (*who).to_owned()).collect();
            let got = judge(known.as_ref(), &id, std::slice::from_ref(&key), &silent);
            assert_eq!(got.why_not.unwrap_or_default(), want);
        }
    }
}
