//! One mirror. Pure.

use maud::{Markup, html};
use umbra_proto::umbra::v1::{Answers, Minute, Mirror, Observed, Times};

use super::chart::chart;
use super::figures::{Lines, quantile_of, rate, time};
use super::overview::{Now, button, rule_of};
use super::standing::Standing;
use super::verdict::verdict;
use crate::live::{Laggard, ObjectLive};
use crate::mirrors::{
    errors, limit_note, lost, percent, primary_errors, seen, share_words, uncounted, verdict_words,
};

/// What is known of one mirror.
pub(super) struct Known<'a> {
    pub(super) mirror: &'a Mirror,
    pub(super) minutes: &'a [Minute],
    /// How far its VirtualService has come.
    pub(super) live: Option<&'a ObjectLive>,
    /// Replicas that did not answer.
    pub(super) silent: &'a [String],
}

/// The main part of its page.
pub(super) fn page(known: &Known<'_>, now: Now) -> Markup {
    let Known { mirror, minutes, .. } = known;
    let standing = Standing::of(mirror, now.seconds);
    let lines = Lines::new(minutes, now.minute());
    html! {
        p { a href="./" { "All mirrors" } }
        div.tools data-part="head" {
            h2.sum {
                (rule_of(mirror)) " → " (mirror.target) " "
                span class=(format!("badge {}", standing.class())) { (standing.word(mirror.stopped)) }
            }
            (whole(mirror)) " " (button(mirror))
        }
        (facts(mirror))
        h3 { "The last hour" }
        div.charts data-part="charts" {
            (chart("Requests and copies a second", &lines.rates(), 0.0, rate))
            (chart("Errors (5xx)", &lines.errors(), 0.01, percent))
            (chart("Latency, half of them (p50)", &lines.times(0.5), 1.0, time))
            (chart("Latency, 95 of 100 (p95)", &lines.times(0.95), 1.0, time))
            (chart("Latency, 99 of 100 (p99)", &lines.times(0.99), 1.0, time))
            (chart("Copies without an answer", &lines.lost(), 0.01, percent))
        }
        (figures(mirror.observed.as_ref()))
        (verdict(mirror.verdict.as_ref()))
        (proxies(known))
    }
}

/// All mirrors of its VirtualService together.
fn whole(mirror: &Mirror) -> Markup {
    let rule = rule_of(mirror);
    html! {
        @if mirror.stopped {
            button data-verb="resume" data-rule=(rule) data-focus="whole" { "Resume all of " (rule) }
        } @else {
            button.stop data-verb="stop" data-rule=(rule) data-focus="whole" { "Stop all of " (rule) }
        }
    }
}

fn facts(mirror: &Mirror) -> Markup {
    let observed = mirror.observed.as_ref();
    html! {
        div.card data-part="facts" {
            @if let Some(problem) = &mirror.problem {
                p class=(format!("problem {}", problem.severity)) { (problem.message) " [" (problem.code) "]" }
            }
            dl {
                dt { "Share" }
                dd {
                    (share_words(mirror))
                    @if let Some(it) = observed.and_then(seen) { ", seen " (percent(it)) }
                    @if observed.is_some_and(|it| it.shared) { " (worked out: other mirrors copy to the same cluster, and copies are counted of all of them)" }
                }
                @if let Some(verdict) = &mirror.verdict {
                    dt { "Verdict" }
                    dd {
                        (verdict_words(verdict))
                        @for why in &verdict.reasons { div { (why) } }
                    }
                }
                @if !mirror.limits.is_empty() {
                    dt { "Stops by itself" }
                    dd { @for limit in &mirror.limits { div { (limit.words) (limit_note(limit)) } } }
                }
                dt { "Hosts" } dd { (mirror.hosts.join(", ")) }
                dt { "Rule" } dd { @if mirror.route.is_empty() { "without a name" } @else { (mirror.route) } ", " code { (mirror.field) } }
                dt { "Clusters" }
                dd {
                    @for cluster in &mirror.clusters {
                        div { code { (cluster.name) } ", " (cluster.ready_endpoints) " ready endpoints" }
                    }
                    @if mirror.clusters.is_empty() { "none" }
                }
                dt { "Runtime key" } dd { code { (mirror.runtime_key) } }
            }
        }
    }
}

fn figures(observed: Option<&Observed>) -> Markup {
    let Some(it) = observed else {
        return html! { p.none data-part="figures" { "No proxy tells what it counts." } };
    };
    let (primary, shadow) = (it.primary_answers.unwrap_or_default(), it.copy_answers.unwrap_or_default());
    let row = |what: &str, primary: String, shadow: String| {
        html! { tr { th scope="row" { (what) } td.number { (primary) } td.number { (shadow) } } }
    };
    let class = |what: &str, count: fn(&Answers) -> u64| {
        row(what, count(&primary).to_string(), count(&shadow).to_string())
    };
    let part = |part: Option<f64>| part.map_or_else(String::new, percent);
    let times = |times: Option<&Times>, at| quantile_of(times, at).map_or_else(String::new, time);
    html! {
        div data-part="figures" {
            h3 { "The last ten minutes" }
            table {
                thead { tr { th scope="col" {} th scope="col" { "Primary" } th scope="col" { "Shadow" } } }
                tbody {
                    (row("Requests, copies", it.primaries.to_string(), it.copies.to_string()))
                    (row("a second, lately", rate(it.primaries_per_second), rate(it.copies_per_second)))
                    (class("2xx", |it| it.success))
                    (class("3xx", |it| it.redirection))
                    (class("4xx", |it| it.client_error))
                    (class("5xx", |it| it.server_error))
                    (row("5xx of the answers", part(primary_errors(it)), part(errors(it))))
                    @for (what, at) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)] {
                        (row(what, times(it.primary_times.as_ref(), at), times(it.copy_times.as_ref(), at)))
                    }
                    @for (why, count) in lost(it) {
                        (row(&format!("lost: {}", why.replace('_', " ")), String::new(), count.to_string()))
                    }
                }
            }
        }
    }
}

fn proxies(known: &Known<'_>) -> Markup {
    let Known { mirror, live, silent, .. } = known;
    html! {
        div data-part="proxies" {
            h3 { "Proxies" }
            p { (mirror.live) " of " (mirror.total) " have taken it" @if mirror.away > 0 { "; " (mirror.away) " are away and go on as they were told" } "." }
            @if let Some(words) = uncounted(mirror) {
                p { (words) ": their bootstraps do not say that they have umbra's statistics sink, and the figures above are of the others." }
            }
            @if let Some(live) = live {
                (laggards("Not yet, of all mirrors of the VirtualService", &live.laggards, live.total.saturating_sub(live.live)))
                (laggards("Unanswered for too long, and not counted", &live.excused, live.excused.len()))
                @if !live.away.is_empty() {
                    h3 { "Away" }
                    ul.names { @for away in &live.away { li { (away.proxy) " since " (away.since.strftime("%F %T UTC")) ": " (away.told) } } }
                }
            }
            @if !silent.is_empty() {
                p.problem { "Replicas that do not answer, whose proxies are not counted: " (silent.join(", ")) }
            }
        }
    }
}

/// Those that are named, of so many.
fn laggards(what: &str, all: &[Laggard], count: usize) -> Markup {
    html! {
        @if !all.is_empty() {
            h3 { (what) }
            ul.names {
                @for laggard in all {
                    li {
                        (laggard.proxy) @if !laggard.resource.is_empty() { " " code { (laggard.resource) } }
                        @if let Some(words) = &laggard.words { small { (words) } }
                    }
                }
                @if count > all.len() { li { "and " (count - all.len()) " more" } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use umbra_ir::{Kind, ObjectId};
    use umbra_proto::umbra::v1::{Compared, Lost, Problem, Verdict};

    use super::*;

    #[test]
    fn who_has_not_taken_it_is_named() {
        let laggard = |words: Option<&str>| Laggard {
            proxy: "<web>.shop".to_owned(),
            resource: "rtds/umbra".to_owned(),
            words: words.map(str::to_owned),
        };
        let live = ObjectLive {
            object: ObjectId::new(Kind::VirtualService, "shop", "web"),
            generation: 1,
            newest: 1,
            total: 9,
            live: 6,
            laggards: vec![laggard(None), laggard(Some("<i>no</i>"))],
            stopped: Vec::new(),
            excused: Vec::new(),
            away: Vec::new(),
            total_away: 0,
        };
        let problem = Problem { message: "<b>".to_owned(), ..Problem::default() };
        let observed = Observed {
            copies: 10,
            lost: Some(Lost { no_endpoint: 4, ..Lost::default() }),
            ..Observed::default()
        };
        let compared = vec![Compared { pairs: 400, ..Compared::default() }];
        let verdict = Verdict {
            verdict: "different".to_owned(),
            reasons: vec!["status differs <".to_owned()],
            lines: 9,
            counted: 10,
            compared,
            ..Verdict::default()
        };
        let (problem, observed, verdict) = (Some(problem), Some(observed), Some(verdict));
        let mirror = Mirror { problem, observed, verdict, ..Mirror::default() };
        let silent = ["b (away)".to_owned()];
        let known = Known { mirror: &mirror, minutes: &[], live: Some(&live), silent: &silent };
        let text = page(&known, Now { seconds: 0 }).into_string();
        for part in [
            "different (400 pairs, 90.0% seen)",
            "status differs &lt;",
            "&lt;web&gt;.shop",
            "&lt;i&gt;no",
            "and 1 more",
            "lost: no endpoint",
            "b (away)",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("<b>") && !text.contains("<i>"), "{text}");
    }
}
