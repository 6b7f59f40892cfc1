//! What was said of tokens lately, by their hash. Bounded, no IO, no clock.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use super::Proven;

/// SHA-256 of a token: nobody who reads memory or a core finds tokens here.
pub(super) type Hash = [u8; 32];

/// Good tokens that are known: more than the proxies of a large mesh. Each is some hundred bytes.
const GOOD: usize = 16_384;
/// Bad tokens that are known.
const BAD: usize = 1024;
/// How long a bad one is not asked about again.
const BAD_FOR: SignedDuration = SignedDuration::from_secs(5);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Cache {
    good: HashMap<Hash, Proven>,
    bad: HashMap<Hash, (String, Timestamp)>,
}

impl Cache {
    /// What is known of a token, good until it expires, bad for a few seconds.
    pub(super) fn get(&self, hash: &Hash, now: Timestamp) -> Option<Result<Proven, String>> {
        if let Some(proven) = self.good.get(hash).filter(|proven| proven.until > now) {
            return Some(Ok(proven.clone()));
        }
        let (why, _) = self.bad.get(hash).filter(|(_, until)| *until > now)?;
        Some(Err(why.clone()))
    }

    /// Notes what the API server said. Where there is no room, what has expired goes, then what expires next.
    pub(super) fn put(&mut self, hash: Hash, said: Result<Proven, String>, now: Timestamp) {
        match said {
            Ok(proven) => {
                if self.good.len() >= GOOD {
                    self.good.retain(|_, known| known.until > now);
                }
                if self.good.len() >= GOOD {
                    let mut ends: Vec<_> = self.good.values().map(|known| known.until).collect();
                    // A tenth at once: a table that stays full must not be searched for each.
                    let (_, end, _) = ends.select_nth_unstable(GOOD / 10);
                    let end = *end;
                    self.good.retain(|_, known| known.until > end);
                }
                self.good.insert(hash, proven);
            }
            Err(why) => {
                if self.bad.len() >= BAD {
                    self.bad.clear();
                }
                self.bad.insert(hash, (why, now + BAD_FOR));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proven(until: i64) -> Proven {
        let until = Timestamp::from_second(until).unwrap();
        Proven { namespace: "a".to_owned(), account: "b".to_owned(), pod: None, until }
    }

    fn hash(n: usize) -> Hash {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&n.to_le_bytes());
        hash
    }

    #[test]
    fn good_until_they_expire_bad_for_seconds() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut cache = Cache::default();
        cache.put(hash(1), Ok(proven(100)), at(0));
        cache.put(hash(2), Err("no".to_owned()), at(0));
        for (n, second, want) in [
            (1, 99, Some(Ok(proven(100)))),
            (1, 100, None),
            (2, 4, Some(Err("no".to_owned()))),
            (2, 5, None),
            (3, 0, None),
        ] {
            assert_eq!(cache.get(&hash(n), at(second)), want, "{n} at {second}");
        }
    }

    #[test]
    fn it_stays_bounded() {
        let now = Timestamp::from_second(0).unwrap();
        let mut cache = Cache::default();
        for n in 0..GOOD + 5000 {
            cache.put(hash(n), Ok(proven(1000 + n as i64)), now);
            cache.put(hash(n), Err("no".to_owned()), now);
            assert!(cache.good.len() <= GOOD && cache.bad.len() <= BAD);
        }
        assert!(cache.get(&hash(GOOD + 4999), now).is_some_and(|it| it.is_ok()), "the newest is known");
        assert!(cache.good.len() > GOOD * 8 / 10);
    }
}
