//! Whether a shadow answers as its primary does: what log lines of judged requests say, joined, counted and judged
//! (docs/verdicts.md has the arithmetic).
//!
//! Owns: how a request ended by its line, the bounded join of lines, what is counted of pairs, in what two answers differ, the
//! tests and thresholds of a verdict, how many requests are judged.
//! Does not own: where lines come from, which mirrors there are, who is told (`server`).
//! Invariants: pure, no clock and no IO; memory is bounded whatever lines say; a verdict never says more than its pairs do.
//! Start reading at: [`Line`], then [`Joins`], [`Tally`] and [`judge`]; of bodies [`differences`], then [`Contents`].

mod content;
mod contents;
mod histogram;
mod join;
mod limits;
mod line;
mod losses;
mod outcome;
mod rate;
mod sequential;
mod tally;
mod verdict;

pub use content::{Content, Difference, How, differences, differing_values};
pub use contents::{Contents, ContentsJudgement, ContentsReason, Differing};
pub use histogram::Histogram;
pub use join::{Counts, Ended, JoinLimits, Joins, StreamId};
pub use limits::JudgeLimits;
pub use line::{Answer, Flags, Key, Line, Primary, Side};
pub use losses::Losses;
pub use outcome::{Exclusion, Outcome, exclusion, outcome};
pub use rate::{Looks, Pace, next_share};
pub use sequential::always_valid_p;
pub use tally::{Aspect, Copied, Discordance, Example, Tally};
pub use verdict::{Judgement, Reason, Verdict, judge};
