//! A text with figures in it, which is not said anew because a figure moved a little. Pure.

use crate::mirrors::percent;

/// A percentage that moved by less than so many points is the same,
const POINTS: f64 = 1.0;
/// and one by less than this part of the larger of both.
const PART: f64 = 0.5;
/// What chance makes of a sample is not news: so many standard deviations of it.
const DEVIATIONS: f64 = 4.0;

/// What is said.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Telling(Vec<Piece>);

#[derive(Clone, PartialEq, Debug)]
enum Piece {
    Text(String),
    /// A part of one, and of how many.
    Percentage(f64, u64),
    /// Moves all the time.
    Count(u64),
    /// Said where there is nothing to say; whatever was said before in its place, up to the next `;`, goes on to hold.
    Nothing(&'static str),
}

impl Telling {
    pub(super) fn text(mut self, text: impl Into<String>) -> Self {
        self.0.push(Piece::Text(text.into()));
        self
    }

    pub(super) fn percentage(mut self, part: f64, of: u64) -> Self {
        self.0.push(Piece::Percentage(part, of));
        self
    }

    pub(super) fn count(mut self, count: u64) -> Self {
        self.0.push(Piece::Count(count));
        self
    }

    pub(super) fn nothing(mut self, text: &'static str) -> Self {
        self.0.push(Piece::Nothing(text));
        self
    }

    pub(super) fn append(&mut self, mut other: Telling) {
        self.0.append(&mut other.0);
    }

    /// How it reads.
    pub(super) fn words(&self) -> String {
        let one = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Percentage(part, _) => percent(*part),
            Piece::Count(count) => count.to_string(),
            Piece::Nothing(text) => (*text).to_owned(),
        };
        self.0.iter().map(one).collect()
    }

    /// Whether what was said goes on to hold: it differs by figures alone, and by little.
    pub(super) fn holds(&self, said: &str) -> bool {
        let rest = self.0.iter().try_fold(said, |rest, piece| match piece {
            Piece::Text(text) => rest.strip_prefix(text.as_str()),
            Piece::Percentage(part, of) => {
                let (number, rest) = number(rest)?;
                is_near(number / 100.0, *part, *of).then_some(rest.strip_prefix('%')?)
            }
            Piece::Count(_) => number(rest).map(|(_, rest)| rest),
            Piece::Nothing(_) => Some(&rest[rest.find(';').unwrap_or(rest.len())..]),
        });
        rest == Some("")
    }
}

/// The number that a text begins with, and what follows.
fn number(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

fn is_near(said: f64, now: f64, of: u64) -> bool {
    let most = said.max(now).min(1.0);
    let chance = DEVIATIONS * (most * (1.0 - most) / (of.max(1) as f64)).sqrt();
    (said - now).abs() <= chance.max(POINTS / 100.0).max(PART * most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_holds_as_long_as_figures_hardly_move() {
        let telling = |errors: f64, of: u64| {
            Telling::default()
                .text("v2 25%: ")
                .percentage(errors, of)
                .text(" 5xx of ")
                .count(of)
                .text(" copies")
        };
        assert_eq!(telling(0.002, 3100).words(), "v2 25%: 0.20% 5xx of 3100 copies");
        for (said, errors, of, holds) in [
            ("v2 25%: 0.20% 5xx of 3100 copies", 0.002, 3100, true),
            ("v2 25%: 0.20% 5xx of 9 copies", 0.009, 10_000, true),
            ("v2 25%: 0.20% 5xx of 3100 copies", 0.03, 3100, false),
            ("v2 25%: 8.00% 5xx of 3100 copies", 0.05, 3100, true),
            ("v2 25%: 8.00% 5xx of 3100 copies", 0.02, 3100, false),
            // Of a few, chance makes that.
            ("v2 25%: 0% 5xx of 10 copies", 0.1, 10, true),
            ("v2 25%: 0% 5xx of 10 copies", 0.1, 1000, false),
            ("v2 30%: 0.20% 5xx of 3100 copies", 0.002, 3100, false),
            ("v2 25%: 0.20% 5xx of 3100 copies; more", 0.002, 3100, false),
            ("v2 25%: many 5xx of 3100 copies", 0.002, 3100, false),
            ("v2 25%: 0.20 5xx of 3100 copies", 0.002, 3100, false),
            ("", 0.002, 3100, false),
        ] {
            assert_eq!(telling(errors, of).holds(said), holds, "{said:?} where it is {errors} of {of}");
        }
        let nothing =
            Telling::default().text("v2 25%: ").nothing("too few").text("; v3 5%: ").nothing("too few");
        for (said, holds) in [
            ("v2 25%: seen 3%; v3 5%: too few", true),
            ("v2 25%: ; v3 5%: x", true),
            ("v2 25%: seen 3%", false),
            ("v2 26%: seen 3%; v3 5%: too few", false),
        ] {
            assert_eq!(nothing.holds(said), holds, "{said}");
        }
    }
}
