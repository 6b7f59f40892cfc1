//! File descriptors: proxies may not take them all, or nothing could be read, watched or asked any more.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::Semaphore;

/// Kept for files, watches and the HTTP interfaces; half of all where there are few.
const KEPT: u64 = 1024;

/// Raises the soft limit of this process to the hard one, as far as the system lets it.
pub(crate) fn raise() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::debug!(%error, "the limit of file descriptors stays");
    }
}

/// How many connections proxies may have together.
pub(crate) fn for_proxies() -> usize {
    share(getrlimit(Resource::Nofile).current)
}

fn share(limit: Option<u64>) -> usize {
    let share = limit.map_or(u64::MAX, |limit| (limit / 2).max(limit.saturating_sub(KEPT)));
    usize::try_from(share).unwrap_or(usize::MAX).clamp(1, Semaphore::MAX_PERMITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_are_always_left() {
        for (limit, expected) in [
            (Some(0), 1),
            (Some(128), 64),
            (Some(1024), 512),
            (Some(20_000), 18_976),
            (None, Semaphore::MAX_PERMITS),
        ] {
            assert_eq!(share(limit), expected, "{limit:?}");
        }
    }
}
