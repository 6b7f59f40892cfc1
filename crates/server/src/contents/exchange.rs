//! One stream of Envoy's external processor, of a judged request or of one of its copies: what was answered. Nothing is ever said
//! back.

use umbra_envoy::{CLUSTER, ROUTE, START, judged_rule};
use umbra_ir::{SHADOW, SHADOW_OF};
use umbra_judge::Key;
use umbra_proto::envoy::config::core::v3::HeaderMap;
use umbra_proto::envoy::service::ext_proc::v3::{ProcessingRequest, processing_request::Request};
use umbra_proto::google::protobuf::{Struct, value::Kind};

use super::body::{Passing, Room};
use super::hold::{Answer, Of};
use crate::verdicts::{destination, parse_start, text};

/// A name of Envoy's attributes among others.
const ATTRIBUTES: &str = "envoy.filters.http.ext_proc";

/// Which side a stream is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    Primary,
    Copy,
}

/// An answer that is passing.
pub(super) struct Exchange {
    side: Side,
    room: Room,
    of: Option<(Key, Of)>,
    answer: Option<Passing>,
    status: String,
    grpc: String,
    cluster: String,
}

/// One that has passed.
pub(super) struct Passed {
    pub(super) key: Key,
    pub(super) of: Of,
    pub(super) answer: Answer,
}

impl Exchange {
    pub(super) fn new(side: Side, room: Room) -> Self {
        let (status, grpc, cluster) = Default::default();
        Exchange { side, room, of: None, answer: None, status, grpc, cluster }
    }

    /// Takes in the next message. `Err`: of this stream nothing is to be known. `Ok(true)`: all has come.
    pub(super) fn take(&mut self, message: ProcessingRequest) -> Result<bool, &'static str> {
        let attribute = |name: &str| attribute(message.attributes.get(ATTRIBUTES), name);
        match message.request {
            Some(Request::RequestHeaders(headers)) => {
                let headers = headers.headers.unwrap_or_default();
                self.of = Some(match self.side {
                    Side::Primary => primary(&headers, &attribute(START), &attribute(ROUTE)),
                    Side::Copy => copy(&headers),
                }?);
                Ok(false)
            }
            Some(Request::ResponseHeaders(response)) => {
                let headers = response.headers.unwrap_or_default();
                self.status = header(&headers, ":status");
                self.grpc = header(&headers, "grpc-status");
                self.cluster = attribute(CLUSTER);
                let (media, encoding) =
                    (header(&headers, "content-type"), header(&headers, "content-encoding"));
                self.answer = Some(Passing::new(&media, &encoding, &self.room));
                // An answer by the protocol's way to say "go on" is none.
                Ok(response.end_of_stream)
            }
            Some(Request::ResponseBody(body)) => {
                self.answer.as_mut().ok_or("a body without an answer")?.pass(&body.body);
                Ok(body.end_of_stream)
            }
            Some(Request::ResponseTrailers(trailers)) => {
                let grpc = header(&trailers.trailers.unwrap_or_default(), "grpc-status");
                if !grpc.is_empty() {
                    self.grpc = grpc;
                }
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// What has passed, when all has; `None`: there was no answer.
    pub(super) fn end(self) -> Option<Passed> {
        let (key, of) = self.of?;
        let answer = Answer {
            status: text(&self.status),
            grpc: text(&self.grpc),
            destination: destination(&self.cluster),
            body: self.answer?.end(),
        };
        Some(Passed { key, of, answer })
    }
}

fn primary(headers: &HeaderMap, start: &str, route: &str) -> Result<(Key, Of), &'static str> {
    let rule = judged_rule(route).ok_or("a route that is not for judged requests")?;
    let start = start.parse::<jiff::Timestamp>().map_err(|_| "no time at which the request began")?;
    let start = u64::try_from(start.as_nanosecond() / 1000).map_err(|_| "a time before 1970")?;
    Ok((Key { start, request: text(&header(headers, "x-request-id")) }, Of::Primary(rule.into())))
}

fn copy(headers: &HeaderMap) -> Result<(Key, Of), &'static str> {
    let mark = header(headers, SHADOW);
    let start = parse_start(&header(headers, SHADOW_OF)).ok_or("a copy that does not say of what")?;
    Ok((Key { start, request: text(&header(headers, "x-request-id")) }, Of::Copy(mark.into())))
}

/// Envoy sends values as bytes; some that have another encoding are no text.
fn header(headers: &HeaderMap, name: &str) -> String {
    let found = headers.headers.iter().find(|header| header.key == name);
    found.map_or(String::new(), |header| match header.raw_value.is_empty() {
        true => header.value.clone(),
        false => String::from_utf8_lossy(&header.raw_value).into_owned(),
    })
}

fn attribute(all: Option<&Struct>, name: &str) -> String {
    match all.and_then(|all| all.fields.get(name)).and_then(|value| value.kind.as_ref()) {
        Some(Kind::StringValue(text)) => text.clone(),
        _ => String::new(),
    }
}
