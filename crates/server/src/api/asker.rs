//! Who asks, as an extension of each request, and what that caller may be told.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::Response;
use jiff::Timestamp;
use umbra_source::kubernetes::Wish;

use crate::identity::{Caller, Callers, Came, Refusal};
use crate::listen::{InUse, Transport};

/// How often a right is looked at again while a watch goes on: as long as one that was granted is remembered.
const AGAIN: Duration = Duration::from_secs(60);

/// Who asks, or why nobody knows.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    callers: Callers,
    from: IpAddr,
    who: Result<Caller, Refusal>,
}

/// Finds out who asks. It is for the handlers to refuse, each in its protocol.
pub(super) async fn find(State(callers): State<Callers>, mut request: Request, next: Next) -> Response {
    let in_use = request.extensions().get::<InUse>();
    // Without a connection it is a test.
    let from = in_use.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |it| it.peer);
    let transport = in_use.map_or(Transport::Plain, |it| it.transport);
    let authorization = request.headers().get(AUTHORIZATION).cloned();
    let came = Came {
        from,
        secret: transport != Transport::Plain,
        replica: transport == Transport::Tls { replica: true },
        authorization: authorization.as_ref().map(|value| value.as_bytes()),
    };
    let who = callers.who(&came).await;
    request.extensions_mut().insert(Asker { callers, from, who });
    next.run(request).await
}

impl Asker {
    /// Who.
    ///
    /// # Errors
    /// The proof that was brought is none.
    pub(super) fn who(&self) -> Result<&Caller, Refusal> {
        self.who.as_ref().map_err(Clone::clone)
    }

    /// Whether the caller may have all of its wishes.
    ///
    /// # Errors
    /// It may not have one, or nobody can say now.
    pub(crate) async fn may(&self, wishes: &[Wish]) -> Result<(), Refusal> {
        let who = self.who()?;
        for wish in wishes {
            self.callers.may(who, wish, self.from).await?;
        }
        Ok(())
    }

    /// Whether nobody has proven anything where that is asked for: he may have nothing.
    pub(crate) fn is_nobody(&self) -> bool {
        matches!(self.who, Err(_) | Ok(Caller::Stranger))
    }

    /// Waits until the caller may not have its wish any more, because its proof is over or the right was taken away.
    pub(super) async fn lost(&self, wish: &Wish) -> Refusal {
        let left = match self.who() {
            Err(refusal) => return refusal,
            Ok(who) => who.until().map(|until| until.duration_since(Timestamp::now())),
        };
        // Beyond a duration of the standard library is without an end.
        let end = left.map_or(Duration::MAX, |left| left.try_into().unwrap_or_default());
        let taken = async {
            loop {
                tokio::time::sleep(AGAIN).await;
                match self.may(std::slice::from_ref(wish)).await {
                    Ok(()) | Err(Refusal::Later(_)) => {}
                    Err(refusal) => return refusal,
                }
            }
        };
        let over = |_| Refusal::Unproven("the token has expired".to_owned());
        tokio::time::timeout(end, taken).await.unwrap_or_else(over)
    }
}
