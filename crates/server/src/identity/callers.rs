//! Who asks `--api`, and whether that caller may: the one place where both are decided.

use std::net::IpAddr;

use jiff::Timestamp;
use umbra_source::kubernetes::Wish;

use super::rights::Rights;
use super::{CallerMode, Proven, Refusal, Tokens};

/// What a port of the API asks of its callers.
#[derive(Clone, Debug)]
pub enum Callers {
    /// Nothing: whoever reaches it is told everything.
    Open,
    /// Who they are, and what they may.
    Asked {
        /// Who vouches for their tokens.
        tokens: Tokens,
        /// Who knows their rights.
        rights: Rights,
    },
}

/// How a question came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Came<'a> {
    /// From where.
    pub from: IpAddr,
    /// Over TLS: nobody else has read it.
    pub secret: bool,
    /// From one that shows the certificate of this umbra.
    pub replica: bool,
    /// The value of its `authorization`.
    pub authorization: Option<&'a [u8]>,
}

/// Who asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Caller {
    /// Nobody is asked who he is here.
    Unasked,
    /// Somebody who has proven nothing.
    Stranger,
    /// Another replica, or this one.
    Replica,
    /// A ServiceAccount.
    Account(Proven),
}

impl Caller {
    /// Until when it is known who that is; `None`: without an end.
    pub fn until(&self) -> Option<Timestamp> {
        match self {
            Caller::Account(proven) => Some(proven.until),
            Caller::Unasked | Caller::Stranger | Caller::Replica => None,
        }
    }

    /// A name of its own, where it has one: what one may have at once is counted by it.
    pub fn name(&self) -> Option<String> {
        match self {
            Caller::Account(Proven { namespace, account, .. }) => Some(format!("{namespace}/{account}")),
            Caller::Unasked | Caller::Stranger | Caller::Replica => None,
        }
    }
}

impl Callers {
    /// The option that this comes of.
    pub fn mode(&self) -> CallerMode {
        match self {
            Callers::Open => CallerMode::None,
            Callers::Asked { .. } => CallerMode::Token,
        }
    }

    /// Finds out who asks. Who brings a proof that is none is refused, not taken for a stranger.
    ///
    /// # Errors
    /// Why it is nobody.
    pub async fn who(&self, came: &Came<'_>) -> Result<Caller, Refusal> {
        let Callers::Asked { tokens, .. } = self else { return Ok(Caller::Unasked) };
        if came.replica {
            return Ok(Caller::Replica);
        }
        let Some(authorization) = came.authorization else { return Ok(Caller::Stranger) };
        if !came.secret {
            const READ: &str =
                "a token counts over TLS alone: in plaintext it is everybody's who is on the way";
            return Err(Refusal::Unproven(READ.to_owned()));
        }
        Ok(Caller::Account(tokens.check(Some(authorization), came.from).await?))
    }

    /// Whether a caller, asking from this address, may have its wish.
    ///
    /// # Errors
    /// It may not, or nobody can say now.
    pub async fn may(&self, caller: &Caller, wish: &Wish, from: IpAddr) -> Result<(), Refusal> {
        match (self, caller) {
            (Callers::Open, _) | (Callers::Asked { .. }, Caller::Unasked | Caller::Replica) => Ok(()),
            (Callers::Asked { .. }, Caller::Stranger) => {
                const WHO: &str = "this port asks who you are: `authorization: Bearer TOKEN` over TLS (umbra --token-file FILE --ca FILE)";
                Err(Refusal::Unproven(WHO.to_owned()))
            }
            (Callers::Asked { rights, .. }, Caller::Account(proven)) => {
                rights.check(proven, wish, from).await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use umbra_ir::Kind;
    use umbra_source::kubernetes::{Account, Review, Right};

    use super::*;
    use crate::identity::claims::tests::token;

    /// Knows every token, and grants what is of the caller's own namespace.
    fn callers() -> Callers {
        let account = Account { namespace: "shop".to_owned(), name: "web".to_owned(), pod: None };
        let tokens = Tokens::asking(Arc::new(move |_| {
            let account = account.clone();
            Box::pin(std::future::ready(Review::Good(account)))
        }));
        let rights = Rights::asking(Arc::new(|who: Proven, wish: Wish| {
            let right = if wish.namespace == who.namespace { Right::Yes } else { Right::No };
            Box::pin(std::future::ready(right))
        }));
        Callers::Asked { tokens, rights }
    }

    #[tokio::test]
    async fn who_asks_and_what_they_may() {
        let exp = Timestamp::now().as_second() + 600;
        let good = format!("Bearer {}", token(&json!({"sub": "system:serviceaccount:shop:web", "exp": exp})));
        let from: IpAddr = [10, 0, 0, 1].into();
        for (title, open, secret, replica, header, want, shop, bank) in [
            ("open", true, false, false, None, "unasked", "yes", "yes"),
            ("open, with a token", true, false, false, Some("Bearer x"), "unasked", "yes", "yes"),
            ("nothing", false, true, false, None, "stranger", "unproven", "unproven"),
            ("nothing in plaintext", false, false, false, None, "stranger", "unproven", "unproven"),
            ("a replica", false, true, true, None, "replica", "yes", "yes"),
            ("a token", false, true, false, Some(good.as_str()), "account", "yes", "forbidden"),
            ("a token in plaintext", false, false, false, Some(good.as_str()), "unproven", "", ""),
            ("no token", false, true, false, Some("Bearer x"), "unproven", "", ""),
            ("another scheme", false, true, false, Some("Basic eDp5"), "unproven", "", ""),
        ] {
            let callers = if open { Callers::Open } else { callers() };
            let came = Came { from, secret, replica, authorization: header.map(str::as_bytes) };
            let word = |refusal: &Refusal| match refusal {
                Refusal::Unproven(_) => "unproven",
                Refusal::Forbidden(_) => "forbidden",
                Refusal::Foreign(_) | Refusal::Later(_) => "other",
            };
            let who = callers.who(&came).await;
            let got = match &who {
                Ok(Caller::Unasked) => "unasked",
                Ok(Caller::Stranger) => "stranger",
                Ok(Caller::Replica) => "replica",
                Ok(Caller::Account(_)) => "account",
                Err(refusal) => word(refusal),
            };
            assert_eq!(got, want, "{title}");
            let Ok(caller) = who else { continue };
            for (namespace, want) in [("shop", shop), ("bank", bank)] {
                let wish = Wish::list(Kind::VirtualService, namespace);
                let got = callers.may(&caller, &wish, from).await;
                assert_eq!(got.as_ref().map_or_else(word, |()| "yes"), want, "{title}: {namespace}");
            }
        }
    }
}
