//! Requests of one stream, read from its body.
//!
//! tonic's own reader keeps a buffer as large as the largest message for as long as the stream lives: for a proxy that
//! has once asked for a thousand names, a hundred KiB that nothing needs any more.

use std::marker::PhantomData;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};
use tonic::body::Body;
use tonic::{Code, Status};

use super::allowance::{Allowance, SMALL, TooMany, Turn};

/// Flag and length before each message (gRPC over HTTP/2, "Length-Prefixed-Message").
pub(super) const PREFIX: usize = 5;

/// What the messages of a stream are read as.
pub(super) trait Read: Sized + Send {
    /// Reads a whole message.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` or `RESOURCE_EXHAUSTED`: it is none, or comes to too much.
    fn read(message: &[u8]) -> Result<Self, Status>;
}

/// A message as it came.
pub(super) struct Raw(pub(super) Vec<u8>);

impl Read for Raw {
    fn read(message: &[u8]) -> Result<Self, Status> {
        Ok(Raw(message.to_vec()))
    }
}

/// The messages of a stream.
pub(super) struct Requests<T> {
    body: Body,
    limit: usize,
    /// For a message that has begun.
    patience: Duration,
    allowance: Allowance,
    /// What was read and is no whole message yet.
    rest: BytesMut,
    /// Since when there is such.
    begun: Option<Instant>,
    turn: Option<Turn>,
    message: PhantomData<fn() -> T>,
}

impl<T: Read> Requests<T> {
    /// Messages of at most `limit` bytes, each within `patience` of its first byte.
    pub(super) fn new(body: Body, limit: usize, patience: Duration, allowance: Allowance) -> Self {
        let (rest, begun, turn) = (BytesMut::new(), None, None);
        Requests { body, limit, patience, allowance, rest, begun, turn, message: PhantomData }
    }

    /// Takes note of what the stream's names weigh.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED`: it may not have so many.
    pub(super) fn weigh(&mut self, names: usize) -> Result<(), Status> {
        let text = "names that nobody else asks for are limited by address; umbra keeps no more of them";
        self.allowance.names(names).map_err(|TooMany| Status::resource_exhausted(text))
    }

    /// The next message; `None` when the client has said its last. May be dropped at any await. Boxed: whoever handles it is a
    /// task that has room for everything that it ever holds, and there is one for each proxy.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, `RESOURCE_EXHAUSTED` or `DEADLINE_EXCEEDED` for what is no request, too large or too slow; any other
    /// code is a connection that broke.
    pub(super) async fn message(&mut self) -> Result<Option<Box<T>>, Status> {
        loop {
            if let Some(message) = self.whole()? {
                (self.begun, self.turn) = (None, None);
                return Ok(Some(message));
            }
            if self.turn.is_none()
                && let Some(len) = length(&self.rest, self.limit)?.filter(|len| *len > SMALL)
            {
                // Until then the client waits: what it sends fills its window. Its time begins with its turn.
                self.turn = self.allowance.turn(len).await;
                self.begun = None;
                // Growing by itself it would come to twice as much.
                self.rest.reserve((PREFIX + len).saturating_sub(self.rest.len()));
            }
            let frame = match self.rest.is_empty() {
                true => self.body.frame().await,
                false => {
                    let begun = *self.begun.get_or_insert_with(Instant::now);
                    timeout_at(begun + self.patience, self.body.frame()).await.map_err(|_| {
                        Status::deadline_exceeded(format!("no whole message within {:?}", self.patience))
                    })?
                }
            };
            match frame {
                None if self.rest.is_empty() => return Ok(None),
                None => return Err(Status::unavailable("the stream ended inside of a message")),
                // Whatever the transport says: the client did not.
                Some(Err(error)) => return Err(Status::unavailable(error.to_string())),
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    if let Some(message) = self.take(data)? {
                        return Ok(Some(message));
                    }
                }
            }
        }
    }

    /// Takes what came; the message, when it is all of one.
    fn take(&mut self, data: Bytes) -> Result<Option<Box<T>>, Status> {
        if self.rest.is_empty() && length(&data, self.limit)?.is_some_and(|len| data.len() == PREFIX + len) {
            return T::read(&data[PREFIX..]).map(Box::new).map(Some);
        }
        self.rest.extend_from_slice(&data);
        Ok(None)
    }

    /// The first message of the rest, when it is there as a whole.
    fn whole(&mut self) -> Result<Option<Box<T>>, Status> {
        let Some(len) = length(&self.rest, self.limit)?.filter(|len| self.rest.len() >= PREFIX + len) else {
            return Ok(None);
        };
        self.rest.advance(PREFIX);
        let message = T::read(&self.rest.split_to(len)).map(Box::new);
        if self.rest.is_empty() {
            self.rest = BytesMut::new();
        }
        message.map(Some)
    }
}

/// The length of the message that begins here, once its prefix is there.
fn length(data: &[u8], limit: usize) -> Result<Option<usize>, Status> {
    let Some((&[flag, a, b, c, d], _)) = data.split_first_chunk::<PREFIX>() else { return Ok(None) };
    if flag != 0 {
        return Err(Status::invalid_argument("the message is compressed, which was not agreed upon"));
    }
    let len = u32::from_be_bytes([a, b, c, d]) as usize;
    if len > limit {
        let text = format!("the message has {len} bytes, and {limit} are allowed");
        return Err(Status::new(Code::ResourceExhausted, text));
    }
    Ok(Some(len))
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt, stream};
    use http_body_util::StreamBody;
    use prost::Message;
    use umbra_proto::envoy::service::discovery::v3::DiscoveryRequest;

    use super::super::MAX_REQUEST_BYTES;
    use super::super::allowance::Allowances;
    use super::*;

    fn framed(flag: u8, len: usize, message: &[u8]) -> Vec<u8> {
        let mut out = vec![flag];
        out.extend((len as u32).to_be_bytes());
        out.extend(message);
        out
    }

    fn message(url: &str) -> Vec<u8> {
        let message = DiscoveryRequest { type_url: url.to_owned(), ..Default::default() }.encode_to_vec();
        framed(0, message.len(), &message)
    }

    /// What is read of these bytes when they come in pieces of that size, and how it ends.
    /// Nothing comes after them when `rest` is 1, and the end when it is 0.
    async fn read(bytes: &[u8], piece: usize, rest: usize) -> (Vec<String>, Option<Code>) {
        let pieces: Vec<_> = bytes.chunks(piece).map(Bytes::copy_from_slice).collect();
        let frames = pieces.into_iter().map(|it| Ok::<_, Status>(http_body::Frame::data(it)));
        let body = Body::new(StreamBody::new(stream::iter(frames).chain(stream::pending().take(rest))));
        let allowance = Allowances::default().of([10, 0, 0, 1].into(), false);
        let patience = Duration::from_millis(10);
        let mut requests = Requests::<DiscoveryRequest>::new(body, MAX_REQUEST_BYTES, patience, allowance);
        let mut found = Vec::new();
        loop {
            match requests.message().await {
                Ok(Some(message)) => found.push(message.type_url),
                Ok(None) => return (found, None),
                Err(status) => return (found, Some(status.code())),
            }
        }
    }

    #[tokio::test]
    async fn messages_are_found_however_they_are_cut() {
        let long = "x".repeat(1000);
        let good = [message("a"), message(""), message(&long), message("b")].concat();
        let all = ["a", "", &long, "b"].map(str::to_owned);
        let too_long = framed(0, MAX_REQUEST_BYTES + 1, b"");
        for (title, bytes, found, end) in [
            ("four", &good[..], &all[..], None),
            ("none", b"", &[], None),
            ("half", &good[..good.len() - 1], &all[..3], Some(Code::Unavailable)),
            ("compressed", &framed(1, 0, b""), &[], Some(Code::InvalidArgument)),
            ("large", &message(&"x".repeat(100_000))[..], &["x".repeat(100_000)], None),
            ("garbage", &framed(0, 3, &[255; 3]), &[], Some(Code::InvalidArgument)),
            ("too long", &too_long, &[], Some(Code::ResourceExhausted)),
        ] {
            for piece in [1, 2, 7, 1007, 1 << 20] {
                assert_eq!(read(bytes, piece, 0).await, (found.to_vec(), end), "{title} by {piece}");
            }
        }
    }

    #[tokio::test]
    async fn a_message_that_has_begun_has_to_end() {
        let large = message(&"x".repeat(100_000));
        for half in [&message("a")[..3], &large[..large.len() - 1]] {
            let bytes = [message("a"), half.to_vec()].concat();
            assert_eq!(read(&bytes, 7, 1).await, (vec!["a".to_owned()], Some(Code::DeadlineExceeded)));
        }
    }
}
