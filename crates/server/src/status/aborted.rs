//! What a status says of mirrors that stop by themselves. Pure.

use umbra_ir::{AbortReason, ObjectId};
use umbra_source::kubernetes::{Condition, Reason, Said};

use super::judge::cut;
use super::mirrors::Line;
use super::observed::Counted;
use crate::mirrors::limit_note;

/// The condition `Aborted` of a VirtualService; `None`: its mirrors have no limits, and had none that were crossed.
///
/// A limit that has nothing yet to compare with watches nothing, and is not said as if it did.
pub(super) fn aborted<'a>(
    lines: &[Line],
    id: &ObjectId,
    counted: &Counted,
    said: impl IntoIterator<Item = Said<'a>>,
) -> Option<Condition> {
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
    let limited: Vec<&Line> = lines.iter().filter(|line| !line.limits.is_empty()).collect();
    if limited.is_empty() {
        return None;
    }
    let words = |note: &dyn Fn(&Line, AbortReason) -> String| {
        let one = |line: &&Line| {
            let each = line.limits.words().into_iter().map(|(reason, words)| words + &note(line, reason));
            format!("{}: {}", line.name, each.collect::<Vec<_>>().join(", "))
        };
        limited.iter().map(one).collect::<Vec<_>>().join("; ")
    };
    let reason = Reason::WITHIN_LIMITS;
    // As long as nobody has told of a mirror, what was said of its limits goes on to hold.
    let untold = limited.iter().any(|line| counted.limits(id, &line.field).is_none());
    let plain = words(&|_, _| String::new());
    if let Some(said) = said.into_iter().find(|it| untold && it.reason == reason.word)
        && without_notes(said.message) == plain
    {
        return Some(Condition { reason, message: said.message.to_owned() });
    }
    let message = words(&|line, limit| match counted.limits(id, &line.field) {
        Some(told) => {
            let told = told.iter().find(|it| it.name == limit.limit_name());
            told.map(limit_note).unwrap_or_default()
        }
        None if matches!(limit, AbortReason::PrimaryErrors | AbortReason::PrimaryLatency) => {
            " (not known yet whether it decides)".to_owned()
        }
        None => String::new(),
    });
    Some(Condition { reason, message: cut(message) })
}

/// A text without what stands in parentheses.
fn without_notes(text: &str) -> String {
    let mut out = String::new();
    for part in text.split(')') {
        out += part.split_once(" (").map_or(part, |(before, _)| before);
    }
    out
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use umbra_ir::{AbortLimit, AbortLimits, Aborted, Kind};
    use umbra_proto::umbra::v1;

    use super::*;

    fn line(name: &str, limit: bool, why: Option<(AbortReason, &str)>) -> Line {
        let five = AbortLimit { most: 50_000, window: Duration::from_secs(30), sample: 100 };
        Line {
            name: name.to_owned(),
            field: name.to_owned(),
            limits: AbortLimits { shadow_errors: limit.then_some(five), ..AbortLimits::default() },
            aborted: why.map(|(reason, words)| Aborted { reason, words: words.to_owned() }),
            ..Line::default()
        }
    }

    /// What is said of mirrors with `limit`, after something else was said.
    fn say(lines: &[Line], counted: &Counted, said: Option<&str>) -> String {
        let said = said.map(|message| Said {
            reason: Reason::WITHIN_LIMITS.word,
            message,
            generation: 1,
            mirrors: "",
        });
        let said = aborted(lines, &ObjectId::new(Kind::VirtualService, "shop", "web"), counted, said);
        let said = said.map(|it| format!("{} {} {}", it.reason.holds.as_str(), it.reason.word, it.message));
        said.unwrap_or_default()
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
            assert_eq!(say(&lines, &Counted::default(), None), want);
        }
    }

    #[test]
    fn limits_that_have_nothing_to_compare_with_are_not_said_as_if_they_watched() {
        let mut v2 = line("v2", true, None);
        v2.limits.primary_errors = v2.limits.shadow_errors;
        v2.limits.different = true;
        let lines = [v2, line("v3", true, None)];
        let told = |waits_for: &str| {
            let limit = v1::Limit {
                name: "primaryErrors".to_owned(),
                replicas: 1,
                waiting: u32::from(!waits_for.is_empty()),
                waits_for: waits_for.to_owned(),
                ..v1::Limit::default()
            };
            let rule = crate::messages::reference(&ObjectId::new(Kind::VirtualService, "shop", "web"));
            let mirror = |name: &str| v1::Mirror {
                rule: Some(rule.clone()),
                field: name.to_owned(),
                limits: vec![limit.clone()],
                ..v1::Mirror::default()
            };
            Counted::new(vec![mirror("v2"), mirror("v3")], false, true, 0)
        };
        let plain = |note: &str| {
            format!(
                "v2: shadowErrors 5% in 30s of 100, primaryErrors 5% in 30s of 100{note}, verdict different; v3: shadowErrors 5% in 30s of 100"
            )
        };
        let waits = plain(" (does not decide yet: waits for x)");
        let unknown = plain(" (not known yet whether it decides)");
        for (counted, said, want) in [
            (told("x"), None, &waits),
            (told(""), Some(waits.as_str()), &plain("")),
            (told("x"), Some(plain("").as_str()), &waits),
            // Until somebody tells, what was said holds, if it was said of these limits.
            (Counted::default(), None, &unknown),
            (Counted::default(), Some(waits.as_str()), &waits),
            (Counted::default(), Some("v2: shadowErrors 1% in 30s of 100"), &unknown),
        ] {
            assert_eq!(say(&lines, &counted, said), format!("False WithinLimits {want}"));
        }
    }
}
