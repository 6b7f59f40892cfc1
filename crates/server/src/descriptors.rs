//! File descriptors: proxies may not take them all, or nothing could be read, watched or asked any more.

use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::Semaphore;

use crate::crowd::Room;

/// Kept for files, watches and the HTTP interfaces; half of all where there are few.
const KEPT: u64 = 1024;

/// Raises the soft limit of this process to the hard one, as far as the system lets it.
pub(crate) fn raise() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::debug!(%error, "the limit of file descriptors stays");
    }
}

/// Connections without a stream that was let in, on one port: an eighth of all, and no more than these.
const IDLE: usize = 4096;
/// The same of one address: half of those, and no more than these. At 64 KiB that are read of nobody, 32 MiB.
const IDLE_OF_ONE: usize = 512;

/// How much room proxies have on each of so many ports.
pub(crate) fn for_proxies(ports: usize) -> Room {
    divide(share(getrlimit(Resource::Nofile).current), ports)
}

/// With several ports none has everything: strangers at one must not keep proxies from another.
fn divide(all: usize, ports: usize) -> Room {
    let idle = (all / 8).clamp(1, IDLE);
    let held = all.saturating_sub(idle * ports).max(1);
    let most = if ports > 1 { (held / 4 * 3).max(1) } else { held };
    let per_address = (idle / 2).clamp(1, IDLE_OF_ONE);
    Room { idle, per_address, held: most, together: Arc::new(Semaphore::new(held)) }
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

    #[test]
    fn no_port_has_everything() {
        for (all, ports, idle, per_address, held, together) in [
            (512, 1, 64, 32, 448, 448),
            (512, 2, 64, 32, 288, 384),
            (18_976, 1, 2372, 512, 16_604, 16_604),
            (1_047_552, 2, 4096, 512, 779_520, 1_039_360),
            (1, 2, 1, 1, 1, 1),
        ] {
            let room = divide(all, ports);
            let got = (room.idle, room.per_address, room.held, room.together.available_permits());
            assert_eq!(got, (idle, per_address, held, together), "{all} on {ports}");
        }
    }
}
