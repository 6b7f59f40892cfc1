//! What judges tell umbra: asked for every few seconds, and forgotten when none answers any more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::join_all;
use tracing::{info, warn};
use umbra_proto::umbra::v1::judge_client::JudgeClient;
use umbra_proto::umbra::v1::{Contents, ListContentsRequest, MirrorContents};

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
pub(crate) struct Told(Arc<Mutex<HashMap<String, (Instant, Contents)>>>);

impl Told {
    /// What the bodies of a mirror's copies come to; `None`: nobody has said so of late.
    pub(crate) fn of(&self, mark: &str) -> Option<Contents> {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.get(mark).filter(|(when, _)| when.elapsed() < KEPT).map(|(_, contents)| contents.clone())
    }

    /// Takes in what all of them said. One mirror's answers go to one judge: of several the one that has seen most is right.
    fn take(&self, all: Vec<MirrorContents>, now: Instant) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, (when, _)| now.saturating_duration_since(*when) < KEPT);
        for (mark, contents) in all.into_iter().filter_map(|it| Some((it.mark, it.contents?))) {
            match told.get(&mark) {
                Some((when, known)) if *when == now && known.pairs >= contents.pairs => {}
                _ => drop(told.insert(mark, (now, contents))),
            }
        }
    }
}

/// Asks those behind `name` (`HOST:PORT`), for ever. Nothing waits for it.
pub(crate) async fn follow(name: String, told: Told) -> anyhow::Result<()> {
    let mut before = true;
    loop {
        let answered = match ask(&name).await {
            Ok(all) => {
                told.take(all, Instant::now());
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

async fn ask(name: &str) -> Result<Vec<MirrorContents>, String> {
    let addresses = resolve(name).await?;
    let one = async |address| {
        let channel =
            endpoint(address, CONNECT).map_err(|status| status.message().to_owned())?.connect_lazy();
        let mut client = JudgeClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES);
        let asked = client.list_contents(ListContentsRequest {});
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
        told.take(vec![of(3), of(7), of(5)], now);
        assert_eq!(told.of("m").map(|it| it.pairs), Some(7));
        told.take(vec![of(2)], now + Duration::from_secs(5));
        assert_eq!(told.of("m").map(|it| it.pairs), Some(2));
        assert_eq!(told.of("n"), None);
        told.take(Vec::new(), now + 2 * KEPT);
        assert_eq!(told.of("m"), None);
    }
}
