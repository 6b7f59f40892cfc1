//! How a mirror is doing, in one word. Pure.

use umbra_proto::umbra::v1::Mirror;

use crate::status::alarm;

/// How a mirror is doing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Standing {
    /// Nothing is copied, or copies are lost: the reason of the condition `Observed`.
    Alarm(&'static str),
    /// It cannot work.
    Broken,
    /// Some proxies have not taken it yet.
    Changing,
    /// It is on, on every proxy.
    Live,
    /// It is on, and no proxy is there.
    Waiting,
    /// Somebody has stopped it.
    Stopped,
    /// Its share is 0.
    Off,
}

impl Standing {
    /// At this Unix time, in seconds.
    pub(super) fn of(mirror: &Mirror, now: i64) -> Self {
        let asks = mirror.parts_per_million.is_some_and(|parts| parts > 0);
        let alarm = mirror.observed.as_ref().filter(|_| asks).and_then(|it| alarm(it, now));
        match mirror.parts_per_million {
            _ if mirror.live < mirror.total && !mirror.clusters.is_empty() => Standing::Changing,
            _ if mirror.stopped => Standing::Stopped,
            None => Standing::Broken,
            _ if mirror.clusters.is_empty() => Standing::Broken,
            Some(0) => Standing::Off,
            Some(_) => match alarm {
                Some(why) => Standing::Alarm(why),
                None if mirror.total == 0 => Standing::Waiting,
                None => Standing::Live,
            },
        }
    }

    /// The word that people read.
    pub(super) fn word(self, stopped: bool) -> &'static str {
        match self {
            Standing::Alarm(why) => why,
            Standing::Broken => "broken",
            Standing::Changing if stopped => "stopping",
            Standing::Changing => "changing",
            Standing::Live => "live",
            Standing::Waiting => "no proxy",
            Standing::Stopped => "stopped",
            Standing::Off => "off",
        }
    }

    /// How it looks.
    pub(super) fn class(self) -> &'static str {
        match self {
            Standing::Alarm(_) | Standing::Broken => "bad",
            Standing::Changing | Standing::Waiting => "open",
            Standing::Live => "good",
            Standing::Stopped | Standing::Off => "calm",
        }
    }
}

#[cfg(test)]
mod tests {
    use umbra_proto::umbra::v1::{MirrorCluster, Observed};

    use super::*;

    #[test]
    fn one_word_for_each() {
        let mirror = |parts_per_million, live, total| Mirror {
            parts_per_million,
            live,
            total,
            clusters: vec![MirrorCluster::default()],
            ..Mirror::default()
        };
        let counted = |mirror: Mirror, copies| {
            let observed = Observed { primaries: 1000, wanted: 250.0, copies, ..Observed::default() };
            Mirror { observed: Some(observed), ..mirror }
        };
        let half = Some(500_000);
        for (mirror, want) in [
            (mirror(half, 2, 2), "live"),
            (mirror(half, 1, 2), "changing"),
            (mirror(half, 0, 0), "no proxy"),
            (mirror(Some(0), 2, 2), "off"),
            (mirror(None, 0, 0), "broken"),
            (Mirror { clusters: Vec::new(), ..mirror(half, 0, 2) }, "broken"),
            (Mirror { stopped: true, ..mirror(Some(0), 2, 2) }, "stopped"),
            (Mirror { stopped: true, ..mirror(Some(0), 1, 2) }, "stopping"),
            (counted(mirror(half, 2, 2), 250), "live"),
            (counted(mirror(half, 2, 2), 0), "NothingCopied"),
            (counted(mirror(Some(0), 2, 2), 0), "off"),
        ] {
            let stopped = mirror.stopped;
            assert_eq!(Standing::of(&mirror, 0).word(stopped), want, "{mirror:?}");
        }
    }
}
