//! Tokens of ServiceAccounts: asked about once, then known until they expire.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use jiff::Timestamp;
use umbra_source::kubernetes::{Review, Reviewer};

use super::cache::{Cache, Hash};
use super::turns::Turns;
use super::{Proven, Refusal, claims};

type Ask = Arc<dyn Fn(String) -> BoxFuture<'static, Review> + Send + Sync>;

/// Who vouches for tokens. Cheap to clone.
#[derive(Clone)]
pub struct Tokens {
    ask: Ask,
    cache: Arc<Mutex<Cache>>,
    turns: Turns,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens")
    }
}

impl Tokens {
    /// Asks the API server.
    pub fn new(reviewer: Reviewer) -> Self {
        Self::asking(Arc::new(move |token| {
            let reviewer = reviewer.clone();
            Box::pin(async move { reviewer.review(&token).await })
        }))
    }

    pub(super) fn asking(ask: Ask) -> Self {
        Tokens { ask, cache: Arc::default(), turns: Turns::default() }
    }

    /// Judges an `authorization` header that came from this address. A token that was good is good until it expires, also
    /// while the API server is away.
    pub(super) async fn check(&self, authorization: Option<&[u8]>, from: IpAddr) -> Result<Proven, Refusal> {
        let unproven = |why: &str| Refusal::Unproven(why.to_owned());
        let token = claims::bearer(authorization).map_err(unproven)?;
        let until = claims::expiry(token, Timestamp::now()).map_err(unproven)?;
        let hash = digest(token);
        let known = || self.cache.lock().unwrap_or_else(PoisonError::into_inner).get(&hash, Timestamp::now());
        if let Some(known) = known() {
            return known.map_err(Refusal::Unproven);
        }
        let _turn = self.turns.take(from).await?;
        // Somebody with the same token may have had the turn before.
        if let Some(known) = known() {
            return known.map_err(Refusal::Unproven);
        }
        let said = match (self.ask)(token.to_owned()).await {
            Review::Away(why) => {
                return Err(Refusal::Later(format!("the token cannot be reviewed now: {why}")));
            }
            Review::Bad(why) => Err(format!("the token is refused: {why}")),
            Review::Good(account) => {
                Ok(Proven { namespace: account.namespace, account: account.name, pod: account.pod, until })
            }
        };
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.put(hash, said.clone(), Timestamp::now());
        said.map_err(Refusal::Unproven)
    }
}

fn digest(token: &str) -> Hash {
    let mut hash = Hash::default();
    hash.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, token.as_bytes()).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::json;
    use umbra_source::kubernetes::Account;

    use super::*;
    use crate::identity::claims::tests::token;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[tokio::test]
    async fn one_question_for_each_token() {
        let account = |pod: Option<&str>| {
            let pod = pod.map(str::to_owned);
            Review::Good(Account { namespace: "a".to_owned(), name: "b".to_owned(), pod })
        };
        for (title, answer, want, asked) in [
            ("good", account(Some("p")), Ok(Some("p")), 1),
            ("bound to no Pod", account(None), Ok(None), 1),
            ("bad", Review::Bad("no".to_owned()), Err("no"), 1),
            ("away", Review::Away("down".to_owned()), Err("down"), 3),
        ] {
            let count = Arc::new(AtomicUsize::new(0));
            let counted = count.clone();
            let tokens = Tokens::asking(Arc::new(move |_| {
                counted.fetch_add(1, Ordering::Relaxed);
                Box::pin(std::future::ready(answer.clone()))
            }));
            let exp = Timestamp::now().as_second() + 600;
            let header =
                format!("Bearer {}", token(&json!({"sub": "system:serviceaccount:a:b", "exp": exp})));
            for _ in 0..3 {
                match (tokens.check(Some(header.as_bytes()), HERE).await, want) {
                    (Ok(proven), Ok(pod)) => assert_eq!(proven.pod.as_deref(), pod, "{title}"),
                    (Err(Refusal::Unproven(why) | Refusal::Later(why)), Err(part)) => {
                        assert!(why.contains(part), "{title}: {why}");
                    }
                    (got, _) => panic!("{title}: {got:?}"),
                }
            }
            assert_eq!(count.load(Ordering::Relaxed), asked, "{title}");
            assert!(matches!(tokens.check(None, HERE).await, Err(Refusal::Unproven(_))), "{title}");
        }
    }
}
