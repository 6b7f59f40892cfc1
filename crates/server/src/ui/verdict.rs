//! What a verdict rests on: pairs by aspect, and of bodies the fields that differ. Pure.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};
use umbra_proto::umbra::v1::{AnsweredPairs, Compared, Contents, Difference, Ratios, Verdict, Waits};

use super::figures::time;
use crate::mirrors::{contents_coverage, percent};
use crate::verdicts::{coverage, lowered};

/// The part of a mirror's page about what its answers are compared with; empty where nobody asked, so that it can come while the
/// page is shown.
pub(super) fn verdict(verdict: Option<&Verdict>) -> Markup {
    html! {
        div data-part="verdict" {
            @if let Some(verdict) = verdict {
                h3 { "Answers beside the primary's" }
                p {
                    (badge(&verdict.verdict)) " "
                    @match coverage(verdict) {
                        Some(part) => { (percent(part)) " of the judged requests were seen." }
                        None => "Nobody counts how many requests were judged.",
                    }
                    @if let Some(part) = lowered(verdict) {
                        " Only " (percent(part)) " of what is asked for is judged: more than 1 % of the requests had no pair."
                    }
                }
                (aspects(&verdict.compared))
                (answers(&verdict.answers))
                (waits(&verdict.waits))
                (ratios(&verdict.ratios))
                @if let Some(contents) = &verdict.contents { (bodies(contents)) }
            }
        }
    }
}

fn badge(word: &str) -> Markup {
    let class = match word {
        "same" => "good",
        "different" => "bad",
        _ => "open",
    };
    html! { span class=(format!("badge {class}")) { (word) } }
}

fn aspects(compared: &[Compared]) -> Markup {
    html! {
        table {
            thead { tr {
                th scope="col" { "Compared" } th scope="col" { "Pairs" } th scope="col" { "without a control" }
                th scope="col" { "Only the shadow differs" } th scope="col" { "Only the control does" }
            } }
            tbody {
                @for it in compared {
                    tr {
                        th scope="row" { (it.aspect.replace('_', " ")) }
                        @for count in [it.pairs, it.alone, it.candidate, it.control] { td.number { (count) } }
                    }
                }
            }
        }
    }
}

/// How answers of both go together: a row for each class of the primary's, a column for each of the shadow's.
fn answers(all: &[AnsweredPairs]) -> Markup {
    let names = |of: fn(&AnsweredPairs) -> &str| all.iter().map(of).collect::<BTreeSet<_>>();
    let (primary, shadow) = (names(|it| &it.primary), names(|it| &it.copy));
    let pairs = |row: &str, column: &str| {
        let cell = all.iter().find(|it| it.primary == row && it.copy == column);
        cell.map_or(0, |it| it.pairs)
    };
    html! {
        @if !all.is_empty() {
            h3 { "Pairs by answer" }
            table {
                thead { tr {
                    th scope="col" { "Primary" }
                    @for class in &shadow { th scope="col" { "shadow " (class) } }
                } }
                tbody { @for row in primary {
                    tr {
                        th scope="row" { (row) }
                        @for column in &shadow { td.number { (pairs(row, column)) } }
                    }
                } }
            }
        }
    }
}

fn waits(all: &[Waits]) -> Markup {
    html! {
        @if !all.is_empty() {
            h3 { "Wait for an answer" }
            table {
                thead { tr {
                    th scope="col" { "below" } th scope="col" { "Primary" } th scope="col" { "Shadow" } th scope="col" { "Control" }
                } }
                tbody { @for step in all {
                    tr {
                        th scope="row" { (wait(step.below_milliseconds)) }
                        @for count in [step.primary, step.copy, step.control] { td.number { (count) } }
                    }
                } }
            }
        }
    }
}

/// A wait, of which the shortest are shorter than times elsewhere.
fn wait(milliseconds: f64) -> String {
    if milliseconds < 1.0 { format!("{:.0} µs", milliseconds * 1e3) } else { time(milliseconds) }
}

fn ratios(all: &[Ratios]) -> Markup {
    html! {
        @if !all.is_empty() {
            h3 { "The shadow's wait by the control's, else the primary's" }
            table {
                thead { tr { th scope="col" { "below" } th scope="col" { "Pairs" } } }
                tbody { @for step in all {
                    tr { th scope="row" { (format!("{:.2}", step.below)) } td.number { (step.pairs) } }
                } }
            }
        }
    }
}

fn bodies(contents: &Contents) -> Markup {
    let Contents { pairs, skipped, digests, differences, more, .. } = contents;
    html! {
        h3 { "Contents" }
        p {
            (badge(&contents.verdict)) " " (pairs) " pairs"
            @if let Some(part) = contents_coverage(contents) { ", " (percent(part)) " of those that the judge saw" }
            (counted("passed over", skipped)) (counted("by digest", digests)) "."
            @for why in &contents.reasons { small { (why) } }
        }
        @if !differences.is_empty() {
            table {
                thead { tr {
                    th scope="col" { "Field" } th scope="col" { "differs by" } th scope="col" { "Only the shadow's" }
                    th scope="col" { "Only the control's" } th scope="col" { "both (noise)" }
                } }
                tbody { @for it in differences { (field(it)) } }
            }
        }
        @if *more > 0 { p.faint { "and " (more) " more" } }
    }
}

fn field(it: &Difference) -> Markup {
    html! {
        tr {
            th scope="row" {
                @if it.path.is_empty() { "the body" } @else { code { (it.path) } }
                @if it.decides { " " span.badge.bad { "differs" } }
                @for both in &it.values { small { code { (both.primary) } " → " code { (both.copy) } } }
            }
            td { (it.how) }
            @for count in [it.candidate, it.control, it.both] { td.number { (count) } }
        }
    }
}

/// Such as `, passed over: status 3`; nothing where there is none.
fn counted(what: &str, all: &BTreeMap<String, u64>) -> String {
    if all.is_empty() {
        return String::new();
    }
    let each: Vec<_> = all.iter().map(|(why, count)| format!("{why} {count}")).collect();
    format!("; {what}: {}", each.join(", "))
}

#[cfg(test)]
mod tests {
    use umbra_proto::umbra::v1::Values;

    use super::*;

    #[test]
    fn what_a_verdict_rests_on() {
        let difference = |path: &str, candidate, both, decides| Difference {
            path: path.to_owned(),
            how: "value".to_owned(),
            candidate,
            both,
            decides,
            values: vec![Values { primary: "\"<i>\"".to_owned(), copy: "7".to_owned() }],
            ..Difference::default()
        };
        let contents = Contents {
            verdict: "different".to_owned(),
            reasons: vec!["a<b> differs".to_owned()],
            pairs: 980,
            skipped: [("status".to_owned(), 20)].into(),
            digests: [("long".to_owned(), 5)].into(),
            differences: vec![difference("a<b>", 49, 0, true), difference("", 0, 980, false)],
            more: 7,
        };
        let compared =
            vec![Compared { aspect: "content_type".to_owned(), pairs: 1234, ..Compared::default() }];
        let (lines, counted) = (90, 100);
        let (word, contents) = ("different".to_owned(), Some(contents));
        let pairs = |primary: &str, copy: &str, pairs| AnsweredPairs {
            primary: primary.to_owned(),
            copy: copy.to_owned(),
            pairs,
        };
        let whole = Verdict {
            verdict: word,
            lines,
            counted,
            compared,
            contents,
            answers: vec![pairs("2xx", "2xx", 1180), pairs("5xx", "none", 54)],
            waits: vec![Waits { below_milliseconds: 2.048, primary: 17, copy: 18, control: 19 }],
            ratios: vec![Ratios { below: 1.189_207, pairs: 23 }],
            ..Verdict::default()
        };
        let text = verdict(Some(&whole)).into_string();
        for part in [
            "90.0% of the judged requests were seen.",
            "content type",
            "1234",
            "<th scope=\"row\">5xx</th><td class=\"number\">0</td><td class=\"number\">54</td>",
            "<th scope=\"row\">2.0 ms</th><td class=\"number\">17</td><td class=\"number\">18</td><td class=\"number\">19</td>",
            "<th scope=\"row\">1.19</th><td class=\"number\">23</td>",
            "980 pairs, 98.0% of those that the judge saw; passed over: status 20; by digest: long 5.",
            "<code>a&lt;b&gt;</code> <span class=\"badge bad\">differs</span>",
            "<small><code>&quot;&lt;i&gt;&quot;</code> → <code>7</code></small>",
            "the body",
            "and 7 more",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("<b>"), "{text}");
        assert_eq!(verdict(None).into_string(), "<div data-part=\"verdict\"></div>");
    }
}
