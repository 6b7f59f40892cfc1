//! What callers may be told: asked of the API server, and known for a while.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::Instant;
use umbra_source::kubernetes::{Right, RightsReviewer, Wish};

use super::turns::Turns;
use super::{Proven, Refusal};

/// How long a right that was granted is not asked about again: so long may one last that was taken away.
const GRANTED: Duration = Duration::from_secs(60);
/// The same of one that was not.
const DENIED: Duration = Duration::from_secs(5);
/// How long a right counts while nobody can be asked.
const AWAY: Duration = Duration::from_secs(60 * 60);
/// Answers that are known.
const MOST: usize = 4096;

type Ask = Arc<dyn Fn(Proven, Wish) -> BoxFuture<'static, Right> + Send + Sync>;

/// Whose wish it is (namespace and ServiceAccount), and what.
type Key = (String, String, Wish);

/// Who knows what callers may do. Cheap to clone.
#[derive(Clone)]
pub struct Rights {
    ask: Ask,
    known: Arc<Mutex<HashMap<Key, Known>>>,
    turns: Turns,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    granted: bool,
    since: Instant,
}

impl Known {
    /// Needs not be asked again.
    fn is_fresh(self, now: Instant) -> bool {
        now.duration_since(self.since) < if self.granted { GRANTED } else { DENIED }
    }
}

impl std::fmt::Debug for Rights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rights")
    }
}

impl Rights {
    /// Asks the API server.
    pub fn new(reviewer: RightsReviewer) -> Self {
        Self::asking(Arc::new(move |who, wish| {
            let reviewer = reviewer.clone();
            Box::pin(async move { reviewer.review(&who.namespace, &who.account, &wish).await })
        }))
    }

    pub(super) fn asking(ask: Ask) -> Self {
        Rights { ask, known: Arc::default(), turns: Turns::default() }
    }

    /// Whether a ServiceAccount, asking from this address, may have its wish. What it was granted lately it keeps while the
    /// API server is away.
    pub(super) async fn check(&self, who: &Proven, wish: &Wish, from: IpAddr) -> Result<(), Refusal> {
        let denied = || {
            let Proven { namespace, account, .. } = who;
            Refusal::Forbidden(format!("ServiceAccount {namespace}/{account} may not: {wish}"))
        };
        if !wish.can_be() {
            return Err(denied());
        }
        let key = (who.namespace.clone(), who.account.clone(), wish.clone());
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied();
        let fresh = || known().filter(|known| known.is_fresh(Instant::now()));
        let verdict = |granted: bool| if granted { Ok(()) } else { Err(denied()) };
        if let Some(known) = fresh() {
            return verdict(known.granted);
        }
        let said = match self.turns.take(from).await {
            Err(refusal) => Right::Away(refusal.why().to_owned()),
            Ok(_turn) => match fresh() {
                // Somebody with the same question may have had the turn before.
                Some(known) => return verdict(known.granted),
                None => (self.ask)(who.clone(), wish.clone()).await,
            },
        };
        match said {
            Right::Yes => self.put(key, true),
            Right::No => {
                self.put(key, false);
                return Err(denied());
            }
            Right::Away(why) => {
                let lately = known().filter(|it| it.granted && it.since.elapsed() < AWAY);
                lately.ok_or_else(|| Refusal::Later(format!("nobody can say now whether you may: {why}")))?;
            }
        }
        Ok(())
    }

    fn put(&self, key: Key, granted: bool) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if known.len() >= MOST {
            known.retain(|_, one| one.is_fresh(now));
        }
        if known.len() >= MOST {
            // Half at once: a table that stays full must not be searched for each.
            let mut since: Vec<_> = known.values().map(|one| one.since).collect();
            let (_, median, _) = since.select_nth_unstable(MOST / 2);
            let median = *median;
            known.retain(|_, one| one.since > median);
        }
        known.insert(key, Known { granted, since: now });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use jiff::Timestamp;
    use umbra_ir::Kind;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn proven(account: &str) -> Proven {
        let (namespace, account) = ("shop".to_owned(), account.to_owned());
        Proven { namespace, account, pod: None, until: Timestamp::MAX }
    }

    /// Answers one after the other, the last one for ever; how often it was asked.
    fn answering(answers: Vec<Right>) -> (Rights, Arc<AtomicUsize>) {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = count.clone();
        let rights = Rights::asking(Arc::new(move |_, _| {
            let number = counted.fetch_add(1, Ordering::Relaxed);
            let answer = answers[number.min(answers.len() - 1)].clone();
            Box::pin(std::future::ready(answer))
        }));
        (rights, count)
    }

    /// What comes of one question after another, each after so many seconds: `y`es, `n`o or `l`ater, and how often
    /// the API server was asked.
    #[track_caller]
    fn check(answers: &[Right], after: &[u64], want: &str, asked: usize) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (rights, count) = answering(answers.to_vec());
        let got = runtime.block_on(async {
            let mut got = String::new();
            for seconds in after {
                tokio::time::advance(Duration::from_secs(*seconds)).await;
                let wish = Wish::list(Kind::VirtualService, "shop");
                got.push(match rights.check(&proven("web"), &wish, HERE).await {
                    Ok(()) => 'y',
                    Err(Refusal::Forbidden(_)) => 'n',
                    Err(_) => 'l',
                });
            }
            got
        });
        assert_eq!((got.as_str(), count.load(Ordering::Relaxed)), (want, asked), "{answers:?} {after:?}");
    }

    #[test]
    fn an_answer_is_known_for_a_while() {
        let away = || Right::Away("down".to_owned());
        check(&[Right::Yes], &[0, 1, 50], "yyy", 1);
        check(&[Right::Yes, Right::No], &[0, 61, 1], "ynn", 2);
        check(&[Right::No, Right::Yes], &[0, 1, 5], "nny", 2);
        // While nobody can be asked, who was let in goes on, for an hour; nobody else.
        check(&[Right::Yes, away()], &[0, 61, 3000, 600], "yyyl", 4);
        check(&[away()], &[0, 1], "ll", 2);
        check(&[Right::No, away()], &[0, 6], "nl", 2);
    }

    #[tokio::test]
    async fn it_stays_bounded() {
        let (rights, count) = answering(vec![Right::Yes]);
        for number in 0..MOST + 100 {
            let wish = Wish::list(Kind::VirtualService, format!("n{number}"));
            assert!(rights.check(&proven("web"), &wish, HERE).await.is_ok());
            assert!(rights.known.lock().unwrap().len() <= MOST);
        }
        let long = Wish::list(Kind::VirtualService, "x".repeat(1000));
        assert!(matches!(rights.check(&proven("web"), &long, HERE).await, Err(Refusal::Forbidden(_))));
        assert_eq!(count.load(Ordering::Relaxed), MOST + 100);
    }
}
