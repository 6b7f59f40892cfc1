//! What becomes of a request, and whether it is the same on both sides.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use http::HeaderMap;
use umbra_testkit::client::{Answer, Ask, Client, SERVED_BY};
use umbra_testkit::echo::{Echo, Record};
use umbra_testkit::net::Net;

use super::control::{Control, KINDS, Role, SIDES, Side};
use super::hello;
use super::rules::Request;
use super::world::{BYTES, ENTERED_TLS, TLS};

/// How often something is asked again that may be left to chance (which of two Pods answers) or to time.
const AGAIN: usize = 16;
/// In how many rounds.
const ROUNDS: usize = 3;

/// How often what differs from time to time is asked to see how often it does.
const SAMPLE: usize = 200;

/// How long an answer may take; what has none by then has none at all, as nothing here takes its time.
const LONGEST: Duration = Duration::from_secs(30);

/// By which an arrival is known to belong to a request.
const PROBE: &str = "x-probe";

/// What is different in every answer, or says of whom it is.
const ANSWER_NOISE: &[&str] = &[
    "date",
    "server",
    "content-length",
    "content-type",
    "x-envoy-upstream-service-time",
    "grpc-message",
    SERVED_BY,
];
/// The same of requests.
/// `grpc-timeout` is declared: "The deadline in a request's `grpc-timeout`".
const REQUEST_NOISE: &[&str] = &[
    "grpc-timeout",
    PROBE,
    "x-request-id",
    "x-forwarded-for",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-decorator-operation",
];

/// What an echo service got.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Arrival {
    pub(crate) at: String,
    pub(crate) method: String,
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<String>,
}

/// What became of a request.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Outcome {
    pub(crate) status: u16,
    /// Who answered; empty: the proxy itself.
    pub(crate) by: String,
    pub(crate) headers: Vec<String>,
    /// Of the proxy's own answers.
    pub(crate) body: String,
    /// The one that answered, first.
    pub(crate) arrivals: Vec<Arrival>,
}

/// A request that the two sides do not treat alike, with what each did whenever it was asked.
#[derive(Clone, Debug)]
pub(crate) struct Difference {
    pub(crate) request: Request,
    pub(crate) umbra: BTreeSet<Outcome>,
    pub(crate) istiod: BTreeSet<Outcome>,
    /// Of outcomes that both have, those that do not come as often.
    pub(crate) shares: String,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Request { kind, address, port, method, host, path, headers } = &self.request;
        writeln!(f, "# {} {address}:{port} {method} {host} {path} {headers:?}", KINDS[*kind].name)?;
        let only = |own: &BTreeSet<Outcome>, other: &BTreeSet<Outcome>| {
            own.difference(other).cloned().collect::<Vec<_>>()
        };
        for outcome in only(&self.umbra, &self.istiod) {
            writeln!(f, "# umbra:  {outcome:?}")?;
        }
        for outcome in only(&self.istiod, &self.umbra) {
            writeln!(f, "# istiod: {outcome:?}")?;
        }
        f.write_str(&self.shares)
    }
}

/// Those of the requests that come out differently, however often they are asked.
pub(crate) async fn differences(
    control: &Control,
    echoes: &[Echo],
    requests: &[Request],
) -> Result<Vec<Difference>> {
    let [umbra, istiod] = both(control, echoes, requests).await?;
    let unlike =
        requests.iter().zip(umbra.iter().zip(&istiod)).filter(|(_, (umbra, istiod))| umbra != istiod);
    let unlike: Vec<Request> = unlike.map(|(request, _)| request.clone()).collect();
    if unlike.is_empty() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for request in unlike {
        if let Some(difference) = confirm(control, echoes, request).await? {
            found.push(difference);
        }
    }
    Ok(found)
}

/// Whether it stays: while one world takes the place of another, something may be on its way yet.
async fn confirm(control: &Control, echoes: &[Echo], request: Request) -> Result<Option<Difference>> {
    let mut last = None;
    for _ in 0..ROUNDS {
        let [umbra, istiod] = both(control, echoes, &vec![request.clone(); AGAIN]).await?;
        let (umbra, istiod): (BTreeSet<_>, BTreeSet<_>) =
            (umbra.into_iter().collect(), istiod.into_iter().collect());
        let shares = match umbra == istiod {
            true if umbra.len() < 2 => return Ok(None),
            true => shares(control, echoes, &request).await?,
            false => String::new(),
        };
        if umbra == istiod && shares.is_empty() {
            return Ok(None);
        }
        last = Some(Difference { request: request.clone(), umbra, istiod, shares });
        control.wait_quiet().await?;
    }
    Ok(last)
}

/// What is left to chance comes as often on both sides: the outcomes of which it does not, as chance would have it but once in a
/// billion.
async fn shares(control: &Control, echoes: &[Echo], request: &Request) -> Result<String> {
    let [umbra, istiod] = both(control, echoes, &vec![request.clone(); SAMPLE]).await?;
    let mut counts: BTreeMap<Outcome, [usize; 2]> = BTreeMap::new();
    umbra.into_iter().for_each(|outcome| counts.entry(outcome).or_default()[0] += 1);
    istiod.into_iter().for_each(|outcome| counts.entry(outcome).or_default()[1] += 1);
    let unlike = counts.iter().filter(|(_, [umbra, istiod])| {
        let share = (umbra + istiod) as f64 / (2 * SAMPLE) as f64;
        let deviation = (2.0 * SAMPLE as f64 * share * (1.0 - share)).sqrt();
        umbra.abs_diff(*istiod) as f64 > 6.2 * deviation + 1.0
    });
    let line = |(outcome, [umbra, istiod]): (&Outcome, &[usize; 2])| {
        format!("# of {SAMPLE}: {umbra} with umbra, {istiod} with istiod: {outcome:?}\n")
    };
    Ok(unlike.map(line).collect())
}

async fn both(control: &Control, echoes: &[Echo], requests: &[Request]) -> Result<[Vec<Outcome>; 2]> {
    let (umbra, istiod) =
        tokio::join!(ask(control, Side::Umbra, requests), ask(control, Side::Istiod, requests));
    let answers = [umbra?, istiod?];
    control.settle().await?;
    let mut arrived: BTreeMap<String, Vec<Arrival>> = BTreeMap::new();
    for echo in echoes {
        for record in echo.take() {
            arrived.entry(record.header(PROBE).to_owned()).or_default().push(arrival(echo.name(), &record));
        }
    }
    let mut sides = answers.into_iter().zip(SIDES).map(|(answers, side)| {
        let of = |(nth, answer): (usize, Answer)| {
            let arrivals = arrived.remove(&probe(side, nth)).unwrap_or_default();
            outcome(side, &requests[nth], &answer, arrivals)
        };
        answers.into_iter().enumerate().map(of).collect()
    });
    Ok([sides.next().unwrap_or_default(), sides.next().unwrap_or_default()])
}

fn probe(side: Side, nth: usize) -> String {
    format!("{side:?}-{nth}")
}

async fn ask(control: &Control, side: Side, requests: &[Request]) -> Result<Vec<Answer>> {
    let mut clients: BTreeMap<(usize, SocketAddr), Client> = BTreeMap::new();
    let mut answers = Vec::new();
    for (nth, request) in requests.iter().enumerate() {
        let (_, net) = control.proxy(request.kind, side);
        let at = SocketAddr::new(request.address, request.port);
        // A connection of bytes stays with the Pod that it went to.
        if request.port == BYTES {
            clients.remove(&(request.kind, at));
        }
        if [TLS, ENTERED_TLS].contains(&request.port) {
            answers.push(handshake(net, at, &request.host).await);
            continue;
        }
        let client = clients.entry((request.kind, at)).or_insert_with(|| Client::new(net, at));
        let mut ask = Ask::get(&request.host, &request.path).header(PROBE, &probe(side, nth));
        ask.method = request.method.parse().with_context(|| request.method.clone())?;
        ask.headers.extend(request.headers.iter().cloned());
        answers.push(answer(client, &ask).await?);
    }
    Ok(answers)
}

/// Who takes the beginning of TLS for a name. Where nobody listens, and where the connection ends, nobody does.
async fn handshake(net: &Net, at: SocketAddr, host: &str) -> Answer {
    let name = host.split(':').next().unwrap_or_default().trim_end_matches('.');
    let by = hello::ask(net, at, name).await;
    let mut headers = HeaderMap::new();
    if let Some(value) = by.as_ref().and_then(|by| by.parse().ok()) {
        headers.insert(SERVED_BY, value);
    }
    let status = if by.is_some() { http::StatusCode::OK } else { http::StatusCode::NOT_FOUND };
    Answer { status, headers, body: bytes::Bytes::new(), took: Duration::ZERO }
}

/// Where nobody listens, or a connection is broken off, there is no answer, and that is one too.
async fn answer(client: &mut Client, ask: &Ask) -> Result<Answer> {
    let none = |status| Answer {
        status,
        headers: HeaderMap::new(),
        body: bytes::Bytes::new(),
        took: Duration::ZERO,
    };
    let Ok(answered) = tokio::time::timeout(LONGEST, client.ask(ask)).await else {
        return Ok(none(http::StatusCode::from_u16(598)?));
    };
    match answered {
        Err(why) if format!("{why:#}").contains("cannot connect") => Ok(none(http::StatusCode::NOT_FOUND)),
        Err(_) => Ok(none(http::StatusCode::from_u16(599)?)),
        Ok(answer) => Ok(answer),
    }
}

fn listed(headers: &HeaderMap, noise: &[&str]) -> Vec<String> {
    let kept = headers.iter().filter(|(name, _)| !noise.contains(&name.as_str()));
    let mut all: Vec<String> =
        kept.map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))).collect();
    all.sort();
    all
}

fn arrival(at: &str, record: &Record) -> Arrival {
    Arrival {
        at: at.to_owned(),
        method: record.method.to_string(),
        host: record.host.clone(),
        path: record.path.clone(),
        headers: listed(&record.headers, REQUEST_NOISE)
            .into_iter()
            .filter(|it| !it.starts_with("host: "))
            .collect(),
    }
}

fn outcome(side: Side, request: &Request, answer: &Answer, mut arrivals: Vec<Arrival>) -> Outcome {
    let by = answer.served_by().to_owned();
    // What an application calls on a sidecar without capture is 404 if nobody defines it; with istiod, told to know nobody
    // else, 502. docs/compatibility.md: "An unknown host on a sidecar's listener".
    let unknown = side == Side::Istiod
        && KINDS[request.kind].role == Role::Called
        && by.is_empty()
        && answer.status == 502;
    let status = if unknown { 404 } else { answer.status.as_u16() };
    let own = by.is_empty() && ![404, 503].contains(&status);
    arrivals.sort_by_key(|it| (it.at != by, it.clone()));
    Outcome {
        status,
        headers: listed(&answer.headers, ANSWER_NOISE),
        body: if own { answer.text() } else { String::new() },
        by,
        arrivals,
    }
}
