//! The verdicts on mirrors, as a status says them: anew only when one turns. Pure.

use umbra_ir::ObjectId;
use umbra_judge::Verdict;
use umbra_proto::umbra::v1;
use umbra_source::kubernetes::{Condition, Reason, Said};

use super::judge::cut;
use super::mirrors::{Line, SHOWN};
use super::observed::Counted;
use crate::mirrors::verdict_words;
use crate::verdicts::lowered;

/// What the summary's part about verdicts begins with.
pub(super) const SUMMARY: &str = ", verdict ";

/// The condition `Judged` and its part of the summary; nothing where nobody asks for a verdict or nothing is copied.
pub(super) fn judged<'a>(
    lines: &[Line],
    id: &ObjectId,
    generation: i64,
    counted: &Counted,
    mut said: impl Iterator<Item = Said<'a>>,
) -> (Option<Condition>, String) {
    let all: Vec<(&Line, Option<&v1::Verdict>)> = lines
        .iter()
        .filter(|line| line.judged && line.asks)
        .map(|line| (line, counted.verdict(id, &line.field)))
        .collect();
    if all.is_empty() {
        return (None, String::new());
    }
    let undecided = Verdict::Undecided.as_str();
    let word = |it: Option<&v1::Verdict>| it.map_or(undecided.to_owned(), |it| it.verdict.clone());
    let is = |verdict: Verdict| all.iter().filter(|(_, it)| word(*it) == verdict.as_str()).count();
    let (same, different) = (is(Verdict::Same), is(Verdict::Different));
    let reason = match (different, all.len() - same) {
        (0, 0) => Reason::SAME,
        (0, _) => Reason::UNDECIDED,
        _ => Reason::DIFFERENT,
    };
    if all.len() > SHOWN {
        let rest = all.len() - same - different;
        let words = format!("{different} different, {same} same, {rest} undecided");
        return (Some(Condition { reason, message: words.clone() }), format!("{SUMMARY}{words}"));
    }
    // The verdict on contents is part of it: where status differs already, a field that differs is news.
    let of_contents = |it: Option<&v1::Verdict>| {
        let contents = it.and_then(|it| it.contents.as_ref());
        contents.map_or(String::new(), |contents| format!(" (contents {})", contents.verdict))
    };
    // So is that less is judged than is asked for; how much less is not.
    let lowered = |it: Option<&v1::Verdict>| match it.and_then(lowered) {
        Some(_) => " (judged less)",
        None => "",
    };
    let head = |(line, it): &(&Line, Option<&v1::Verdict>)| {
        format!("{}: {}{}{}", line.name, word(*it), of_contents(*it), lowered(*it))
    };
    let heads: Vec<String> = all.iter().map(head).collect();
    let head = heads.join(", ") + ".";
    let summary = match &all[..] {
        [(_, one)] => word(*one),
        several => {
            let each = several.iter().map(|(line, it)| format!("{} {}", line.name, word(*it)));
            each.collect::<Vec<_>>().join(", ")
        }
    };
    let summary = format!("{SUMMARY}{summary}");
    let before = said.find(|said| {
        said.generation == generation && said.reason == reason.word && said.message.starts_with(&head)
    });
    let message = before.map_or_else(
        || {
            let each = all.iter().filter_map(|(line, it)| {
                let it = (*it)?;
                let why = if it.reasons.is_empty() {
                    String::new()
                } else {
                    format!(": {}", it.reasons.join(", "))
                };
                Some(format!(" {} {}{why}", line.name, verdict_words(it)))
            });
            cut(format!("{head}{}", each.collect::<Vec<_>>().join(";")))
        },
        |said| said.message.to_owned(),
    );
    (Some(Condition { reason, message }), summary)
}

#[cfg(test)]
mod tests {
    use umbra_ir::Kind;

    use super::*;

    /// Mirrors as `NAME:VERDICT` or `NAME:VERDICT/CONTENTS`, with so many pairs; `-`: nobody has judged it; `!` behind it: less is
    /// judged than is asked for.
    #[track_caller]
    fn check(mirrors: &[&str], pairs: u64, before: Option<(&str, &str)>, want: &str, column: &str) {
        let id = ObjectId::new(Kind::VirtualService, "shop", "web");
        let (mut lines, mut told) = (Vec::new(), Vec::new());
        for (at, mirror) in mirrors.iter().enumerate() {
            let (name, word) = mirror.split_once(':').unwrap();
            let judged_part_per_million = word.ends_with('!').then_some(500_000);
            let word = word.trim_end_matches('!');
            let (word, contents) = word.split_once('/').unwrap_or((word, ""));
            let field = format!("spec.http[{at}].mirror");
            lines.push(Line {
                name: name.to_owned(),
                field: field.clone(),
                asks: true,
                judged: true,
                ..Line::default()
            });
            let compared = vec![v1::Compared { pairs, ..v1::Compared::default() }];
            let reasons = if word == "different" { vec!["status differs".to_owned()] } else { Vec::new() };
            let contents = (!contents.is_empty()).then(|| v1::Contents {
                verdict: contents.to_owned(),
                pairs: 200,
                ..v1::Contents::default()
            });
            let verdict = word.to_owned();
            let verdict = v1::Verdict {
                verdict,
                compared,
                reasons,
                contents,
                judged_part_per_million,
                ..v1::Verdict::default()
            };
            told.push(v1::Mirror {
                rule: Some(crate::messages::reference(&id)),
                field,
                verdict: (word != "-").then_some(verdict),
                ..v1::Mirror::default()
            });
        }
        let counted = Counted::new(told, false, true, 0);
        let said = before.map(|(reason, message)| Said { reason, message, generation: 7, mirrors: "" });
        let (condition, summary) = judged(&lines, &id, 7, &counted, said.into_iter());
        let shown =
            condition.map(|it| format!("{} {} {}", it.reason.holds.as_str(), it.reason.word, it.message));
        assert_eq!((shown.as_deref().unwrap_or_default(), summary.as_str()), (want, column));
    }

    #[test]
    fn what_is_said_of_verdicts() {
        check(&[], 0, None, "", "");
        let same = "True Same v2: same. v2 same (300 pairs)";
        check(&["v2:same"], 300, None, same, ", verdict same");
        // That there are more pairs is no reason to say it anew.
        check(&["v2:same"], 400, Some(("Same", "v2: same. v2 same (300 pairs)")), same, ", verdict same");
        check(
            &["v2:different"],
            400,
            Some(("Same", "v2: same. v2 same (300 pairs)")),
            "False Different v2: different. v2 different (400 pairs): status differs",
            ", verdict different",
        );
        // Of what was different already contents say something new.
        let before = "v2: different (contents undecided). so";
        check(
            &["v2:different/different"],
            400,
            Some(("Different", before)),
            "False Different v2: different (contents different). v2 different (400 pairs, contents different in 200, 100% compared): status differs",
            ", verdict different",
        );
        check(
            &["v2:different/undecided"],
            400,
            Some(("Different", before)),
            &format!("False Different {before}"),
            ", verdict different",
        );
        let less = "True Same v2: same (judged less). v2 same (300 pairs, 50.0% of the rate)";
        check(&["v2:same!"], 300, Some(("Same", "v2: same. v2 same (300 pairs)")), less, ", verdict same");
        check(&["v2:same!"], 400, Some(("Same", &less[10..])), less, ", verdict same");
        check(
            &["v2:same", "v3:-"],
            300,
            None,
            "Unknown Undecided v2: same, v3: undecided. v2 same (300 pairs)",
            ", verdict v2 same, v3 undecided",
        );
        let many: Vec<String> = (0..9).map(|n| format!("v{n}:same")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        check(
            &many,
            1,
            None,
            "True Same 0 different, 9 same, 0 undecided",
            ", verdict 0 different, 9 same, 0 undecided",
        );
    }
}
