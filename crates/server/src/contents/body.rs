//! The body of one answer as it passes: a little of it is kept, a digest is made of all of it, and nothing is ever written anywhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ring::digest::{Context, SHA256};
use umbra_judge::Content;

/// What is kept of one body, in bytes: a longer one is compared by its digest.
pub(super) const MAX_BODY: usize = 256 << 10;
/// What is kept of all bodies together.
pub(super) const MAX_KEPT: usize = 64 << 20;

/// The room for all bodies. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Room(Arc<AtomicUsize>);

impl Room {
    /// What is kept just now, in bytes.
    pub(super) fn taken(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        let fits = |taken: usize| taken.checked_add(bytes).filter(|all| *all <= MAX_KEPT);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }
}

/// Bytes that are kept; they make room again when they are dropped.
#[derive(Debug)]
struct Kept {
    bytes: Vec<u8>,
    room: Room,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.room.0.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

/// Why not fields but digests are compared.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Why {
    /// It calls itself something else than JSON.
    Type,
    /// It is compressed.
    Encoded,
    /// It is longer than what is kept.
    Long,
    /// It is not the JSON that it calls itself.
    Invalid,
}

impl Why {
    pub(super) const ALL: [Why; 4] = [Why::Type, Why::Encoded, Why::Long, Why::Invalid];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Why::Type => "type",
            Why::Encoded => "encoded",
            Why::Long => "long",
            Why::Invalid => "invalid",
        }
    }
}

/// A body that is passing.
pub(super) struct Passing {
    digest: Context,
    kept: Result<Kept, Why>,
    /// There was no room for it.
    crowded: bool,
}

impl Passing {
    /// Of an answer with these headers; empty: it has none of the name.
    pub(super) fn new(content_type: &str, encoding: &str, room: &Room) -> Self {
        let kept = if !is_json(content_type) {
            Err(Why::Type)
        } else if !encoding.is_empty() && encoding != "identity" {
            Err(Why::Encoded)
        } else {
            Ok(Kept { bytes: Vec::new(), room: room.clone() })
        };
        Passing { digest: Context::new(&SHA256), kept, crowded: false }
    }

    /// The next part of it, however it is cut.
    pub(super) fn pass(&mut self, part: &[u8]) {
        self.digest.update(part);
        let Ok(kept) = &mut self.kept else { return };
        if kept.bytes.len() + part.len() > MAX_BODY {
            self.kept = Err(Why::Long);
        } else if kept.room.take(part.len()) {
            kept.bytes.extend_from_slice(part);
        } else {
            self.crowded = true;
            self.kept = Err(Why::Long);
        }
    }

    /// All of it has passed.
    pub(super) fn end(self) -> Body {
        let mut digest = [0; 32];
        digest.copy_from_slice(self.digest.finish().as_ref());
        Body { digest, kept: self.kept, crowded: self.crowded }
    }
}

/// `application/json`, `application/problem+json` and their like, not lists of such (`application/x-ndjson`).
fn is_json(content_type: &str) -> bool {
    let media = content_type.split(';').next().unwrap_or_default().trim();
    media.eq_ignore_ascii_case("application/json")
        || media.rsplit_once('+').is_some_and(|(_, suffix)| suffix.eq_ignore_ascii_case("json"))
}

/// A body that has passed.
#[derive(Debug)]
pub(super) struct Body {
    digest: [u8; 32],
    kept: Result<Kept, Why>,
    /// There was no room for it: nothing is said of its request, or the answers that come last would seem to be others.
    pub(super) crowded: bool,
}

/// What several bodies are compared by: all in one way, so that none is looked at more closely than the others.
pub(super) fn contents<const N: usize>(bodies: [&Body; N]) -> ([Content; N], Option<Why>) {
    let mut why = None;
    let read = bodies.map(|body| match &body.kept {
        Ok(kept) if kept.bytes.is_empty() => {
            // The answer to HEAD, for one.
            Some(Content::Digest(body.digest))
        }
        Ok(kept) => match serde_json::from_slice(&kept.bytes) {
            Ok(value) => Some(Content::Json(value)),
            Err(_) => {
                why = Some(why.unwrap_or(Why::Invalid));
                None
            }
        },
        Err(reason) => {
            why = Some(*reason);
            None
        }
    });
    match why {
        Some(_) => (bodies.map(|body| Content::Digest(body.digest)), why),
        None => (read.map(|it| it.unwrap_or(Content::Digest([0; 32]))), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(room: &Room, content_type: &str, encoding: &str, parts: &[&[u8]]) -> Body {
        let mut passing = Passing::new(content_type, encoding, room);
        parts.iter().for_each(|part| passing.pass(part));
        passing.end()
    }

    #[test]
    fn what_is_compared_by_fields() {
        let room = Room::default();
        let long = vec![b' '; MAX_BODY];
        for (content_type, encoding, parts, want) in [
            ("application/json", "", &[&b"{\"a\""[..], b": 1}"][..], None),
            ("application/problem+json; charset=utf-8", "identity", &[b"{}"], None),
            ("application/json", "", &[], None),
            ("text/plain", "", &[b"{}"], Some(Why::Type)),
            ("application/x-ndjson", "", &[b"{}"], Some(Why::Type)),
            ("", "", &[b"{}"], Some(Why::Type)),
            ("application/json", "gzip", &[b"{}"], Some(Why::Encoded)),
            ("application/json", "", &[b"{} {}"], Some(Why::Invalid)),
            ("application/json", "", &[&long, b"1"], Some(Why::Long)),
            ("application/json", "", &[&long[1..], b"1"], None),
        ] {
            let body = body(&room, content_type, encoding, parts);
            let ([content], why) = contents([&body]);
            assert_eq!(why, want, "{content_type} {encoding}");
            assert_eq!(matches!(content, Content::Json(_)), why.is_none() && !parts.is_empty());
        }
        assert_eq!(room.taken(), 0);
    }

    #[test]
    fn digests_do_not_depend_on_how_a_body_is_cut() {
        let room = Room::default();
        let [one, other, third] = [&[&b"abc"[..]][..], &[b"a", b"", b"bc"], &[b"abd"]]
            .map(|parts| contents([&body(&room, "text/plain", "", parts)]).0);
        assert!(one == other && one != third);
    }

    /// One that is looked at less closely would always differ, or never.
    #[test]
    fn all_are_compared_in_one_way() {
        let room = Room::default();
        let json = body(&room, "application/json", "", &[b"{}"]);
        let broken = body(&room, "application/json", "", &[b"{"]);
        let (all, why) = contents([&json, &broken, &json]);
        assert!(why == Some(Why::Invalid) && all.iter().all(|it| matches!(it, Content::Digest(_))));
    }

    #[test]
    fn there_is_so_much_room_for_all() {
        let room = Room::default();
        let part = vec![b'1'; MAX_BODY];
        let all: Vec<_> =
            (0..MAX_KEPT / MAX_BODY).map(|_| body(&room, "application/json", "", &[&part])).collect();
        assert!(all.iter().all(|it| !it.crowded) && room.taken() == MAX_KEPT);
        assert!(body(&room, "application/json", "", &[b"1"]).crowded);
        drop(all);
        assert!(!body(&room, "application/json", "", &[b"1"]).crowded);
    }
}
