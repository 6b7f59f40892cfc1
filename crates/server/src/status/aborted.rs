//! What a status says of mirrors that stop by themselves. Pure.

use umbra_ir::AbortReason;
use umbra_source::kubernetes::{Condition, Reason};

use super::judge::cut;
use super::mirrors::Line;

/// The condition `Aborted` of a VirtualService; `None`: its mirrors have no limits, and had none that were crossed.
pub(super) fn aborted(lines: &[Line]) -> Option<Condition> {
    let all: Vec<_> = lines.iter().filter_map(|line| Some((line, line.aborted.as_ref()?))).collect();
    if let Some((_, first)) = all.first() {
        let words: Vec<_> = all.iter().map(|(line, why)| format!("{}: {}", line.name, why.words)).collect();
        let reason = match first.reason {
            AbortReason::ShadowErrors => Reason::SHADOW_ERRORS,
            AbortReason::CopiesLost => Reason::COPIES_LOST,
            AbortReason::PrimaryErrors => Reason::PRIMARY_ERRORS,
            AbortReason::PrimaryLatency => Reason::PRIMARY_LATENCY,
            AbortReason::Verdict => Reason::VERDICT_DIFFERENT,
        };
        return Some(Condition { reason, message: cut(words.join("; ")) });
    }
    let limits = lines.iter().filter(|line| !line.limits.is_empty());
    let limits = limits.map(|line| format!("{}: {}", line.name, line.limits.words().join(", ")));
    let limits: Vec<_> = limits.collect();
    let message = cut(limits.join("; "));
    (!limits.is_empty()).then_some(Condition { reason: Reason::WITHIN_LIMITS, message })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use umbra_ir::{AbortLimit, AbortLimits, Aborted};

    use super::*;

    fn line(name: &str, limit: bool, why: Option<(AbortReason, &str)>) -> Line {
        let five = AbortLimit { most: 50_000, window: Duration::from_secs(30), sample: 100 };
        Line {
            name: name.to_owned(),
            limits: AbortLimits { shadow_errors: limit.then_some(five), ..AbortLimits::default() },
            aborted: why.map(|(reason, words)| Aborted { reason, words: words.to_owned() }),
            ..Line::default()
        }
    }

    #[test]
    fn what_aborted_says() {
        let lost = Some((AbortReason::CopiesLost, "12% lost"));
        for (lines, want) in [
            (vec![], ""),
            (vec![line("v2", false, None)], ""),
            (vec![line("v2", true, None)], "False WithinLimits v2: shadowErrors 5% in 30s of 100"),
            (vec![line("v2", true, None), line("v3", true, lost)], "True CopiesLost v3: 12% lost"),
            // Whoever takes the limits away takes no stop back.
            (vec![line("v3", false, lost)], "True CopiesLost v3: 12% lost"),
        ] {
            let said = aborted(&lines);
            let said =
                said.map(|it| format!("{} {} {}", it.reason.holds.as_str(), it.reason.word, it.message));
            assert_eq!(said.unwrap_or_default(), want);
        }
    }
}
