//! What a status says of mirrors that somebody has stopped. Pure.

use umbra_source::kubernetes::{Condition, Reason, Said};

use super::judge::cut;
use super::mirrors::Line;
use super::programmed::{Liveness, waiting_for};
use crate::live::ObjectLive;

/// The condition `Stopped` of a VirtualService, after `said` was; `None`: nothing is stopped, and nothing was.
pub(super) fn stopped<'a>(
    lines: &[Line],
    generation: i64,
    (live, all): (Option<&ObjectLive>, &Liveness),
    said: impl Iterator<Item = Said<'a>>,
) -> Option<Condition> {
    let said: Vec<Said<'_>> = said.collect();
    let names: Vec<&str> = lines.iter().filter(|line| line.stopped).map(|line| line.name.as_str()).collect();
    if names.is_empty() {
        let message = "no mirror is stopped any longer".to_owned();
        return (!said.is_empty()).then_some(Condition { reason: Reason::RESUMED, message });
    }
    let names = names.join(", ");
    let done = cut(format!("{names}: every proxy has taken it"));
    let was_done = |said: &Said<'_>| {
        said.reason == Reason::STOPPED.word && said.message == done && said.generation == generation
    };
    // Who connects later is told no other share than 0.
    if said.iter().any(was_done) {
        return Some(Condition { reason: Reason::STOPPED, message: done });
    }
    let (on, total) = live.map_or((0, 0), |live| (live.live, live.total));
    let counts = format!("{names}: {on} of {total} proxies have taken it");
    let message = match live {
        _ if !all.silent.is_empty() => {
            format!("{counts}; replicas that did not answer: {}", all.silent.join(", "))
        }
        None => counts,
        Some(live) if live.live < live.total || !live.laggards.is_empty() => {
            format!("{counts}; waiting for {}", waiting_for(live))
        }
        Some(_) => return Some(Condition { reason: Reason::STOPPED, message: done }),
    };
    Some(Condition { reason: Reason::STOPPING, message: cut(message) })
}

#[cfg(test)]
mod tests {
    use umbra_ir::{Kind, ObjectId};

    use super::*;
    use crate::live::Laggard;

    /// Mirrors, `!` before those that are stopped; `LIVE/TOTAL`; who is silent; what was said before as `REASON MESSAGE`.
    #[track_caller]
    fn check(mirrors: &str, counts: &str, silent: &[&str], before: &str, want: &str) {
        let line = |name: &str| Line {
            stopped: name.starts_with('!'),
            name: name.trim_start_matches('!').to_owned(),
            ..Line::default()
        };
        let lines: Vec<Line> = mirrors.split_whitespace().map(line).collect();
        let (live, total) = counts.split_once('/').unwrap();
        let (live, total): (usize, usize) = (live.parse().unwrap(), total.parse().unwrap());
        let laggard = |n: usize| Laggard {
            proxy: format!("p{n}.shop"),
            resource: "rtds/umbra".to_owned(),
            words: None,
        };
        let live = ObjectLive {
            object: ObjectId::new(Kind::VirtualService, "shop", "web"),
            generation: 7,
            newest: 7,
            total,
            live,
            laggards: (live..total).map(laggard).collect(),
            excused: Vec::new(),
            stopped: Vec::new(),
            away: Vec::new(),
            total_away: 0,
        };
        let silent = silent.iter().map(|who| (*who).to_owned()).collect();
        let all = Liveness { silent, replicas: 2, ..Liveness::default() };
        let said = before.split_once(' ').map(|(reason, message)| Said {
            reason,
            message,
            generation: 7,
            mirrors: "",
        });
        let got = stopped(&lines, 7, (Some(&live), &all), said.into_iter());
        let got = got.map(|it| format!("{} {} {}", it.reason.holds.as_str(), it.reason.word, it.message));
        assert_eq!(got.unwrap_or_default(), want, "{mirrors} {counts} after {before:?}");
    }

    #[test]
    fn what_stopped_says() {
        let done = "v2: every proxy has taken it";
        check("v2 v3", "3/3", &[], "", "");
        check("!v2 v3", "3/3", &[], "", &format!("True Stopped {done}"));
        check("!v2 !v3", "0/0", &[], "", "True Stopped v2, v3: every proxy has taken it");
        let waits = "False Stopping v2: 1 of 2 proxies have taken it; waiting for p1.shop (rtds/umbra)";
        check("!v2", "1/2", &[], "", waits);
        check("!v2", "1/2", &[], &format!("Stopping {done}"), waits);
        // A proxy that has just connected has nothing to go on with.
        check("!v2", "1/2", &[], &format!("Stopped {done}"), &format!("True Stopped {done}"));
        check("!v2 !v3", "1/2", &[], &format!("Stopped {done}"), &waits.replace("v2:", "v2, v3:"));
        check(
            "!v2",
            "2/2",
            &["10.0.0.3"],
            "",
            "False Stopping v2: 2 of 2 proxies have taken it; replicas that did not answer: 10.0.0.3",
        );
        check("v2", "2/2", &[], &format!("Stopped {done}"), "False Resumed no mirror is stopped any longer");
        check("v2", "2/2", &[], "Resumed no", "False Resumed no mirror is stopped any longer");
        check("", "2/2", &[], &format!("Stopping {done}"), "False Resumed no mirror is stopped any longer");
    }
}
