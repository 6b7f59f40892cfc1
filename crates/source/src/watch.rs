//! The thread that keeps looking: change events, and a poll as safety net.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use crate::directory::Update;
use crate::scan::{Scan, Scanner};
use crate::walk::Identity;
use crate::work::Work;

/// The safety net: change events can be lost, and some file systems have none.
const POLL: Duration = Duration::from_secs(2);

/// Events that wait for the thread; more are dropped, and the poll finds what they told.
const EVENTS: usize = 4096;

/// Updates that wait for their reader; while they do, changes merge into the next look.
const UPDATES: usize = 2;

/// Why a directory cannot be served at all.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It does not exist, is no folder, or must not be listed.
    #[error("cannot read the folder {path}: {source}")]
    Folder {
        /// As given.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
}

/// A directory that is being watched.
#[derive(Debug)]
pub struct Watch {
    /// What changed, in order. The first update is the first load. Dropping it ends the work with the next look.
    pub updates: tokio::sync::mpsc::Receiver<Update>,
    /// What reads and watches.
    pub work: Work,
}

enum Event {
    /// A writer has finished with this path.
    Finished(PathBuf),
    /// Something else happened that a look can find.
    Look,
}

/// How to read `root` and to watch it from then on.
///
/// # Errors
/// When `root` is no folder that can be listed now. Later that only is a diagnostic, and everything stays.
pub fn watch(root: &Path) -> Result<Watch, StartError> {
    std::fs::read_dir(root).map_err(|source| StartError::Folder { path: root.to_owned(), source })?;
    let (out, updates) = tokio::sync::mpsc::channel(UPDATES);
    let scanner = Scanner::new(root);
    Ok(Watch { updates, work: Work::thread("directory", move || run(scanner, &out)) })
}

fn run(mut scanner: Scanner, out: &tokio::sync::mpsc::Sender<Update>) {
    let (events, inbox) = mpsc::sync_channel(EVENTS);
    let mut folders = Folders::new(events);
    let mut scan = scanner.first(Instant::now());
    let mut said = None;
    loop {
        folders.follow(&scan);
        let Scan { update, again, .. } = scan;
        let worth_telling = !update.changes.is_empty()
            || !update.places.is_empty()
            || said.as_ref() != Some(&(update.diagnostics.clone(), update.files));
        if worth_telling {
            said = Some((update.diagnostics.clone(), update.files));
            if out.blocking_send(update).is_err() {
                return;
            }
        }
        let poll = Instant::now() + POLL;
        let deadline = again.map_or(poll, |again| again.min(poll));
        let mut finished = Vec::new();
        let mut take = |event| {
            if let Event::Finished(path) = event {
                finished.push(path);
            }
        };
        match inbox.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(event) => {
                take(event);
                inbox.try_iter().for_each(take);
            }
            Err(RecvTimeoutError::Timeout) => {}
            // Without events there is the poll.
            Err(RecvTimeoutError::Disconnected) => thread::sleep(POLL),
        }
        if out.is_closed() {
            return;
        }
        scan = scanner.look(Instant::now(), &finished);
    }
}

/// The watched folders: exactly those that the last look entered.
struct Folders {
    watcher: Option<RecommendedWatcher>,
    watched: BTreeMap<PathBuf, Identity>,
    events: SyncSender<Event>,
    complained: bool,
}

impl Folders {
    fn new(events: SyncSender<Event>) -> Self {
        let sender = events.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            for event in event.iter().flat_map(read_event) {
                // Full: the poll finds it.
                let _ = sender.try_send(event);
            }
        });
        let watcher = watcher.inspect_err(complain).ok();
        Folders { watcher, watched: BTreeMap::new(), events, complained: false }
    }

    fn follow(&mut self, scan: &Scan) {
        let Some(watcher) = &mut self.watcher else { return };
        for (gone, _) in self.watched.iter().filter(|(path, id)| scan.folders.get(*path) != Some(*id)) {
            let _ = watcher.unwatch(gone);
        }
        self.watched.retain(|path, id| scan.folders.get(path) == Some(id));
        let mut new = false;
        for (folder, identity) in &scan.folders {
            if self.watched.contains_key(folder) {
                continue;
            }
            match watcher.watch(folder, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    new = true;
                    self.watched.insert(folder.clone(), *identity);
                }
                Err(error) if !self.complained => {
                    self.complained = true;
                    complain(&error);
                }
                Err(_) => {}
            }
        }
        if new {
            // What was written between the look and the watch had no event.
            let _ = self.events.try_send(Event::Look);
        }
    }
}

fn complain(error: &notify::Error) {
    tracing::warn!(%error, "no change events from the folder; changes are found by looking every 2 s");
}

/// What an event tells; reading files is an event too, and tells nothing.
fn read_event(event: &notify::Event) -> Vec<Event> {
    let finished = || event.paths.iter().cloned().map(Event::Finished).collect();
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) | EventKind::Modify(ModifyKind::Name(_)) => {
            finished()
        }
        EventKind::Create(_) | EventKind::Remove(_) => vec![Event::Look],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use umbra_api::Change;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn namespace(name: &str) -> String {
        format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n")
    }

    type Updates = tokio::sync::mpsc::Receiver<Update>;

    fn start(root: &Path) -> Updates {
        let Watch { updates, work } = watch(root).unwrap();
        work.start_alone();
        updates
    }

    /// The names that the next update puts (`+`) and deletes (`-`).
    async fn next(updates: &mut Updates) -> String {
        loop {
            let update = tokio::time::timeout(PATIENCE, updates.recv()).await.expect("an update").unwrap();
            let said: Vec<_> = update
                .changes
                .iter()
                .map(|change| match change {
                    Change::Upsert(object) => format!("+{}", object.meta().name),
                    Change::Delete(id) => format!("-{}", id.name),
                })
                .collect();
            if !said.is_empty() {
                return said.join(" ");
            }
        }
    }

    #[tokio::test]
    async fn changes_arrive_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("a.yaml"), namespace("a")).unwrap();
        let mut updates = start(folder.path());
        assert_eq!(next(&mut updates).await, "+a");
        fs::write(path("new"), namespace("b")).unwrap();
        fs::rename(path("new"), path("b.yaml")).unwrap();
        assert_eq!(next(&mut updates).await, "+b");
        fs::create_dir(path("sub")).unwrap();
        fs::write(path("sub/c.yaml"), namespace("c")).unwrap();
        assert_eq!(next(&mut updates).await, "+c");
        fs::write(path("sub/c.yaml"), namespace("d")).unwrap();
        assert_eq!(next(&mut updates).await, "-c +d");
        fs::remove_file(path("a.yaml")).unwrap();
        assert_eq!(next(&mut updates).await, "-a");
    }

    #[test]
    fn a_folder_that_cannot_be_listed_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.yaml");
        fs::write(&file, "").unwrap();
        for path in [file, folder.path().join("none")] {
            let error = watch(&path).unwrap_err().to_string();
            assert!(error.contains(&*path.to_string_lossy()), "{error}");
        }
    }

    #[tokio::test]
    async fn an_empty_folder_has_a_first_update() {
        let folder = tempfile::tempdir().unwrap();
        let mut updates = start(folder.path());
        let update = tokio::time::timeout(PATIENCE, updates.recv()).await.unwrap().unwrap();
        assert!(update.changes.is_empty() && update.diagnostics.is_empty());
    }
}
