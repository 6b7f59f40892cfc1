//! One watch as a task: lists, watches, waits and tries again, for ever. What it hears goes through the
//! [`Cache`]; what that says goes out.
//!
//! The `watcher` of kube-runtime is not used: it hides bookmarks, so that a connection that went silent
//! looks like a quiet cluster, and opens a watch that ends at once again without a pause.

use std::time::Duration;

use futures::{AsyncBufReadExt, StreamExt};
use http::HeaderValue;
use http::header::ACCEPT_ENCODING;
use kube::Client;
use kube::core::params::{ListParams, WatchParams};
use kube::core::{ListMeta, Request, Status};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{debug, info, warn};
use umbra_api::Change;
use umbra_ir::ObjectId;

use super::cache::{Cache, Event, Step, identity};
use super::health::{Failure, WatchHealth, WatchId, WatchState};
use super::kept::Kept;
use super::resource::Resource;
use super::told::Told;

/// How long one watch lasts. The API server sends a bookmark about 2 s before its end, so this bounds how
/// long a dead connection looks like a quiet one.
const WINDOW: u32 = 12;
/// How much later than [`WINDOW`] the end may come before the connection counts as dead.
const MARGIN: Duration = Duration::from_secs(3);
/// A watch that ends earlier has failed; opening it again without a pause would be a flood.
const SHORTEST: Duration = Duration::from_secs(1);
/// How long the answer to a watch request may take to begin.
const OPEN: Duration = Duration::from_secs(5);
/// How long one page of a list may take.
const PAGE: Duration = Duration::from_secs(30);
/// Objects in a page.
const PAGE_SIZE: u32 = 500;
/// The first pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause after a failure: what a user waits at most once the API server is back.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// How long the API server is waited for at the start before what is kept on disk is served instead.
const PATIENCE: Duration = Duration::from_secs(3);

/// What a watch tells the collector.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) id: WatchId,
    pub(crate) steps: Vec<Step>,
    pub(crate) health: WatchHealth,
    /// When the list or watch began that it tells of; `None`: history is gone, and a new list is asked for at once.
    pub(crate) asked: Option<Instant>,
}

/// One watch.
pub(crate) struct ListWatch {
    client: Client,
    id: WatchId,
    resource: Resource,
    selector: Option<String>,
    /// Only the object of this name.
    only: Option<String>,
    /// What it was told last in an earlier life, and where it notes what it is told now.
    kept: Option<Kept>,
    started: Instant,
    cache: Cache,
    out: mpsc::Sender<Message>,
    /// How long a watch may go on before all is listed again, a tenth more or less; `None`: without an end.
    resync: Option<Duration>,
    /// When that is.
    due: Option<Instant>,
    told: WatchHealth,
    asked: Instant,
    pause: Duration,
    /// It was told that history is gone, and has heard nothing since.
    gone: bool,
}

/// Nobody listens any more.
struct Closed;

/// How a step of the loop ended.
enum Problem {
    Closed,
    Failed(Failure),
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        Problem::Failed(failure)
    }
}

impl From<Closed> for Problem {
    fn from(Closed: Closed) -> Self {
        Problem::Closed
    }
}

/// A page of a list. Its objects are read one by one.
#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    metadata: ListMeta,
    items: Option<Vec<Box<RawValue>>>,
}

/// A line of a watch (Kubernetes API, `WatchEvent`).
#[derive(Deserialize)]
struct Line {
    #[serde(rename = "type")]
    event: Happened,
    object: Box<RawValue>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Happened {
    Added,
    Modified,
    Deleted,
    Bookmark,
    Error,
}

/// Where a list ended and the watch goes on.
struct Position {
    path: String,
    version: String,
}

impl ListWatch {
    /// `selector` limits which objects are seen; `kept` is where they outlive the process. See [`super::watch_cluster`] of
    /// `resync`.
    pub(crate) fn new(
        client: Client,
        id: WatchId,
        selector: Option<String>,
        kept: Option<Kept>,
        resync: Option<Duration>,
        out: mpsc::Sender<Message>,
    ) -> Self {
        let resource = Resource::of(id.kind);
        let (cache, told) = (Cache::new(resource), WatchHealth::default());
        let (asked, pause) = (Instant::now(), FIRST_PAUSE);
        let started = asked;
        ListWatch {
            client,
            id,
            resource,
            selector,
            only: None,
            kept,
            started,
            cache,
            out,
            resync,
            due: None,
            told,
            asked,
            pause,
            gone: false,
        }
    }

    /// Asks for one object alone.
    pub(crate) fn only(mut self, name: &str) -> Self {
        self.only = Some(format!("metadata.name={name}"));
        self
    }

    /// Runs until nobody listens.
    pub(crate) async fn run(mut self) {
        let mut position = None;
        loop {
            self.asked = Instant::now();
            let result = match &mut position {
                None => self.list().await.map(|listed| position = Some(listed)),
                Some(at) => self.watch(at).await,
            };
            let failure = match result {
                Ok(()) => {
                    let forgotten = self.kept.as_ref().is_some_and(|kept| kept.needs_list(&self.id));
                    if forgotten || self.due.is_some_and(|due| due <= Instant::now()) {
                        position = None;
                    }
                    continue;
                }
                Err(Problem::Closed) => return,
                Err(Problem::Failed(failure)) => failure,
            };
            if failure.needs_list() {
                position = None;
            }
            if self.fail(failure).await.is_err() {
                return;
            }
        }
    }

    /// Notes a failure and waits, the longer the more often.
    async fn fail(&mut self, failure: Failure) -> Result<(), Closed> {
        let gone = failure == Failure::Gone;
        if gone && !std::mem::replace(&mut self.gone, gone) {
            // The server is there, and a list will do: how long it was away before doesn't matter.
            self.pause = FIRST_PAUSE;
        }
        debug!(watch = %self.id, %failure, "watch failed");
        let missing = failure == Failure::NoKind;
        // Failures never take anything away and are never out of order.
        self.take(Event::Failed(failure)).await.map_err(|_| Closed)?;
        if !missing {
            self.restore().await?;
        } else if let Some(kept) = self.kept.as_ref().filter(|_| self.told.state == WatchState::Absent) {
            // There is nothing of it, as after a list that was empty.
            kept.note_complete(&self.id, std::iter::empty());
        }
        // Half of it by chance, so that many watches and replicas don't come back at once.
        sleep(self.pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }

    /// Serves what is kept on disk when the API server cannot be reached for a while after the start.
    async fn restore(&mut self) -> Result<(), Closed> {
        if !self.may_restore() || self.started.elapsed() < PATIENCE {
            return Ok(());
        }
        let Some(kept) = &self.kept else { return Ok(()) };
        let Some((as_of, told)) = kept.read(&self.id).await else { return Ok(()) };
        let steps = self.cache.restore(told, as_of);
        self.tell(steps).await
    }

    /// Whether what is kept on disk is still of use.
    fn may_restore(&self) -> bool {
        self.kept.is_some() && self.told.state == WatchState::Starting
    }

    /// Notes for a later life what a list or an event said of an object.
    fn note(&self, id: &ObjectId, text: Option<&RawValue>) {
        if let Some(kept) = &self.kept
            && (text.is_none() || self.cache.understands(id))
        {
            kept.note(&self.id, id, text);
        }
    }

    /// Takes one event in and tells what it changed.
    async fn take(&mut self, event: Event) -> Result<(), Problem> {
        let steps = self.cache.take(event)?;
        self.tell(steps).await.map_err(Into::into)
    }

    async fn tell(&mut self, steps: Vec<Step>) -> Result<(), Closed> {
        let health = self.cache.health();
        if steps.is_empty() && health == self.told {
            return Ok(());
        }
        if (health.state, &health.reason) != (self.told.state, &self.told.reason) {
            match health.state {
                WatchState::Synced if self.told.state == WatchState::Degraded => {
                    info!(watch = %self.id, "watch is in step again");
                }
                WatchState::Synced | WatchState::Absent => {
                    debug!(watch = %self.id, state = health.state.as_str(), "watch");
                }
                WatchState::Starting => warn!(watch = %self.id, reason = health.reason, "not in step yet"),
                WatchState::Degraded => {
                    warn!(watch = %self.id, reason = health.reason, "watch failed; what it read last stays");
                }
            }
        }
        self.told = health.clone();
        let asked = (!self.gone).then_some(self.asked);
        let message = Message { id: self.id.clone(), steps, health, asked };
        self.out.send(message).await.map_err(|_| Closed)
    }

    /// Lists in the best version that the server has.
    async fn list(&mut self) -> Result<Position, Problem> {
        for version in self.resource.versions() {
            let path = self.resource.path(version, self.id.namespace.as_deref());
            match self.pages(&path).await {
                Ok(version) => return Ok(Position { path, version }),
                Err(Problem::Failed(Failure::NoKind)) => {}
                Err(problem) => return Err(problem),
            }
        }
        Err(Failure::NoKind.into())
    }

    async fn pages(&mut self, path: &str) -> Result<String, Problem> {
        let mut params = ListParams::default().limit(PAGE_SIZE);
        params.label_selector = self.selector.clone();
        params.field_selector = self.only.clone();
        loop {
            let request = Request::new(path).list(&params).map_err(|e| unreachable(&e))?;
            let page =
                timeout(if self.may_restore() { PATIENCE } else { PAGE }, self.client.request_text(request))
                    .await;
            let page = page.map_err(|_| Failure::Stalled(PAGE.as_secs()))?;
            let page = page.map_err(|error| self.failure(error, "list"))?;
            let page: Page = serde_json::from_str(&page).map_err(|error| unreachable(&error))?;
            let first = params.continue_token.is_none();
            if first {
                self.cache.take(Event::Init)?;
            }
            let mut steps = Vec::new();
            for item in page.items.unwrap_or_default() {
                let told = Told::read(&item);
                let id = identity(self.id.kind, &told);
                steps.extend(self.cache.take(Event::Listed(told))?);
                if let Some(id) = id {
                    self.note(&id, Some(&item));
                }
            }
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_some() {
                self.tell(steps).await?;
                continue;
            }
            let Some(version) = page.metadata.resource_version.filter(|version| !version.is_empty()) else {
                let message = "a list without a resource version".to_owned();
                return Err(Failure::Refused { code: 200, message }.into());
            };
            steps.extend(self.cache.take(Event::InitDone(version.clone()))?);
            if let Some(kept) = &self.kept {
                kept.note_complete(&self.id, self.cache.ids());
            }
            self.tell(steps).await?;
            // By chance, so that many watches and replicas don't come at once.
            self.due = self.resync.map(|period| Instant::now() + period.mul_f64(0.9 + fastrand::f64() / 5.0));
            return Ok(version);
        }
    }

    /// One watch, to its end in its time.
    async fn watch(&mut self, at: &mut Position) -> Result<(), Problem> {
        let mut params = WatchParams::default().timeout(WINDOW);
        params.label_selector = self.selector.clone();
        params.field_selector = self.only.clone();
        let mut request = Request::new(&at.path).watch(&params, &at.version).map_err(|e| unreachable(&e))?;
        // API servers from 1.37 on compress each event by itself, of which the client reads the first only.
        request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let begun = Instant::now();
        let open = timeout(OPEN, self.client.request_stream(request)).await;
        let open = open.map_err(|_| Failure::Stalled(OPEN.as_secs()))?;
        let lines = open.map_err(|error| self.failure(error, "watch"))?.lines();
        let mut lines = std::pin::pin!(lines);
        self.take(Event::Watching).await?;
        let silence = Duration::from_secs(WINDOW.into()) + MARGIN;
        loop {
            let next = timeout_at(Instant::now() + silence, lines.next()).await;
            let line = match next {
                Err(_) => return Err(Failure::Stalled(silence.as_secs()).into()),
                Ok(None) if begun.elapsed() >= SHORTEST => return self.take(Event::Heard(None)).await,
                Ok(None) => return Err(Failure::Ended.into()),
                Ok(Some(Err(error))) => return Err(unreachable(&error).into()),
                Ok(Some(Ok(line))) => line,
            };
            let Line { event, object } = match serde_json::from_str(&line) {
                Ok(line) => line,
                // The connection broke in the middle of it.
                Err(error) if error.is_eof() => continue,
                Err(error) => match serde_json::from_str(&line) {
                    Ok(status) => return Err(self.refusal(status, "watch").into()),
                    Err(_) => return Err(unreachable(&error).into()),
                },
            };
            let told = Told::read(&object);
            let version = told.version().map(str::to_owned);
            let event = match event {
                Happened::Added | Happened::Modified => Event::Apply(told),
                Happened::Deleted => Event::Delete(told),
                Happened::Bookmark => Event::Heard(Some(version.clone().unwrap_or_default())),
                Happened::Error => {
                    let status = serde_json::from_str(object.get()).map_err(|error| unreachable(&error))?;
                    return Err(self.refusal(status, "watch").into());
                }
            };
            let steps = self.cache.take(event)?;
            for step in &steps {
                match &step.change {
                    Some(Change::Upsert(_)) => self.note(&step.id, Some(&object)),
                    Some(Change::Delete(_)) => self.note(&step.id, None),
                    None => {}
                }
            }
            if let Some(kept) = &self.kept {
                kept.note_heard(&self.id);
            }
            self.tell(steps).await?;
            // Only what was taken in need not be sent again.
            if let Some(version) = version.filter(|version| !version.is_empty()) {
                at.version = version;
            }
            self.pause = FIRST_PAUSE;
            self.gone = false;
        }
    }

    fn failure(&self, error: kube::Error, verb: &str) -> Failure {
        match error {
            kube::Error::Api(status) => self.refusal(*status, verb),
            error => unreachable(&error),
        }
    }

    fn refusal(&self, status: Status, verb: &str) -> Failure {
        match status.code {
            403 => Failure::Forbidden(self.resource.rule(verb, self.id.namespace.as_deref())),
            404 => Failure::NoKind,
            410 => Failure::Gone,
            code => Failure::Refused { code, message: status.message },
        }
    }
}

/// With all causes: the outermost words alone ("service error") say nothing.
fn unreachable(error: &dyn std::error::Error) -> Failure {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !words.contains(&more) {
            words = format!("{words}: {more}");
        }
        cause = error.source();
    }
    Failure::Unreachable(words)
}

#[cfg(test)]
mod tests;
