//! The last hour as lines, in SVG without a style of its own. Pure.

use std::fmt::Write;

use maud::{Markup, html};

use crate::observe::MINUTES;

/// How far two minutes stand apart, and how high a chart is, in units of its own.
const STEP: usize = 10;
const HEIGHT: f64 = 100.0;
const WIDTH: usize = STEP * (MINUTES as usize - 1);

/// The values of an hour, the oldest first; `None`: nothing was counted then.
pub(super) type Hour = Vec<Option<f64>>;

/// A line of a chart.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// Whose it is: `shadow` or `primary`, or that and `high`.
    pub(super) class: &'static str,
    /// What people call it.
    pub(super) name: &'static str,
    pub(super) hour: Hour,
}

impl Line {
    fn most(&self) -> f64 {
        self.hour.iter().flatten().copied().fold(0.0, f64::max)
    }

    /// The newest value.
    pub(super) fn last(&self) -> Option<f64> {
        self.hour.iter().rev().flatten().next().copied()
    }
}

/// Small, beside a figure; `floor` is the least that its whole height stands for. Nothing where nothing was counted.
pub(super) fn spark(what: &str, lines: &[Line], floor: f64, shown: impl Fn(f64) -> String) -> Markup {
    let most = most(lines, floor);
    if lines.iter().all(|line| line.hour.iter().all(Option::is_none)) {
        return html! {};
    }
    let label = label(what, lines, shown);
    html! {
        svg.spark viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) preserveAspectRatio="none" role="img" aria-label=(label) {
            @for line in lines { path class=(line.class) d=(path(&line.hour, most)) {} }
        }
    }
}

/// Large, with its scale and a legend.
pub(super) fn chart(what: &str, lines: &[Line], floor: f64, shown: impl Fn(f64) -> String) -> Markup {
    let most = most(lines, floor);
    let empty = lines.iter().all(|line| line.hour.iter().all(Option::is_none));
    html! {
        figure.chart {
            figcaption {
                (what)
                @if lines.len() > 1 {
                    span.legend { @for line in lines { span class=(line.class) { (line.name) } } }
                }
            }
            @if empty {
                p.none { "Nothing was counted in the last hour." }
            } @else {
                div.plot {
                    div.scale aria-hidden="true" { span { (shown(most)) } span { (shown(0.0)) } }
                    svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) preserveAspectRatio="none" role="img" aria-label=(label(what, lines, &shown)) {
                        path.grid d=(format!("M0 0H{WIDTH}M0 50H{WIDTH}M0 100H{WIDTH}")) {}
                        @for line in lines { path class=(line.class) d=(path(&line.hour, most)) {} }
                    }
                    div.hours aria-hidden="true" { span { "an hour ago" } span { "now" } }
                }
            }
        }
    }
}

fn most(lines: &[Line], floor: f64) -> f64 {
    lines.iter().map(Line::most).fold(floor, f64::max)
}

/// What somebody hears who does not see it.
fn label(what: &str, lines: &[Line], shown: impl Fn(f64) -> String) -> String {
    let each = lines.iter().filter_map(|line| {
        let last = shown(line.last()?);
        Some(format!("{} now {last}, at most {}", line.name, shown(line.most())))
    });
    let each: Vec<String> = each.collect();
    format!("{what} over the last hour: {}", each.join("; "))
}

/// A line with gaps where there is nothing; a minute alone is a dot.
fn path(hour: &[Option<f64>], most: f64) -> String {
    let mut out = String::new();
    let mut before: Option<i64> = None;
    for (at, value) in hour.iter().enumerate() {
        let Some(value) = value else {
            before = None;
            continue;
        };
        let part = if most > 0.0 { (value / most).clamp(0.0, 1.0) } else { 0.0 };
        let y = (HEIGHT * (1.0 - part)).round() as i64;
        // Writing to a string does not fail.
        let _ = match before {
            None => write!(out, "M{} {y}h0", at * STEP),
            Some(last) if last == y => write!(out, "h{STEP}"),
            Some(last) => write!(out, "l{STEP} {}", y - last),
        };
        before = Some(y);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_with_gaps() {
        for (hour, most, want) in [
            (&[][..], 1.0, ""),
            (&[None, None], 1.0, ""),
            (&[Some(0.0), Some(1.0), Some(1.0), Some(0.5)], 1.0, "M0 100h0l10 -100h10l10 50"),
            (&[None, Some(1.0), None, Some(2.0)], 2.0, "M10 50h0M30 0h0"),
            (&[Some(5.0), Some(0.0)], 0.0, "M0 100h0h10"),
        ] {
            assert_eq!(path(hour, most), want, "{hour:?}");
        }
    }

    #[test]
    fn what_somebody_hears() {
        let line = |name, values: &[f64]| Line {
            class: "shadow",
            name,
            hour: values.iter().map(|it| Some(*it)).collect(),
        };
        let lines = [line("shadow", &[1.0, 3.0, 2.0]), line("primary", &[])];
        let text = spark("<errors>", &lines, 0.0, |it| format!("{it}%")).into_string();
        assert!(text.contains("&lt;errors&gt; over the last hour: shadow now 2%, at most 3%\""), "{text}");
        assert_eq!(spark("", &[line("shadow", &[])], 0.0, |it| it.to_string()).into_string(), "");
    }
}
