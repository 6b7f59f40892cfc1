//! What judges tell umbra: asked for every few seconds, and forgotten when none answers any more.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::join_all;
use tracing::{info, warn};
use umbra_proto::umbra::v1::judge_client::JudgeClient;
use umbra_proto::umbra::v1::{Contents, ListContentsRequest, MirrorContents};

use super::Verdicts;
use crate::channel::{endpoint, resolve};

/// How often they are asked.
const LOOK: Duration = Duration::from_secs(5);
/// How long one may take to be reached, and to answer.
const CONNECT: Duration = Duration::from_secs(2);
const ANSWER: Duration = Duration::from_secs(4);
/// How long an answer counts.
const KEPT: Duration = Duration::from_secs(60);
/// A thousand mirrors with all that is told of them have a few megabytes.
const MAX_ANSWER_BYTES: usize = 32 << 20;

/// What they said last, by the mark of copies. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told(Arc<Mutex<HashMap<String, Kept>>>);

#[derive(Clone, Debug)]
struct Kept {
    when: Instant,
    /// What had been answered before this counts no longer in it.
    since: i64,
    contents: Contents,
}

impl Told {
    /// What the bodies of a mirror's copies come to that went on at `since` (0: it was never stopped); `None`: nobody has said so of
    /// late.
    pub(super) fn of(&self, mark: &str, since: i64) -> Option<Contents> {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = told.get(mark).filter(|it| it.when.elapsed() < KEPT && it.since >= since);
        kept.map(|it| it.contents.clone())
    }

    /// Takes in what all of them said who were asked for what came `since`. One mirror's answers go to one judge: of several the one
    /// that has seen most is right.
    fn take(&self, all: Vec<MirrorContents>, since: &BTreeMap<String, i64>, now: Instant) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, it| now.saturating_duration_since(it.when) < KEPT);
        for (mark, contents) in all.into_iter().filter_map(|it| Some((it.mark, it.contents?))) {
            match told.get(&mark) {
                Some(known) if known.when == now && known.contents.pairs >= contents.pairs => {}
                _ => {
                    let since = since.get(&mark).copied().unwrap_or_default();
                    told.insert(mark, Kept { when: now, since, contents });
                }
            }
        }
    }
}

/// Asks those behind `name` (`HOST:PORT`), for ever. Nothing waits for it.
pub(crate) async fn follow(name: String, verdicts: Verdicts) -> anyhow::Result<()> {
    let mut before = true;
    loop {
        let since = verdicts.since();
        let answered = match ask(&name, &since, &verdicts.values()).await {
            Ok(all) => {
                verdicts.told.take(all, &since, Instant::now());
                true
            }
            Err(why) => {
                if before {
                    warn!(judge = name, why, "the judge does not answer: nothing is known of contents");
                }
                false
            }
        };
        if answered && !before {
            info!(judge = name, "the judge answers again");
        }
        before = answered;
        tokio::time::sleep(LOOK).await;
    }
}

async fn ask(
    name: &str,
    since: &BTreeMap<String, i64>,
    values: &[String],
) -> Result<Vec<MirrorContents>, String> {
    let addresses = resolve(name).await?;
    let one = async |address| {
        let channel =
            endpoint(address, CONNECT).map_err(|status| status.message().to_owned())?.connect_lazy();
        let mut client = JudgeClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES);
        let asked =
            client.list_contents(ListContentsRequest { since: since.clone(), values: values.to_vec() });
        match tokio::time::timeout(ANSWER, asked).await {
            Ok(Ok(answer)) => Ok(answer.into_inner().mirrors),
            Ok(Err(status)) => Err(status.message().to_owned()),
            Err(_) => Err("it takes too long".to_owned()),
        }
    };
    let (mut all, mut failed) = (Vec::new(), None);
    let answers = join_all(addresses.into_iter().map(one)).await;
    let mut some = false;
    for answer in answers {
        match answer {
            Ok(mirrors) => {
                some = true;
                all.extend(mirrors);
            }
            Err(why) => failed = Some(why),
        }
    }
    match failed {
        Some(why) if !some => Err(why),
        _ => Ok(all),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_judge_that_has_seen_most_is_right_and_not_for_ever() {
        let (told, now) = (Told::default(), Instant::now());
        let of = |pairs| MirrorContents {
            mark: "m".to_owned(),
            contents: Some(Contents { pairs, ..Contents::default() }),
        };
        let never = BTreeMap::new();
        let pairs = |mark: &str, since| told.of(mark, since).map(|it| it.pairs);
        told.take(vec![of(3), of(7), of(5)], &never, now);
        assert_eq!(pairs("m", 0), Some(7));
        told.take(vec![of(2)], &never, now + Duration::from_secs(5));
        assert_eq!((pairs("m", 0), pairs("n", 0)), (Some(2), None));
        // What was said before it went on is not of what it does since.
        assert_eq!(pairs("m", 1000), None);
        told.take(vec![of(4)], &[("m".to_owned(), 1000)].into(), now + Duration::from_secs(10));
        assert_eq!((pairs("m", 1000), pairs("m", 2000)), (Some(4), None));
        told.take(Vec::new(), &never, now + 2 * KEPT);
        assert_eq!(pairs("m", 1000), None);
    }
}
