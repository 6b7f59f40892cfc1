//! All mirrors. Pure.

use std::collections::BTreeMap;

use maud::{Markup, html};
use umbra_proto::umbra::v1::{Minute, Mirror, Observed};

use super::chart::spark;
use super::figures::{Lines, quantile_of, rate, time};
use super::standing::Standing;
use crate::mirrors::{errors, percent, primary_errors, seen, share_words, verdict_words};
use crate::words::escape;

/// Of which time the page is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    /// In seconds since 1970.
    pub(super) seconds: i64,
}

impl Now {
    /// In minutes since 1970.
    pub(super) fn minute(self) -> u32 {
        u32::try_from(self.seconds / 60).unwrap_or_default()
    }
}

/// The main part of the page about these mirrors with their minutes, of a namespace or (empty) of all.
pub(super) fn overview(mirrors: &[(&Mirror, &[Minute])], namespace: &str, now: Now) -> Markup {
    let standings: Vec<Standing> =
        mirrors.iter().map(|(mirror, _)| Standing::of(mirror, now.seconds)).collect();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (standing, (mirror, _)) in standings.iter().zip(mirrors) {
        *counts.entry(standing.word(mirror.stopped)).or_default() += 1;
    }
    let any_stopped = mirrors.iter().any(|(mirror, _)| mirror.stopped);
    let of = if namespace.is_empty() { String::new() } else { format!(" of {namespace}") };
    let in_namespace = (!namespace.is_empty()).then_some(namespace);
    html! {
        div.tools {
            span.sum data-part="sum" {
                b { (mirrors.len()) " mirrors" (of) }
                @for (word, count) in &counts { ", " (count) " " (word) }
            }
            input #filter type="search" placeholder="Filter: name, target, state ( / )" aria-label="Filter" autocomplete="off";
            span data-part="all" {
                @if any_stopped {
                    button data-verb="resume" data-namespace=[in_namespace] data-focus="resume-all"
                        data-ask=(format!("Let every mirror{of} go on that is stopped?")) { "Resume all" }
                    " "
                }
                button.stop data-verb="stop" data-namespace=[in_namespace] data-focus="stop-all"
                    data-ask=(format!("Stop every mirror{of} on every proxy?")) { "Stop all" }
            }
        }
        table.mirrors {
            thead { tr {
                th scope="col" { "Mirror" } th scope="col" { "State" } th scope="col" { "Share" }
                th scope="col" { "Copies" } th scope="col" { "5xx" } th scope="col" { "p95" } th scope="col" { "Stop" }
            } }
            tbody data-list {
                @for ((mirror, minutes), standing) in mirrors.iter().zip(&standings) {
                    (row(mirror, &Lines::new(minutes, now.minute()), *standing))
                }
            }
        }
        @if mirrors.is_empty() { p.none { "There is no mirror" (of) "." } }
    }
}

/// `NAMESPACE/NAME` of the VirtualService.
pub(super) fn rule_of(mirror: &Mirror) -> String {
    mirror.rule.as_ref().map_or_else(String::new, |rule| format!("{}/{}", rule.namespace, rule.name))
}

fn row(mirror: &Mirror, lines: &Lines<'_>, standing: Standing) -> Markup {
    let rule = rule_of(mirror);
    let word = standing.word(mirror.stopped);
    let text = [&rule, &mirror.route, &mirror.target, word].join(" ").to_lowercase();
    let observed = mirror.observed.as_ref();
    // Of all mirrors to one cluster together, but for what can be worked out.
    let sign = if observed.is_some_and(|it| it.shared) { "~" } else { "" };
    html! {
        tr data-part=(mirror.id) data-text=(text) {
            th scope="row" {
                a href=(format!("mirror?key={}", escape(&mirror.runtime_key))) data-focus=(format!("{} page", mirror.id)) { (rule) }
                small { @if !mirror.route.is_empty() { (mirror.route) " " } "→ " (mirror.target) }
            }
            td data-label="State" {
                span class=(format!("badge {}", standing.class())) { (word) }
                small { (mirror.live) " of " (mirror.total) " proxies" @if mirror.away > 0 { ", " (mirror.away) " away" } }
                @if let Some(verdict) = &mirror.verdict {
                    small title=(verdict.reasons.join("; ")) { "verdict " (verdict_words(verdict)) }
                }
                @if let Some(problem) = &mirror.problem {
                    small class=(format!("problem {}", problem.severity)) title=(problem.message) { (problem.code) }
                }
            }
            td.number data-label="Share" {
                (share_words(mirror))
                @if let Some(seen) = observed.and_then(seen) { small { "seen " (sign) (percent(seen)) } }
            }
            td.number data-label="Copies" {
                @if let Some(it) = observed { (sign) (rate(copies(it))) "/s" small { "of " (rate(it.primaries_per_second)) "/s" } }
                (spark("Copies a second", &lines.copies(), 0.0, rate))
            }
            td.number data-label="5xx" {
                (beside(sign, observed.and_then(errors), observed.and_then(primary_errors), percent))
                (spark("Errors", &lines.errors(), 0.01, percent))
            }
            td.number data-label="p95" {
                (beside(sign, p95(observed, true), p95(observed, false), time))
                (spark("Latency (p95)", &lines.times(0.95), 1.0, time))
            }
            td { (button(mirror)) }
        }
    }
}

/// Copies a second: where other mirrors copy to the same cluster, its own part of the requests.
fn copies(observed: &Observed) -> f64 {
    match observed.shared {
        true => observed.primaries_per_second * seen(observed).unwrap_or_default(),
        false => observed.copies_per_second,
    }
}

fn p95(observed: Option<&Observed>, shadow: bool) -> Option<f64> {
    let observed = observed?;
    quantile_of(if shadow { observed.copy_times.as_ref() } else { observed.primary_times.as_ref() }, 0.95)
}

/// A figure of the shadow, behind a sign, with that of the primary.
fn beside(sign: &str, shadow: Option<f64>, primary: Option<f64>, shown: impl Fn(f64) -> String) -> Markup {
    html! {
        @if let Some(it) = shadow { (sign) (shown(it)) }
        @if let Some(it) = primary { small { "primary " (shown(it)) } }
    }
}

/// Stops one mirror, or lets it go on.
pub(super) fn button(mirror: &Mirror) -> Markup {
    let (verb, class, word) = match mirror.stopped {
        false => ("stop", Some("stop"), "Stop"),
        true => ("resume", None, "Resume"),
    };
    let label = format!("{word} {} → {}", rule_of(mirror), mirror.target);
    html! {
        button class=[class] data-verb=(verb) data-mirror=(mirror.runtime_key) data-rule=(rule_of(mirror))
            data-focus=(format!("{} button", mirror.id)) aria-label=(label) { (word) }
    }
}

#[cfg(test)]
mod tests {
    use umbra_proto::umbra::v1::{MirrorCluster, ObjectReference};

    use super::*;

    fn mirror(name: &str) -> Mirror {
        Mirror {
            id: format!("shop/{name}/spec.http[0].mirror"),
            rule: Some(ObjectReference {
                namespace: "shop".to_owned(),
                name: name.to_owned(),
                ..ObjectReference::default()
            }),
            target: "web subset <v2>".to_owned(),
            runtime_key: format!("mirror/shop/{name}/r/80|v2|web"),
            parts_per_million: Some(250_000),
            clusters: vec![MirrorCluster::default()],
            total: 3,
            live: 3,
            ..Mirror::default()
        }
    }

    #[test]
    fn names_of_others_are_text() {
        let evil = mirror("\"><script>alert(1)</script>");
        let text = overview(&[(&evil, &[])], "<b>", Now { seconds: 0 }).into_string();
        assert!(!text.contains("<script") && !text.contains("of <b>") && !text.contains("<v2>"), "{text}");
        assert!(text.contains("mirror?key=mirror%2Fshop%2F%22%3E%3Cscript"), "{text}");
    }

    #[test]
    fn a_row_says_how_it_is() {
        let mut stopped = mirror("web");
        stopped.stopped = true;
        let all = [mirror("a"), stopped];
        let all: Vec<(&Mirror, &[Minute])> = all.iter().map(|it| (it, &[][..])).collect();
        let text = overview(&all, "", Now { seconds: 0 }).into_string();
        for part in [
            "2 mirrors",
            "1 live",
            "1 stopped",
            "25%",
            "Resume all",
            "data-verb=\"resume\" data-mirror=\"mirror/shop/web/r/80|v2|web\"",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
