//! One look at a folder: which files to read now, which to leave until they are quiet.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use umbra_ir::Diagnostic;

use crate::directory::{Directory, Update};
use crate::near::{self, Files, Told};
use crate::problem;
use crate::reading::{self, Reading};
use crate::walk::{self, Identity, Signature};

/// How long a file must stay as it is before it is read (or taken as deleted) without an event that says its
/// writer has finished: a file cut at a document boundary is valid YAML, and editors swap files.
pub(crate) const QUIET: Duration = Duration::from_secs(1);

/// How long a file must stay away of which an event said that it was deleted: who replaces a file by deleting it and
/// creating it anew (`git checkout`) does both at once, but may be interrupted in between.
pub(crate) const SWAP: Duration = Duration::from_millis(20);

/// How long a file must stay as it is that has lost many of its objects: its writer may be in the middle of it.
pub(crate) const DOUBT: Duration = Duration::from_secs(3);

/// How long the files that events tell of are all that is looked at: events can be lost.
pub(crate) const WALK: Duration = Duration::from_secs(2);

/// Reads a folder again and again. Time and events come in as arguments.
#[derive(Debug)]
pub(crate) struct Scanner {
    root: PathBuf,
    directory: Directory,
    seen: BTreeMap<Arc<str>, Seen>,
    walked: Option<Walked>,
    /// When something that waits to be quiet has to be looked at.
    again: Option<Instant>,
}

/// What is known from the last walk.
#[derive(Debug)]
struct Walked {
    at: Instant,
    folders: near::Folders,
    links: bool,
    problems: Vec<Diagnostic>,
}

#[derive(Debug)]
struct Seen {
    /// The signature that was read last; `None`: never read.
    read: Option<Signature>,
    /// Of the content read last, so that a touched file costs no parsing.
    content: u64,
    /// The newest signature and when it was first seen.
    waiting: Option<(Signature, Instant)>,
    /// Since when it has not been there, and for how long it must stay away.
    missing: Option<(Instant, Duration)>,
    objects: bool,
    /// The content read last lacks many objects, and does not count yet.
    doubt: Option<Doubt>,
}

#[derive(Clone, Copy, Debug)]
struct Doubt {
    since: Instant,
    lost: usize,
    all: usize,
}

/// What one look gave.
#[derive(Debug)]
pub(crate) struct Scan {
    /// What changed, and all that is wrong.
    pub(crate) update: Update,
    /// Something is waiting to be quiet: look again then.
    pub(crate) again: Option<Instant>,
    /// The folders that were entered, for change events; `None`: nobody had to walk, they are what they were.
    pub(crate) folders: Option<BTreeMap<PathBuf, Identity>>,
}

impl Scanner {
    pub(crate) fn new(root: &Path) -> Self {
        let (root, directory) = (root.to_owned(), Directory::default());
        Scanner { root, directory, seen: BTreeMap::new(), walked: None, again: None }
    }

    /// The first look: everything is read as it is.
    pub(crate) fn first(&mut self, now: Instant) -> Scan {
        let root = std::path::absolute(&self.root).unwrap_or_else(|_| self.root.clone());
        self.look(now, &Told { finished: vec![root], ..Told::default() })
    }

    /// Looks at the folder, or only at the files that events tell of, if they tell of nothing else and the last walk is
    /// younger than [`WALK`]. What events told counts at once, a deletion after [`SWAP`]; whatever else changed is read, or
    /// taken as deleted, when it has been quiet.
    pub(crate) fn look(&mut self, now: Instant, told: &Told) -> Scan {
        let due = self.again.is_some_and(|again| now >= again);
        let near = self.walked.as_ref().filter(|walked| !due && now < walked.at + WALK);
        match near.and_then(|walked| near::files(told, &walked.folders, walked.links)) {
            Some(files) => {
                self.take(&files, now, told);
                self.settle(now, None)
            }
            None => self.walk(now, told),
        }
    }

    fn walk(&mut self, now: Instant, told: &Told) -> Scan {
        let listing = walk::walk(&self.root);
        self.again = None;
        self.take(&listing.files, now, told);
        let unknown = |name: &str| listing.unknown.iter().any(|part| Path::new(name).starts_with(part));
        let absent: Vec<_> =
            self.seen.keys().filter(|name| !listing.files.contains_key(*name)).cloned().collect();
        for name in absent.into_iter().filter(|name| !unknown(name)) {
            let Some(seen) = self.seen.get_mut(&name) else { continue };
            let (since, pause) = seen.missing.get_or_insert((now, QUIET));
            if is_deleted(Path::new(&*name), told) {
                *pause = SWAP;
            }
            let until = *since + *pause;
            if now < until {
                self.directory.miss(&name);
                self.wait(until);
            } else {
                self.directory.remove(&name);
                self.seen.remove(&name);
            }
        }
        let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        let folders = listing.folders.keys().map(|path| (absolute(path), path.clone())).collect();
        let (links, problems) = (listing.links, listing.problems);
        self.walked = Some(Walked { at: now, folders, links, problems });
        self.settle(now, Some(listing.folders))
    }

    /// Takes in the files that are there.
    fn take(&mut self, files: &Files, now: Instant, told: &Told) {
        let finished = Finished::new(&told.finished);
        for (name, (path, signature)) in files {
            let done = finished.has(path);
            let seen = self.seen.entry(name.clone()).or_insert(Seen {
                read: None,
                content: 0,
                waiting: None,
                missing: None,
                objects: false,
                doubt: None,
            });
            seen.missing = None;
            self.directory.keep(name);
            let as_it_was = seen.read == Some(*signature);
            if !done && as_it_was && !seen.is_confirmed(now) {
                seen.waiting = None;
                continue;
            }
            if !done && !as_it_was {
                let since = match seen.waiting {
                    Some((waiting, since)) if waiting == *signature => since,
                    _ => now,
                };
                seen.waiting = Some((*signature, since));
                if now < since + QUIET {
                    self.wait(since + QUIET);
                    continue;
                }
            }
            seen.take(name, path, *signature, now, &mut self.directory);
        }
    }

    /// What all that was taken in comes to.
    fn settle(&mut self, now: Instant, folders: Option<BTreeMap<PathBuf, Identity>>) -> Scan {
        let mut problems = self.walked.as_ref().map(|walked| walked.problems.clone()).unwrap_or_default();
        let doubts = self.seen.iter().filter_map(|(name, seen)| Some((name, seen.doubt?)));
        let open: Vec<_> = doubts.filter(|(_, doubt)| !doubt.is_confirmed(now)).collect();
        problems.extend(open.iter().map(|(name, d)| problem::doubted(name, d.lost, d.all, DOUBT.as_secs())));
        let first = open.iter().map(|(_, doubt)| doubt.since + DOUBT).min();
        self.again = self.again.into_iter().chain(first).min();
        self.directory.set_problems(problems);
        Scan { update: self.directory.settle(), again: self.again, folders }
    }

    fn wait(&mut self, until: Instant) {
        self.again = Some(self.again.map_or(until, |earlier| earlier.min(until)));
    }
}

impl Doubt {
    /// Whether it has stayed so for long enough.
    fn is_confirmed(self, now: Instant) -> bool {
        now >= self.since + DOUBT
    }
}

impl Seen {
    /// Whether what was doubted has been so for long enough.
    fn is_confirmed(&self, now: Instant) -> bool {
        self.doubt.is_some_and(|doubt| doubt.is_confirmed(now))
    }

    fn take(
        &mut self,
        name: &Arc<str>,
        path: &Path,
        signature: Signature,
        now: Instant,
        directory: &mut Directory,
    ) {
        // The signature is older than the content, never newer: what is written meanwhile shows next time.
        let bytes = reading::bytes(path, name);
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        let content = hasher.finish();
        let known = self.read.is_some() && self.content == content;
        (self.read, self.waiting, self.content) = (Some(signature), None, content);
        let confirmed = known && self.is_confirmed(now);
        if known && !confirmed {
            return;
        }
        let reading = Reading::of(bytes, name, self.objects);
        let lost = directory.would_lose(name, &reading).filter(|_| !confirmed);
        self.doubt = lost.map(|(lost, all)| Doubt { since: now, lost, all });
        if self.doubt.is_none() {
            self.objects |= !reading.objects.is_empty();
            directory.read(name, reading);
        }
    }
}

/// What events tell is finished.
struct Finished<'a> {
    paths: &'a [PathBuf],
    /// Where hidden ones lead: a ConfigMap mount renames a hidden link (`..data`) that the files' own links go through. A tool's
    /// half-written file, which has got its name meanwhile, leads nowhere. Asked of the system once, not for each file.
    hidden: Vec<PathBuf>,
}

impl<'a> Finished<'a> {
    fn new(paths: &'a [PathBuf]) -> Self {
        let is_hidden =
            |part: &&PathBuf| part.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
        let hidden = paths.iter().filter(is_hidden).filter_map(|part| part.canonicalize().ok()).collect();
        Finished { paths, hidden }
    }

    /// Whether one of them is this file, a folder above it, or what its links go through.
    fn has(&self, path: &Path) -> bool {
        if self.paths.is_empty() {
            return false;
        }
        // Events come with absolute paths.
        let absolute = std::path::absolute(path);
        let path = absolute.as_deref().unwrap_or(path);
        self.paths.iter().any(|part| path.starts_with(part))
            || !self.hidden.is_empty()
                && path.canonicalize().is_ok_and(|path| self.hidden.iter().any(|real| path.starts_with(real)))
    }
}

/// Whether events tell that a file that is not there was deleted: it, or the folder that it was in, or something complete
/// was put in the place of that folder.
fn is_deleted(path: &Path, told: &Told) -> bool {
    let absolute = std::path::absolute(path);
    let path = absolute.as_deref().unwrap_or(path);
    told.deleted.iter().any(|part| path.starts_with(part))
        || told.finished.iter().any(|part| path != part && path.starts_with(part))
}

#[cfg(test)]
mod tests;
