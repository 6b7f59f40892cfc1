//! Responses of one stream, as its body: frames that share the bytes of resources with every other stream.
//!
//! What waits here is references. Frames are made when the connection has room for them. Large responses of all streams
//! together have a budget of bytes under way, so that a thousand proxies that start at once are served some at a time
//! and a small change finds its way between them; nobody is turned away.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http_body::{Body, Frame};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tonic::Status;
use tonic::codegen::http::HeaderMap;
use umbra_xds::Response;

use super::requests::PREFIX;

/// Responses that wait in a stream for its client to read.
const QUEUE: usize = 4;
/// A part smaller than this is copied into the frame before it: that costs less than a frame.
const SHARED_FROM: usize = 1 << 10;
/// The largest frame handed over at a time; what is larger goes in slices of this.
const FRAME: usize = 64 << 10;
/// Responses from this size on share the budget.
const LARGE: usize = 64 << 10;
/// How many KiB of large responses are under way at a time.
const BUDGET: usize = 16 << 10;
/// A response that its client takes longer to read than this no longer counts: who reads slowly costs itself only.
const LEASE: Duration = Duration::from_millis(500);

/// The bytes of large responses that may be under way at a time. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Budget(Arc<Semaphore>);

impl Default for Budget {
    fn default() -> Self {
        Budget(Arc::new(Semaphore::new(BUDGET)))
    }
}

impl Budget {
    /// Waits for its turn; one that is larger than all there is waits for all.
    async fn take(self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let kib = u32::try_from((bytes >> 10).min(BUDGET)).ok()?;
        self.0.acquire_many_owned(kib).await.ok()
    }
}

/// What a client has read, as far as this side can tell.
#[derive(Debug, Default)]
struct Progress {
    /// Responses sent.
    sent: AtomicU64,
    /// Of these, the ones handed over as a whole.
    read: AtomicU64,
    /// Frames handed over.
    frames: AtomicU64,
    /// It is not the client that holds things up, but the budget.
    waits: AtomicBool,
}

/// Boxed, because the channel has room for 32 of what it is of, and there is one for each proxy.
type Queued = Result<Box<Response>, Status>;

/// The sending end.
#[derive(Debug)]
pub(super) struct Sender {
    queue: mpsc::Sender<Queued>,
    progress: Arc<Progress>,
}

/// The client has gone, or the stream is over.
#[derive(Debug)]
pub(super) struct Closed;

impl Sender {
    /// Queues a response, or the status that ends the stream; waits while the queue is full.
    pub(super) async fn send(&self, response: Result<Response, Status>) -> Result<(), Closed> {
        self.progress.sent.fetch_add(1, Ordering::Relaxed);
        self.queue.send(response.map(Box::new)).await.map_err(|_| Closed)
    }

    /// Ends when the client has gone.
    pub(super) async fn closed(&self) {
        self.queue.closed().await;
    }

    /// How much the client has read, in whatever unit; `None`: everything that it could.
    pub(super) fn unread_at(&self) -> Option<u64> {
        let Progress { sent, read, frames, waits } = &*self.progress;
        let open = sent.load(Ordering::Relaxed) > read.load(Ordering::Relaxed);
        (open && !waits.load(Ordering::Relaxed)).then(|| frames.load(Ordering::Relaxed))
    }
}

/// The body.
pub(super) struct Responses {
    queue: mpsc::Receiver<Queued>,
    progress: Arc<Progress>,
    budget: Budget,
    state: State,
}

enum State {
    Idle,
    /// Waits for its share of the budget.
    Waiting(Box<Response>, Pin<Box<dyn Future<Output = Option<OwnedSemaphorePermit>> + Send>>),
    Sending {
        frames: Frames,
        _lease: Option<Lease>,
    },
    Done,
}

/// Holds a share of the budget until it is dropped, or for [`LEASE`].
struct Lease {
    _end: oneshot::Sender<()>,
}

impl Lease {
    fn new(permit: OwnedSemaphorePermit) -> Self {
        let (_end, ended) = oneshot::channel::<()>();
        tokio::spawn(async move {
            let _permit = permit;
            let _ = tokio::time::timeout(LEASE, ended).await;
        });
        Lease { _end }
    }
}

/// A channel for the responses of one stream.
pub(super) fn channel(budget: Budget) -> (Sender, Responses) {
    let (sender, queue) = mpsc::channel(QUEUE);
    let progress = Arc::<Progress>::default();
    (
        Sender { queue: sender, progress: progress.clone() },
        Responses { queue, progress, budget, state: State::Idle },
    )
}

/// What is left of a response.
struct Frames {
    parts: Box<dyn Iterator<Item = Bytes> + Send>,
    next: Option<Bytes>,
    /// Bytes that are still to come.
    left: usize,
}

impl Frames {
    fn new(response: Response) -> Self {
        let mut prefix = BytesMut::with_capacity(PREFIX);
        prefix.put_u8(0);
        prefix.put_u32(u32::try_from(response.encoded_len()).unwrap_or(u32::MAX));
        let left = PREFIX + response.encoded_len();
        Frames { next: Some(prefix.freeze()), parts: Box::new(response.into_parts()), left }
    }

    /// The next frame: a slice of a large part, or small ones together.
    fn frame(&mut self) -> Option<Bytes> {
        let frame = self.cut()?;
        self.left = self.left.saturating_sub(frame.len());
        Some(frame)
    }

    fn cut(&mut self) -> Option<Bytes> {
        let mut first = self.next.take().or_else(|| self.parts.next())?;
        if first.len() >= SHARED_FROM {
            if first.len() > FRAME {
                self.next = Some(first.split_off(FRAME));
            }
            return Some(first);
        }
        // What is small is nearly always all there is.
        let mut together = BytesMut::with_capacity(self.left.min(2 * SHARED_FROM));
        loop {
            together.extend_from_slice(&first);
            match self.parts.next() {
                Some(part) if part.len() < SHARED_FROM && together.len() < FRAME => first = part,
                other => {
                    self.next = other;
                    return Some(together.freeze());
                }
            }
        }
    }
}

impl Responses {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame<Bytes>>> {
        loop {
            match &mut self.state {
                State::Done => return Poll::Ready(None),
                State::Idle => match ready!(self.queue.poll_recv(cx)) {
                    Some(Ok(response)) => {
                        let size = response.encoded_len();
                        self.state = if size < LARGE {
                            State::Sending { frames: Frames::new(*response), _lease: None }
                        } else {
                            self.progress.waits.store(true, Ordering::Relaxed);
                            State::Waiting(response, Box::pin(self.budget.clone().take(size)))
                        };
                    }
                    end => {
                        self.state = State::Done;
                        let status = end.and_then(Result::err).unwrap_or_else(|| Status::ok(""));
                        let mut trailers = HeaderMap::new();
                        // What cannot stand in a header is left out, and the code still says that it ended.
                        let _ = status.add_header(&mut trailers);
                        return Poll::Ready(Some(Frame::trailers(trailers)));
                    }
                },
                State::Waiting(_, permit) => {
                    let permit = ready!(permit.as_mut().poll(cx));
                    self.progress.waits.store(false, Ordering::Relaxed);
                    let State::Waiting(response, _) = std::mem::replace(&mut self.state, State::Done) else {
                        return Poll::Ready(None);
                    };
                    let frames = Frames::new(*response);
                    self.state = State::Sending { frames, _lease: permit.map(Lease::new) };
                }
                State::Sending { frames, .. } => match frames.frame() {
                    Some(frame) => {
                        self.progress.frames.fetch_add(1, Ordering::Relaxed);
                        return Poll::Ready(Some(Frame::data(frame)));
                    }
                    // The connection comes back for more when it has taken the last.
                    None => {
                        self.progress.read.fetch_add(1, Ordering::Relaxed);
                        self.state = State::Idle;
                    }
                },
            }
        }
    }
}

impl Body for Responses {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.poll_next(cx).map(|frame| frame.map(Ok))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use umbra_proto::envoy::service::discovery::v3::DiscoveryRequest;
    use umbra_xds::{Change, Decoded, Resource, ResourceType, Session, Snapshot, Variant};

    use super::*;

    /// A response with resources of these sizes.
    fn response(sizes: &[usize]) -> Response {
        let ty = ResourceType::Cluster;
        let put = |(n, size): (usize, &usize)| {
            Change::put(ty, Resource::new(ty, n.to_string(), vec![7; *size], []))
        };
        let mut session = Session::new(Variant::Sotw);
        session.on_snapshot(
            Arc::new(Snapshot::empty(1, 0).next(1, sizes.iter().enumerate().map(put))),
            Duration::ZERO,
        );
        let request = DiscoveryRequest { type_url: ty.type_url().to_owned(), ..Default::default() };
        session.on_request(request, Duration::ZERO).unwrap().responses.remove(0)
    }

    async fn data(body: &mut Responses) -> Bytes {
        body.frame().await.unwrap().unwrap().into_data().unwrap()
    }

    #[tokio::test]
    async fn frames_are_the_message_and_large_parts_are_shared() {
        for sizes in
            [&[][..], &[0], &[10, 20], &[SHARED_FROM], &[5, 200_000, 5, 5, 3000, 70_000, 1], &[500; 300]]
        {
            let response = response(sizes);
            let (sender, mut body) = channel(Budget::default());
            sender.send(Ok(response.clone())).await.unwrap();
            sender.send(Err(Status::aborted("over"))).await.unwrap();
            let shared: Vec<_> = response.parts().filter(|part| part.len() >= SHARED_FROM).collect();
            let is_shared =
                |frame: &Bytes| shared.iter().any(|part| part.as_ptr_range().contains(&frame.as_ptr()));
            let (mut whole, mut copied) = (Vec::new(), 0);
            let trailers = loop {
                match body.frame().await.unwrap().unwrap().into_data() {
                    Ok(frame) => {
                        assert!(frame.len() <= FRAME + SHARED_FROM);
                        whole.extend_from_slice(&frame);
                        copied += if is_shared(&frame) { 0 } else { frame.len() };
                    }
                    Err(frame) => break frame.into_trailers().unwrap(),
                }
            };
            assert_eq!(trailers["grpc-status"], "10");
            assert!(body.frame().await.is_none());
            assert_eq!(whole[..PREFIX], [&[0][..], &(response.encoded_len() as u32).to_be_bytes()].concat());
            let message: Vec<u8> = response.parts().flatten().collect();
            assert_eq!(whole[PREFIX..], message);
            assert_eq!(copied, whole.len() - shared.iter().map(Bytes::len).sum::<usize>(), "{sizes:?}");
            let Decoded::Sotw(decoded) = response.decode().unwrap() else { panic!("the other variant") };
            assert_eq!(decoded.resources.len(), sizes.len());
        }
    }

    #[tokio::test]
    async fn large_responses_take_turns_and_small_ones_pass() {
        let budget = Budget::default();
        let large = response(&[BUDGET << 10]);
        let (one, mut first) = channel(budget.clone());
        let (two, mut second) = channel(budget.clone());
        let (three, mut third) = channel(budget);
        one.send(Ok(large.clone())).await.unwrap();
        two.send(Ok(large)).await.unwrap();
        three.send(Ok(response(&[10]))).await.unwrap();
        data(&mut first).await;
        let mut second = Box::pin(second.frame());
        assert!(futures::poll!(&mut second).is_pending());
        data(&mut third).await;
        assert!(one.unread_at().is_some() && two.unread_at().is_none(), "who waits for its turn is not slow");
        // The first client reads no further: it has had its time.
        assert!(second.await.is_some());
    }

    #[tokio::test]
    async fn a_response_is_read_when_the_connection_asks_for_more() {
        let (sender, mut body) = channel(Budget::default());
        assert_eq!(sender.unread_at(), None);
        sender.send(Ok(response(&[10]))).await.unwrap();
        assert_eq!(sender.unread_at(), Some(0));
        data(&mut body).await;
        assert_eq!(sender.unread_at(), Some(1));
        assert!(futures::poll!(body.frame()).is_pending());
        assert_eq!(sender.unread_at(), None);
        drop(body);
        assert!(sender.send(Ok(response(&[]))).await.is_err());
    }
}
