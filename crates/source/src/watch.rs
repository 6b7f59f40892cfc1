//! The thread that keeps looking: change events, and a poll as safety net.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::Instant;

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use crate::directory::Update;
use crate::near::Told;
use crate::scan::{Scan, Scanner, WALK};
use crate::walk::Identity;
use crate::work::Work;

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
    /// This path was deleted.
    Deleted(PathBuf),
    /// This path was created, or renamed away.
    Touched(PathBuf),
    /// Something else happened that a walk can find.
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
        // The safety net: change events can be lost, and some file systems have none.
        let poll = Instant::now() + WALK;
        let deadline = again.map_or(poll, |again| again.min(poll));
        let mut told = Told::default();
        let mut take = |event| match event {
            Event::Finished(path) => told.finished.push(path),
            Event::Deleted(path) => told.deleted.push(path),
            Event::Touched(path) => told.touched.push(path),
            Event::Look => told.elsewhere = true,
        };
        match inbox.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(event) => {
                take(event);
                inbox.try_iter().for_each(take);
            }
            Err(RecvTimeoutError::Timeout) => {}
            // Without events there is the poll.
            Err(RecvTimeoutError::Disconnected) => thread::sleep(WALK),
        }
        if out.is_closed() {
            return;
        }
        scan = scanner.look(Instant::now(), &told);
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
        let (Some(watcher), Some(folders)) = (&mut self.watcher, &scan.folders) else { return };
        for (gone, _) in self.watched.iter().filter(|(path, id)| folders.get(*path) != Some(*id)) {
            let _ = watcher.unwatch(gone);
        }
        self.watched.retain(|path, id| folders.get(path) == Some(id));
        let mut new = false;
        for (folder, identity) in folders {
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
    let each = |make: fn(PathBuf) -> Event| event.paths.iter().cloned().map(make).collect();
    match event.kind {
        // Both names of a rename were told one by one before.
        EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => Vec::new(),
        EventKind::Modify(ModifyKind::Name(RenameMode::From)) | EventKind::Create(_) => each(Event::Touched),
        EventKind::Access(AccessKind::Close(AccessMode::Write)) | EventKind::Modify(ModifyKind::Name(_)) => {
            each(Event::Finished)
        }
        EventKind::Remove(_) => each(Event::Deleted),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

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

    /// What must never show while a file is being replaced, however that is done: that it is gone. The last step is told
    /// only after everything before it, so what it is waited for by has seen all of it.
    async fn check_replaced(replace: impl Fn(&Path, usize)) {
        const TIMES: usize = 30;
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("..0")).unwrap();
        fs::write(folder.path().join("..0/a.yaml"), namespace("a")).unwrap();
        std::os::unix::fs::symlink("..0", folder.path().join("..data")).unwrap();
        std::os::unix::fs::symlink("..data/a.yaml", folder.path().join("a.yaml")).unwrap();
        let mut updates = start(folder.path());
        assert_eq!(next(&mut updates).await, "+a");
        for time in 1..=TIMES {
            replace(folder.path(), time);
        }
        fs::write(folder.path().join("new"), namespace("z")).unwrap();
        fs::rename(folder.path().join("new"), folder.path().join("z.yaml")).unwrap();
        assert_eq!(next(&mut updates).await, "+z");
    }

    #[tokio::test]
    async fn a_file_that_is_replaced_is_never_gone() {
        // As most tools do: a rename over it.
        check_replaced(|folder, _| {
            fs::write(folder.join("half"), namespace("a")).unwrap();
            fs::rename(folder.join("half"), folder.join("a.yaml")).unwrap();
        })
        .await;
        // As editors that keep a backup do.
        check_replaced(|folder, _| {
            fs::rename(folder.join("a.yaml"), folder.join("a.yaml~")).unwrap();
            fs::write(folder.join("a.yaml"), namespace("a")).unwrap();
            fs::remove_file(folder.join("a.yaml~")).unwrap();
        })
        .await;
        // As kubelet does with a ConfigMap.
        check_replaced(|folder, time| {
            let data = format!("..{time}");
            fs::create_dir(folder.join(&data)).unwrap();
            fs::write(folder.join(&data).join("a.yaml"), namespace("a")).unwrap();
            std::os::unix::fs::symlink(&data, folder.join("..data_tmp")).unwrap();
            fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
            fs::remove_dir_all(folder.join(format!("..{}", time - 1))).unwrap();
        })
        .await;
    }

    #[test]
    fn what_events_tell() {
        let event = |kind| notify::Event::new(kind).add_path("a.yaml".into());
        let said = |kind| {
            let told = read_event(&event(kind));
            told.iter()
                .map(|event| match event {
                    Event::Finished(_) => "finished",
                    Event::Deleted(_) => "deleted",
                    Event::Touched(_) => "touched",
                    Event::Look => "look",
                })
                .collect::<Vec<_>>()
                .join(" ")
        };
        let rename = |mode| EventKind::Modify(ModifyKind::Name(mode));
        for (kind, want) in [
            (EventKind::Access(AccessKind::Close(AccessMode::Write)), "finished"),
            (EventKind::Access(AccessKind::Open(AccessMode::Any)), ""),
            (EventKind::Remove(notify::event::RemoveKind::File), "deleted"),
            (EventKind::Create(notify::event::CreateKind::File), "touched"),
            (rename(RenameMode::From), "touched"),
            (rename(RenameMode::To), "finished"),
            (rename(RenameMode::Both), ""),
            (rename(RenameMode::Any), "finished"),
        ] {
            assert_eq!(said(kind), want, "{kind:?}");
        }
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
