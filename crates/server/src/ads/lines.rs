//! Where proxies send lines of judged requests: Envoy's access log service, on the port of xDS and for whoever may open a stream
//! there. What they hold is never written to a log.

use std::convert::Infallible;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{HeaderValue, Request, Response, header::AUTHORIZATION, header::CONTENT_TYPE};
use tonic::server::NamedService;
use umbra_envoy::JUDGE_LOG;

use super::allowance::Allowances;
use super::connection::{self, ConnectionInfo};
use super::requests::{Raw, Requests};
use super::{Hopeful, Patience};
use crate::crowd::Crowd;
use crate::identity::Gate;
use crate::observe::Observed;
use crate::parts::{self, NoMessage};

/// The largest message: the first has the node, further ones 16 KiB of lines and one line more.
const MAX_MESSAGE_BYTES: usize = 1 << 20;
/// Lines of one stream that are looked at in a second, fifty times what a rule asks for; others are passed over, and the verdict
/// says how many it has seen.
const MAX_LINES: usize = 2000;

/// Receives the lines of the proxies of a port.
#[derive(Clone, Debug)]
pub(super) struct LineReceiver {
    pub(super) observed: Observed,
    pub(super) gate: Gate,
    pub(super) allowances: Allowances,
    pub(super) hopeful: Crowd,
    pub(super) patience: Patience,
    pub(super) shutdown: CancellationToken,
}

impl LineReceiver {
    /// Reads until the proxy ends the stream. Nothing is answered before: Envoy waits for no answer.
    async fn take(&self, request: Request<Body>) -> Result<(), Status> {
        let info = request.extensions().get::<ConnectionInfo>().cloned();
        let asking = info.as_ref().map(ConnectionInfo::ask);
        let hopeful = Hopeful::new(&self.hopeful, connection::address(info.as_ref()));
        let authorization = request.headers().get(AUTHORIZATION).cloned();
        let leaf = info.as_ref().and_then(ConnectionInfo::leaf);
        let authorization = authorization.as_ref().map(|value| value.as_bytes());
        let address = connection::address(info.as_ref());
        let admitted = self.gate.admit(authorization, leaf, address).await;
        let admission = admitted.map_err(|refusal| refusal.status())?;
        if !admission.counts {
            return Err(Status::permission_denied("who has proven nothing counts nowhere"));
        }
        let allowance = self.allowances.of(address, admission.proven.is_some());
        let body = request.into_body();
        let mut requests = Requests::<Raw>::new(body, MAX_MESSAGE_BYTES, self.patience.message, allowance);
        // Before it has said anything it is not let in.
        let mut next = hopeful.within(self.patience.first_request, requests.message()).await?;
        let full = || Status::unavailable("umbra has as many proxies as it may; try another replica");
        let _hold = info.as_ref().map(|info| info.hold().ok_or_else(full)).transpose()?;
        drop((asking, hopeful));
        let lines = self.observed.verdicts().open();
        let mut room = Room { second: Instant::now(), left: MAX_LINES };
        let mut named = false;
        let none = |NoMessage| Status::invalid_argument("these are no lines of an access log");
        while let Some(Raw(message)) = next.take().map(|raw| *raw) {
            // Only the first message says whose log it is.
            named |= is_named(&message).map_err(none)?;
            if named {
                self.observed.refresh().await;
                let now = Instant::now();
                lines.take(&message, || room.take(now)).map_err(none)?;
            }
            // Not kept while there is nothing new.
            drop(message);
            next = requests.message().await?;
        }
        Ok(())
    }
}

/// Whether a message says that it is of the log of judged requests.
fn is_named(message: &[u8]) -> Result<bool, NoMessage> {
    /// `StreamAccessLogsMessage.identifier.log_name`.
    const NAME: [u32; 2] = [1, 2];
    let mut is_named = false;
    parts::each(message, &NAME, &mut |name| is_named = name == JUDGE_LOG.as_bytes())?;
    Ok(is_named)
}

/// How many more lines are looked at in this second.
struct Room {
    second: Instant,
    left: usize,
}

impl Room {
    /// For one more.
    fn take(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.second) >= Duration::from_secs(1) {
            (self.second, self.left) = (now, MAX_LINES);
        }
        let fits = self.left > 0;
        self.left -= usize::from(fits);
        fits
    }
}

impl NamedService for LineReceiver {
    const NAME: &'static str = "envoy.service.accesslog.v3.AccessLogService";
}

impl tower::Service<Request<Body>> for LineReceiver {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let receiver = self.clone();
        Box::pin(async move {
            let taken = tokio::select! {
                taken = receiver.take(request) => taken,
                () = receiver.shutdown.cancelled() => Err(Status::unavailable("umbra is going down")),
            };
            let mut response = match taken {
                Ok(()) => Status::ok("").into_http(),
                Err(status) => status.into_http(),
            };
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            Ok(response)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_lines_a_second() {
        let start = Instant::now();
        let mut room = Room { second: start, left: MAX_LINES };
        let taken = [(0, 1500), (500, 1500), (999, 5), (1000, 1500), (5000, 5000)]
            .map(|(ms, wanted)| (0..wanted).filter(|_| room.take(start + Duration::from_millis(ms))).count());
        assert_eq!(taken, [1500, 500, 0, 1500, 2000]);
    }
}
