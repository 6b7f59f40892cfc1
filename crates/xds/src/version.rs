//! Versions: hashes of what they are of, equal on every stream and replica and after every restart.

use std::sync::Arc;

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// What stands for six bits. None of it needs an escape, wherever it is written (RFC 4648, section 5).
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// How many of them say a hash.
const LENGTH: usize = u64::BITS.div_ceil(6) as usize;

/// The version of a resource with this body: xxh3-64 in eleven digits.
pub fn version(body: &[u8]) -> Arc<str> {
    written(xxh3_64(body))
}

/// The form of every version that umbra writes. Each resource that a proxy is sent carries one, and a proxy that comes back brings
/// them all, so they are short (docs/decisions/0085).
pub(crate) fn written(hash: u64) -> Arc<str> {
    let digit = |n: usize| char::from(DIGITS[(hash >> (6 * n) & 63) as usize]);
    (0..LENGTH).map(digit).collect::<String>().into()
}

/// The version of a state-of-the-world response with these resources, each by name and version.
pub(crate) fn of_world<'a>(resources: impl Iterator<Item = (&'a str, &'a str)>) -> Arc<str> {
    let mut hash = Xxh3::new();
    for (name, version) in resources {
        hash.update(name.as_bytes());
        hash.update(b"\0");
        hash.update(version.as_bytes());
    }
    written(hash.digest())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_its_hash_for_ever() {
        // The published test vector of an empty input: the hash may never change between builds.
        assert_eq!((xxh3_64(b""), &*version(b"")), (0x2d06_8005_38d3_94c2, "CT504UAgG0C"));
        for (hash, text) in [(0, "AAAAAAAAAAA"), (1, "BAAAAAAAAAA"), (u64::MAX, "__________P")] {
            assert_eq!(&*written(hash), text);
        }
    }
}
