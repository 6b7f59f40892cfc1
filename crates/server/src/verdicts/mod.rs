//! Verdicts: whether shadows answer as their primaries do, by the lines that the proxies of this replica send of judged requests
//! (docs/verdicts.md).
//!
//! Start reading at: `lines.rs` (what a line is), then `book.rs` (what is known of each mirror), `message.rs` (what is told).

mod book;
mod lines;
mod message;
mod prometheus;
mod told;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use prost::Message;
use umbra_ir::{RuntimeFraction, RuntimeKey};
use umbra_judge::StreamId;
use umbra_proto::envoy::data::accesslog::v3::HttpAccessLogEntry;

use crate::engine_task::AllMirrors;
use crate::parts::{self, NoMessage};
use book::Book;
use told::Told;

pub(crate) use book::Known;
pub(crate) use lines::{destination, parse_start, text};
pub(crate) use message::{add, coverage, lowered, of};
#[cfg(test)]
pub(crate) use prometheus::FAMILIES;
pub(crate) use told::follow;

/// What is known of judged requests. Clones are the same.
#[derive(Clone, Debug)]
pub struct Verdicts {
    book: Arc<Mutex<Book>>,
    /// What judges say of bodies.
    told: Told,
}

impl Default for Verdicts {
    fn default() -> Self {
        Verdicts { book: Arc::new(Mutex::new(Book::new(Instant::now()))), told: Told::default() }
    }
}

impl Verdicts {
    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in which mirrors there are, and how long their copies may take.
    pub(crate) fn know(&self, all: &AllMirrors, copy_limit: Duration) {
        self.lock().know(all, copy_limit, Timestamp::now().as_millisecond());
    }

    /// A proxy begins to send lines.
    pub(crate) fn open(&self) -> Lines {
        Lines { verdicts: self.clone(), stream: self.lock().open() }
    }

    /// Lets go what has waited for long enough: see `book.rs`.
    pub(crate) fn turn(&self, judged: impl Fn(&str) -> Option<u64>) {
        self.lock().turn(judged, Instant::now());
    }

    /// What part of each rule's requests is to be judged from now on: see `book.rs`.
    pub(crate) fn pace(
        &self,
        requests: impl Fn(&str) -> Option<u64>,
        replicas: usize,
    ) -> BTreeMap<RuntimeKey, RuntimeFraction> {
        self.lock().pace(requests, replicas, Instant::now())
    }

    /// What is known of a mirror; `None`: it is not judged.
    pub(crate) fn known(&self, key: &RuntimeKey) -> Option<Known> {
        let known = self.lock().of(key)?;
        let contents = known.contents.map(|silent| self.told.of(&known.mark, known.since).unwrap_or(silent));
        Some(Known { contents, ..known })
    }

    /// The marks of mirrors of which values may be shown.
    fn values(&self) -> Vec<String> {
        self.lock().values()
    }

    /// Mirrors that went on after a stop, by mark, and when they last did, in milliseconds since 1970.
    fn since(&self) -> BTreeMap<String, i64> {
        self.lock().since()
    }
}

/// The lines of one stream. What waits for others ends with it.
#[derive(Debug)]
pub(crate) struct Lines {
    verdicts: Verdicts,
    stream: StreamId,
}

impl Lines {
    /// Takes in a message's lines as long as there is `room` for one more. They are read one by one: an entry of two bytes would
    /// come to hundreds.
    ///
    /// # Errors
    /// This is no message.
    pub(crate) fn take(&self, message: &[u8], mut room: impl FnMut() -> bool) -> Result<(), NoMessage> {
        /// `StreamAccessLogsMessage.http_logs.log_entry`.
        const ENTRY: [u32; 2] = [2, 1];
        let (mut lines, mut bad) = (Vec::new(), false);
        let seen = self.verdicts.lock().queries();
        parts::each(message, &ENTRY, &mut |entry| {
            if room() {
                match HttpAccessLogEntry::decode(entry) {
                    Ok(entry) => lines.extend(lines::parse(&entry, |rule| seen.contains(rule))),
                    Err(_) => bad = true,
                }
            }
        })?;
        let now = Instant::now();
        let mut book = self.verdicts.lock();
        lines.into_iter().for_each(|line| book.take(self.stream, line, now));
        if bad { Err(NoMessage) } else { Ok(()) }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.verdicts.lock().close(self.stream);
    }
}
