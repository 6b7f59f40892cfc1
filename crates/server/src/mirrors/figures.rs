//! What is worked out of what was counted, as parts of one and as people read them.

use umbra_proto::umbra::v1::{Answers, Contents, Lost, Mirror, Observed, Verdict};

use crate::verdicts;

/// What is to be said of proxies that do not tell what they count; `None`: all do.
pub(crate) fn uncounted(mirror: &Mirror) -> Option<String> {
    let Mirror { total, uncounted, .. } = mirror;
    (*uncounted > 0).then(|| format!("{uncounted} of {total} proxies not counted"))
}

/// What part of the requests was really copied; `None`: it cannot be known.
pub(crate) fn seen(observed: &Observed) -> Option<f64> {
    observed.seen_per_million.map(|it| it / 1e6)
}

/// What part of the target's answers were 5xx; `None`: there was no answer.
pub(crate) fn errors(observed: &Observed) -> Option<f64> {
    errors_of(observed.copy_answers.as_ref()?)
}

/// The same of the primary's answers.
pub(crate) fn primary_errors(observed: &Observed) -> Option<f64> {
    errors_of(observed.primary_answers.as_ref()?)
}

/// A verdict, never without how many pairs it rests on, and what part of the judged requests was seen.
pub(crate) fn verdict_words(verdict: &Verdict) -> String {
    let coverage = verdicts::coverage(verdict).map(|part| format!(", {} seen", percent(part)));
    let pairs = verdict.compared.first().map_or(0, |status| status.pairs);
    let contents = verdict.contents.as_ref().map(contents_words);
    let lowered = verdicts::lowered(verdict).map(|part| format!(", {} of the rate", percent(part)));
    let (coverage, lowered) = (coverage.unwrap_or_default(), lowered.unwrap_or_default());
    let contents = contents.unwrap_or_default();
    format!("{} ({pairs} pairs{coverage}{lowered}{contents})", verdict.verdict)
}

/// Field paths that are named of a mirror.
const FIELDS: usize = 3;

/// What the bodies come to: which fields differ, of how many pairs, and what part of the answers that a judge saw these are.
fn contents_words(contents: &Contents) -> String {
    let fields = match differing(contents) {
        none if none.is_empty() => String::new(),
        all if all.len() > FIELDS => format!(" {} and {} more", all[..FIELDS].join(", "), all.len() - FIELDS),
        all => format!(" {}", all.join(", ")),
    };
    let compared = contents_coverage(contents).map(|part| format!(", {} compared", percent(part)));
    format!(", contents {}{fields} in {}{}", contents.verdict, contents.pairs, compared.unwrap_or_default())
}

/// The fields for which contents are `different`, what tells most first and each once; none where they are not.
fn differing(contents: &Contents) -> Vec<&str> {
    let mut all = Vec::new();
    for difference in contents.differences.iter().filter(|it| it.decides) {
        let path = if difference.path.is_empty() { "body" } else { difference.path.as_str() };
        if !all.contains(&path) {
            all.push(path);
        }
    }
    all
}

/// The part of the requests a judge saw answers to whose answers it compared; `None`: it saw none.
pub(crate) fn contents_coverage(contents: &Contents) -> Option<f64> {
    let seen = contents.pairs + contents.skipped.values().sum::<u64>();
    (seen > 0).then(|| contents.pairs as f64 / seen as f64)
}

fn errors_of(answers: &Answers) -> Option<f64> {
    let Answers { informational, success, redirection, client_error, server_error } = answers;
    let all = informational + success + redirection + client_error + server_error;
    (all > 0).then(|| *server_error as f64 / all as f64)
}

/// How many copies got no whole answer, by reason, as the metrics name it; nothing where none was made.
pub(crate) fn lost(observed: &Observed) -> Vec<(&'static str, u64)> {
    let lost = observed.lost.as_ref().filter(|_| observed.copies > 0);
    let each = lost.map(|it| {
        let Lost { no_endpoint, overflow, refused, timeout, reset } = *it;
        let all = [
            ("no_endpoint", no_endpoint),
            ("overflow", overflow),
            ("refused", refused),
            ("timeout", timeout),
            ("reset", reset),
        ];
        all.to_vec()
    });
    each.unwrap_or_default()
}

/// What time a part of the requests did not take longer than, in the unit of `bounds` (the upper ends of `counts`, of which the last
/// has none): a straight line within each. `None`: there was no request.
pub(crate) fn quantile(bounds: &[f64], counts: &[u64], part: f64) -> Option<f64> {
    let all: u64 = counts.iter().sum();
    let rank = part * all as f64;
    let (mut below, mut start) = (0_u64, 0.0);
    for (at, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        if at > 0 {
            start = bounds.get(at - 1).copied().unwrap_or(start);
        }
        // Above the last of them nobody knows how far.
        let end = bounds.get(at).copied().unwrap_or(start);
        if (below + count) as f64 >= rank {
            return Some(start + (end - start) * ((rank - below as f64) / *count as f64).clamp(0.0, 1.0));
        }
        below += count;
    }
    None
}

/// The share that is asked for, of a million; `None`: it is no percentage.
pub(crate) fn share(millionths: Option<u32>) -> String {
    match millionths {
        None => "?".to_owned(),
        Some(0) => "off".to_owned(),
        Some(millionths) => format!("{}%", f64::from(millionths) / 10_000.0),
    }
}

/// The share of a mirror: `12.5% of 50%` where a policy holds it below what is written.
pub(crate) fn share_words(mirror: &Mirror) -> String {
    if mirror.stopped {
        return "stopped".to_owned();
    }
    let now = share(mirror.parts_per_million);
    match (mirror.parts_per_million, mirror.written_parts_per_million) {
        (Some(0), Some(written)) => format!("0% of {}", share(Some(written))),
        (_, Some(written)) => format!("{now} of {}", share(Some(written))),
        _ => now,
    }
}

/// Of a part of one: to three digits, and never to what it is not quite.
pub(crate) fn percent(part: f64) -> String {
    let percent = part * 100.0;
    let digits = match percent {
        it if it <= 0.0 || it >= 99.995 => 0,
        it if it >= 99.95 => 2,
        it if it >= 10.0 => 1,
        it if it >= 0.01 => 2,
        _ => 4,
    };
    format!("{percent:.digits$}%")
}

#[cfg(test)]
mod tests {
    use umbra_proto::umbra::v1::{Compared, Difference};

    use super::*;

    #[test]
    fn shares_as_people_write_them() {
        for (millionths, text) in [
            (None, "?"),
            (Some(0), "off"),
            (Some(1), "0.0001%"),
            (Some(125_000), "12.5%"),
            (Some(1_000_000), "100%"),
        ] {
            assert_eq!(share(millionths), text);
        }
    }

    #[test]
    fn a_share_that_is_held_down_says_below_what() {
        for (now, written, stopped, text) in [
            (Some(250_000), None, false, "25%"),
            (Some(1000), Some(500_000), false, "0.1% of 50%"),
            (Some(0), Some(500_000), false, "0% of 50%"),
            (Some(0), None, true, "stopped"),
        ] {
            let (parts_per_million, written_parts_per_million) = (now, written);
            let mirror =
                Mirror { parts_per_million, written_parts_per_million, stopped, ..Mirror::default() };
            assert_eq!(share_words(&mirror), text);
        }
    }

    #[test]
    fn contents_name_fields_pairs_and_what_was_compared() {
        let difference = |path: &&str| Difference {
            decides: !path.starts_with("noise"),
            path: (*path).to_owned(),
            ..Difference::default()
        };
        for (verdict, differences, skipped, text) in [
            ("undecided", &[][..], 0, "same (300 pairs, contents undecided in 240, 100% compared)"),
            ("same", &["noise"], 10, "same (300 pairs, contents same in 240, 96.0% compared)"),
            (
                "different",
                &["a.b", "noise"],
                0,
                "same (300 pairs, contents different a.b in 240, 100% compared)",
            ),
            (
                "different",
                &["", "a", "a", "b", "c", "d"],
                0,
                "same (300 pairs, contents different body, a, b and 2 more in 240, 100% compared)",
            ),
        ] {
            let contents = Contents {
                verdict: verdict.to_owned(),
                pairs: 240,
                skipped: [("incomplete".to_owned(), skipped)].into(),
                differences: differences.iter().map(difference).collect(),
                ..Contents::default()
            };
            let compared = vec![Compared { pairs: 300, ..Compared::default() }];
            let (verdict, contents) = ("same".to_owned(), Some(contents));
            let verdict = Verdict { verdict, compared, contents, ..Verdict::default() };
            assert_eq!(verdict_words(&verdict), text);
        }
    }

    #[test]
    fn times_between_their_bounds() {
        let bounds = [1.0, 5.0, 10.0];
        for (counts, part, want) in [
            (&[0, 0, 0, 0][..], 0.5, None),
            (&[10, 0, 0, 0], 0.5, Some(0.5)),
            (&[0, 10, 0, 0], 0.5, Some(3.0)),
            (&[50, 50, 0, 0], 0.99, Some(4.92)),
            (&[0, 0, 0, 7], 0.5, Some(10.0)),
            (&[1, 0, 1, 0], 1.0, Some(10.0)),
            (&[], 0.5, None),
        ] {
            let got = quantile(&bounds, counts, part).map(|it| (it * 100.0).round() / 100.0);
            assert_eq!(got, want, "{counts:?} {part}");
        }
    }

    #[test]
    fn parts_as_people_read_them() {
        for (part, text) in [
            (0.0, "0%"),
            (1.0, "100%"),
            (0.99994, "99.99%"),
            (0.248, "24.8%"),
            (0.0021, "0.21%"),
            (0.00001, "0.0010%"),
            (1.04, "104%"),
        ] {
            assert_eq!(percent(part), text);
        }
    }
}
