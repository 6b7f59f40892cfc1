//! Nothing vital dies in silence: the tasks and threads without which the process is of no use, and what is done when one
//! of them ends. What only serves one client (a connection, a stream, a watch) is none: it ends with its client.
//!
//! `docs/runtime.md` lists them all.

use std::any::Any;
use std::borrow::Cow;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use anyhow::Context;
use tokio::sync::oneshot;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};
use umbra_source::{Body, Work};

/// One end brings others about, and on a busy machine may be noticed after them: for so long a panic is waited for, to tell
/// the cause from what followed.
const FOLLOWERS: Duration = Duration::from_secs(1);

/// Makes a vital task or thread fail, for tests: that its end is noticed shows in no other way.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Which.
    pub name: String,
    /// It panics; otherwise it just ends.
    pub panics: bool,
    /// When to. A thread fails instead of beginning, since nothing can break off what blocks.
    pub now: CancellationToken,
}

impl Fault {
    /// Reads `panic NAME` or `end NAME`.
    pub fn parse(text: &str) -> Option<Self> {
        let (how, name) = text.split_once(' ')?;
        let panics = match how {
            "panic" => true,
            "end" => false,
            _ => return None,
        };
        Some(Fault { name: name.to_owned(), panics, now: CancellationToken::new() })
    }

    #[expect(clippy::panic, reason = "what a test asked for")]
    fn strike(&self) {
        if self.panics {
            panic!("a test told {} to", self.name);
        }
    }
}

/// The vital tasks and threads of a process. Dropping it ends the tasks.
#[derive(Debug)]
pub(crate) struct Vital {
    running: JoinSet<anyhow::Result<()>>,
    names: HashMap<Id, Cow<'static, str>>,
    fault: Option<Fault>,
}

impl Vital {
    /// None yet.
    pub(crate) fn new(fault: Option<Fault>) -> Self {
        Vital { running: JoinSet::new(), names: HashMap::new(), fault }
    }

    /// Starts a task.
    pub(crate) fn task(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        future: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let name = name.into();
        debug!(name = &*name, "started");
        let handle = match self.fault.clone().filter(|fault| fault.name == name) {
            None => self.running.spawn(future),
            Some(fault) => self.running.spawn(async move {
                tokio::select! {
                    end = future => end,
                    () = fault.now.cancelled() => {
                        fault.strike();
                        Ok(())
                    }
                }
            }),
        };
        self.names.insert(handle.id(), name);
    }

    /// Starts a piece of work.
    ///
    /// # Errors
    /// The system has no thread left.
    pub(crate) fn work(&mut self, work: Work) -> anyhow::Result<()> {
        let Work { name, body } = work;
        match body {
            Body::Task(future) => self.task(name, async move {
                future.await;
                Ok(())
            }),
            Body::Thread(run) => {
                let (tell, end) = oneshot::channel();
                let fault = self.fault.clone().filter(|fault| fault.name == name);
                let run = move || {
                    let run = AssertUnwindSafe(|| fault.map_or_else(run, |fault| fault.strike()));
                    let _ = tell.send(catch_unwind(run));
                };
                let thread = std::thread::Builder::new().name(name.clone()).spawn(run);
                thread.with_context(|| format!("cannot start the thread {name}"))?;
                let watched = async move { end.await?.or_else(|panic| resume_unwind(panic)) };
                let handle = self.running.spawn(watched);
                debug!(name, "started");
                self.names.insert(handle.id(), name.into());
            }
        }
        Ok(())
    }

    /// Waits for one to end, which none should, and says which and why.
    pub(crate) async fn end(&mut self) -> anyhow::Error {
        let Some(first) = self.next().await else { return anyhow::anyhow!("there is nothing to do") };
        let mut ends = vec![first];
        let deadline = Instant::now() + FOLLOWERS;
        // Whoever just ends may have been left alone by one that panicked.
        let panicked = |ends: &[End]| ends.iter().any(|end| end.panicked);
        while !panicked(&ends)
            && let Ok(Some(end)) = timeout_at(deadline, self.next()).await
        {
            ends.push(end);
        }
        if panicked(&ends) {
            ends.retain(|end| end.panicked);
        }
        let all: Vec<_> = ends.into_iter().map(|end| end.words).collect();
        anyhow::anyhow!(all.join("; "))
    }

    /// Waits until all of `names` that were started have ended, which they should by now; false when one takes longer
    /// than `patience`.
    pub(crate) async fn ended(&mut self, names: &[&str], patience: Duration) -> bool {
        let all = async {
            while self.names.values().any(|name| names.contains(&&**name)) {
                let Some(end) = self.next().await else { return };
                if end.panicked {
                    error!(reason = end.words, "while leaving");
                }
            }
        };
        timeout(patience, all).await.is_ok()
    }

    async fn next(&mut self) -> Option<End> {
        let end = self.running.join_next_with_id().await?;
        let id = match &end {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let name = self.names.remove(&id).unwrap_or_default();
        Some(End::of(&name, end.map(|(_, end)| end)))
    }
}

/// How one ended.
#[derive(Debug)]
struct End {
    panicked: bool,
    words: String,
}

impl End {
    fn of(name: &str, end: Result<anyhow::Result<()>, JoinError>) -> Self {
        match end {
            Ok(Ok(())) => End { panicked: false, words: format!("{name} ended early") },
            Ok(Err(error)) => End { panicked: false, words: format!("{name} ended early: {error:#}") },
            Err(error) => {
                let words = error.try_into_panic().map_or_else(|e| e.to_string(), |panic| said(&*panic));
                End { panicked: true, words: format!("{name} panicked: {words}") }
            }
        }
    }
}

/// The words of a panic.
fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no words".to_owned())
}

/// Runs what would hold up other tasks on a thread for such; its panic is a panic here, never a missing answer.
pub(crate) async fn blocking<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(run).await {
        Ok(answer) => answer,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The process is ending.
            Err(_) => std::future::pending().await,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    /// What is said when these end: `panic`, `fail`, `end` or `stay`, as task and as thread.
    async fn check(ends: &[&'static str], want: &str) {
        let mut vital = Vital::new(None);
        for (number, end) in ends.iter().copied().enumerate() {
            let name = format!("{end}-{number}");
            match end {
                "panic" => vital.task(name, async { panic!("so") }),
                "fail" => vital.task(name, ready(Err(anyhow::anyhow!("no luck")))),
                "end" => vital.task(name, ready(Ok(()))),
                "stay" => vital.task(name, pending()),
                "panicking thread" => vital.work(Work::thread(name, || panic!("so {}", 1))).unwrap(),
                "ending thread" => vital.work(Work::thread(name, || ())).unwrap(),
                other => panic!("{other}"),
            }
        }
        assert_eq!(vital.end().await.to_string(), want, "{ends:?}");
        assert!(vital.ended(&["none"], Duration::ZERO).await);
        let left = ends.iter().position(|end| *end == "stay").map(|number| format!("stay-{number}"));
        if let Some(left) = left {
            assert!(!vital.ended(&[&left], Duration::from_millis(1)).await);
        }
    }

    #[tokio::test]
    async fn the_cause_is_told_and_not_what_followed() {
        check(&[], "there is nothing to do").await;
        check(&["stay", "end"], "end-1 ended early").await;
        check(&["stay", "fail"], "fail-1 ended early: no luck").await;
        check(&["panic", "stay"], "panic-0 panicked: so").await;
        check(&["end", "fail", "stay", "panic", "end"], "panic-3 panicked: so").await;
        check(&["stay", "end", "panicking thread"], "panicking thread-2 panicked: so 1").await;
        check(&["stay", "ending thread"], "ending thread-1 ended early").await;
    }

    #[tokio::test]
    async fn a_panic_of_what_blocks_is_a_panic_here() {
        assert_eq!(blocking(|| 7).await, 7);
        let told = tokio::spawn(blocking(|| -> u8 { panic!("so") })).await.unwrap_err();
        assert_eq!(said(&*told.into_panic()), "so");
    }
}
