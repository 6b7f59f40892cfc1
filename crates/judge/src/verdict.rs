//! What a tally comes to.

use std::fmt;

use crate::{Aspect, Discordance, JudgeLimits, Tally, always_valid_p};

/// Whether a shadow answers as its primary does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// As far as the limits ask: what it may differ by and more has been ruled out.
    Same,
    /// It differs by more than chance and more than the limits.
    Different,
    /// Neither can be said.
    Undecided,
}

impl Verdict {
    /// As it is written in labels and columns.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Same => "same",
            Verdict::Different => "different",
            Verdict::Undecided => "undecided",
        }
    }
}

/// Why.
#[derive(Clone, PartialEq, Debug)]
pub enum Reason {
    /// Too few pairs.
    Pairs {
        /// How many there are.
        have: u64,
        /// How many there must be.
        need: u64,
    },
    /// The shadow differs in this.
    Differs {
        /// In what.
        aspect: Aspect,
        /// The pairs that say so.
        held: Discordance,
        /// How many of them have no control: there it may be the copying that makes the difference.
        alone: u64,
        /// The median of what copies took by what they are held against.
        ratio: Option<f64>,
        /// The probability of so much by chance, over all aspects.
        p: f64,
    },
    /// There are too few pairs, or too much noise, to rule out a difference as large as the limit.
    Open {
        /// In what.
        aspect: Aspect,
        /// The largest difference that is not ruled out, as a part of the pairs.
        at_most: f64,
    },
    /// More of the requests than this part went without a line of their copy.
    Unpaired {
        /// That part.
        part: f64,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Pairs { have, need } => write!(f, "{have} pairs of {need}"),
            Reason::Differs { aspect, held, alone, ratio, p } => {
                let Discordance { pairs, candidate, control, .. } = held;
                let base = match alone {
                    0 => "the control",
                    _ if alone == pairs => "the primary, without a control",
                    _ => "the control, where there is one",
                };
                match (aspect, ratio) {
                    (Aspect::Latency, Some(ratio)) => {
                        let slower = (ratio - 1.0) * 100.0;
                        write!(f, "{slower:.0} % slower than {base} in {pairs} pairs")
                    }
                    (Aspect::Stall, _) => {
                        write!(f, "far slower in {candidate} of {pairs} pairs, against {control} of {base}")
                    }
                    _ => {
                        let aspect = aspect.as_str().replace('_', " ");
                        write!(
                            f,
                            "{aspect} differs in {candidate} of {pairs} pairs, against {control} of {base}"
                        )
                    }
                }?;
                write!(f, " (p {})", small(*p))
            }
            Reason::Open { aspect, at_most } => write!(
                f,
                "{} may still differ in up to {:.2} % of pairs",
                aspect.as_str().replace('_', " "),
                at_most * 100.0
            ),
            Reason::Unpaired { part } => write!(f, "{:.1} % of judged requests had no copy", part * 100.0),
        }
    }
}

pub(crate) fn small(p: f64) -> String {
    if p < 1e-6 { "< 1e-6".to_owned() } else { format!("{p:.1e}") }
}

/// A verdict with what it rests on.
#[derive(Clone, PartialEq, Debug)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// Of a `different` one what differs, of an `undecided` one what is missing.
    pub reasons: Vec<Reason>,
    /// Pairs that were compared.
    pub pairs: u64,
}

/// Requests without a line of their copy, beyond which pairs no longer stand for all of them.
const MAX_UNPAIRED: f64 = 0.01;
/// 95 % from one side.
const Z: f64 = 1.644_853_6;

/// What a tally comes to.
///
/// `Different`: in some aspect the sign test says so and the effect is above the limit. `Same`: in none, and in each a difference
/// as large as the limit is ruled out with 95 %. See docs/verdicts.md.
pub fn judge(tally: &Tally, limits: &JudgeLimits) -> Judgement {
    let pairs = tally.held(Aspect::Status).pairs;
    let undecided = |reason| Judgement { verdict: Verdict::Undecided, reasons: vec![reason], pairs };
    if pairs < limits.pairs {
        let unpaired = unpaired(tally).filter(|_| tally.judged >= limits.pairs);
        return undecided(unpaired.unwrap_or(Reason::Pairs { have: pairs, need: limits.pairs }));
    }
    let mut found = Vec::new();
    let mut open = Vec::new();
    for aspect in Aspect::ALL {
        let held = tally.held(aspect);
        if held.pairs < limits.pairs {
            continue;
        }
        // A shadow that is better is not `different`: half of what the test may be wrong by is never said.
        let p = (always_valid_p(held.candidate, held.control) / 2.0 / share(aspect)).min(1.0);
        // The limit of latency is in what counts as slower.
        let limit = if aspect == Aspect::Latency { 0.0 } else { limits.effect };
        let at_most = at_most(&held);
        if p < limits.p && effect(&held) > limit {
            let alone = tally.alone[aspect as usize].pairs;
            found.push(Reason::Differs { aspect, held, alone, ratio: tally.median_ratio(), p });
        } else if at_most > limit {
            open.push(Reason::Open { aspect, at_most });
        }
    }
    if !found.is_empty() {
        return Judgement { verdict: Verdict::Different, reasons: found, pairs };
    }
    open.extend(unpaired(tally));
    let verdict = if open.is_empty() { Verdict::Same } else { Verdict::Undecided };
    Judgement { verdict, reasons: open, pairs }
}

/// Which part of the error that is put up with an aspect may make: of what matters most, half of it.
fn share(aspect: Aspect) -> f64 {
    match aspect {
        Aspect::Status => 1.0 / 2.0,
        Aspect::ContentType | Aspect::Size | Aspect::Latency | Aspect::Stall => 1.0 / 8.0,
    }
}

fn unpaired(tally: &Tally) -> Option<Reason> {
    let part = tally.copy_missing as f64 / tally.judged.max(1) as f64;
    (part > MAX_UNPAIRED).then_some(Reason::Unpaired { part })
}

/// By what part of the pairs the shadow differs more than the control.
pub(crate) fn effect(held: &Discordance) -> f64 {
    (held.candidate as f64 - held.control as f64) / held.pairs.max(1) as f64
}

/// The most that it could be, with 95 %: the upper end of Bonett and Price's interval for paired proportions (2012).
pub(crate) fn at_most(held: &Discordance) -> f64 {
    let pairs = held.pairs as f64 + 2.0;
    let (candidate, control) = ((held.candidate as f64 + 1.0) / pairs, (held.control as f64 + 1.0) / pairs);
    let difference = candidate - control;
    let variance = (candidate + control - difference * difference) / pairs;
    difference + Z * variance.max(0.0).sqrt()
}
