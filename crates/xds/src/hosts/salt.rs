//! Versions that no other delivery has.

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// What stands between the version of a content and the salt; versions of contents have none.
const SEPARATOR: char = '.';

/// Makes salts, one after the other.
#[derive(Debug, Default)]
pub(super) struct Salts {
    seed: u64,
    count: u64,
}

impl Salts {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, count: 0 }
    }

    /// A version with the next salt.
    pub(super) fn salted(&mut self, content: &str) -> Arc<str> {
        self.count += 1;
        let salt = xxh3_64_with_seed(&self.count.to_le_bytes(), self.seed);
        format!("{content}{SEPARATOR}{salt:016x}").into()
    }
}

/// The version of the content alone; `None`: there is no salt.
pub(super) fn content(version: &str) -> Option<&str> {
    version.split_once(SEPARATOR).map(|(content, _)| content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_deliveries_have_a_version_in_common() {
        let (mut one, mut other) = (Salts::new(1), Salts::new(2));
        let versions = [one.salted("a"), one.salted("a"), other.salted("a"), other.salted("b")];
        assert!(versions.iter().enumerate().all(|(n, version)| !versions[..n].contains(version)));
        assert!(versions[..3].iter().all(|version| content(version) == Some("a")));
        assert_eq!(content("a"), None);
    }
}
