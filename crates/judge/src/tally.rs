//! What is counted of the pairs of one mirror.

use std::sync::Arc;
use std::time::Duration;

use crate::{Answer, Ended, Exclusion, Histogram, JudgeLimits, Outcome, exclusion, outcome};

/// In what two answers may differ.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Aspect {
    /// The status, `grpc-status`, or that there is an answer at all.
    Status,
    /// `content-type`.
    ContentType,
    /// The size of the body.
    Size,
    /// How long the target took.
    Latency,
    /// That it took several times as long: most answers may come in time when some do not.
    Stall,
}

impl Aspect {
    /// All of them, in the order in which they are counted.
    pub const ALL: [Aspect; 5] =
        [Aspect::Status, Aspect::ContentType, Aspect::Size, Aspect::Latency, Aspect::Stall];

    /// As it is written in labels and columns.
    pub fn as_str(self) -> &'static str {
        match self {
            Aspect::Status => "status",
            Aspect::ContentType => "content_type",
            Aspect::Size => "size",
            Aspect::Latency => "latency",
            Aspect::Stall => "stall",
        }
    }
}

/// Pairs in which the shadow and what it is held against (the control, else the primary itself) do not come to the same: only
/// these speak. Of latency each pair is one: the shadow is slower than it may be, or it is not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Discordance {
    /// Pairs in which the aspect could be compared.
    pub pairs: u64,
    /// The shadow differs and the control does not; without a control: the shadow alone failed.
    pub candidate: u64,
    /// The control differs and the shadow does not; without a control: the primary alone failed.
    pub control: u64,
}

impl Discordance {
    fn add(&mut self, candidate: bool, control: bool) {
        self.pairs += 1;
        self.candidate += u64::from(candidate && !control);
        self.control += u64::from(control && !candidate);
    }

    /// Adds another one's.
    pub fn merge(&mut self, other: &Self) {
        self.pairs += other.pairs;
        self.candidate += other.candidate;
        self.control += other.control;
    }
}

/// Rows and columns of the matrix of codes.
const CLASSES: usize = 6;
/// As they are called.
static CLASS_NAMES: [&str; CLASSES] = ["1xx", "2xx", "3xx", "4xx", "5xx", "none"];
/// Steps of what is shown of times, which are told apart in eighths of a doubling: doublings, and quarters of them.
const WAIT_STEP: usize = 8;
const RATIO_STEP: usize = 2;

/// What was counted of a mirror's judged requests. Tallies add up: of two halves of a window, of several replicas.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Tally {
    /// Requests whose own line came.
    pub judged: u64,
    /// Of them those with a line of this mirror's copy.
    pub paired: u64,
    /// Of them those without: no endpoint, no such cluster, or a lost line.
    pub copy_missing: u64,
    /// Copies without the line of their request: it still streams, or its line is lost.
    pub primary_missing: u64,
    /// Requests of which not all came before they had to make room, or their stream ended.
    pub let_go: u64,
    /// Requests that say nothing about their copies, by [`Exclusion::ALL`].
    pub excluded: [u64; Exclusion::ALL.len()],
    /// How copies ended, by [`Outcome::ALL`].
    pub outcomes: [u64; Outcome::ALL.len()],
    /// Pairs by class of the primary's code and of the copy's, 1xx to 5xx; last: no whole answer.
    pub classes: [[u64; CLASSES]; CLASSES],
    /// Pairs with a control copy, by [`Aspect::ALL`].
    pub controlled: [Discordance; Aspect::ALL.len()],
    /// Pairs without, likewise.
    pub alone: [Discordance; Aspect::ALL.len()],
    /// What primaries took, in units of 16 µs.
    pub primary_wait: Histogram,
    /// What copies took.
    pub copy_wait: Histogram,
    /// What control copies took.
    pub control_wait: Histogram,
    /// What a copy took by what it is held against, in units of 1/65536.
    pub ratio: Histogram,
}

/// What a judged request's copies are told apart by.
#[derive(Clone, Copy, Debug)]
pub struct Copied<'a> {
    /// The mark of the mirror's copies.
    pub mark: &'a str,
    /// The mark of the control's; `None`: there is none.
    pub control: Option<&'a str>,
    /// How long a copy may take (`maxStreamDuration`).
    pub limit: Duration,
}

/// The unit of waits.
const WAIT_UNIT: Duration = Duration::from_micros(16);
/// The unit of ratios, the other way around.
const RATIO_UNIT: f64 = 65_536.0;

impl Tally {
    /// Counts a request of which all is known that will be. True: the shadow differs from the primary in status, type or size, so
    /// it is an example.
    pub fn add(&mut self, ended: &Ended, copied: Copied<'_>, limits: &JudgeLimits) -> bool {
        let copy = ended.copies.get(copied.mark);
        let Some((primary, answer)) = &ended.primary else {
            if ended.evicted {
                self.let_go += 1;
            } else {
                self.primary_missing += u64::from(copy.is_some());
            }
            return false;
        };
        self.judged += 1;
        let Some(copy) = copy else {
            *(if ended.evicted { &mut self.let_go } else { &mut self.copy_missing }) += 1;
            return false;
        };
        self.paired += 1;
        let end = outcome(copy, copied.limit);
        if let Some(count) = self.outcomes.get_mut(end as usize) {
            *count += 1;
        }
        let control = copied.control.and_then(|mark| ended.copies.get(mark));
        let cut = |answer: &Answer| outcome(answer, copied.limit) == Outcome::ClientGone;
        let excluded = exclusion(primary, answer, control)
            .or_else(|| (cut(copy) || control.is_some_and(cut)).then_some(Exclusion::CopyCut));
        if let Some(why) = excluded {
            if let Some(count) = self.excluded.get_mut(why as usize) {
                *count += 1;
            }
            return false;
        }
        if let Some(count) = self
            .classes
            .get_mut(class(answer, true))
            .and_then(|row| row.get_mut(class(copy, end == Outcome::Answered)))
        {
            *count += 1;
        }
        let control = control.map(|control| Held {
            answer: control,
            whole: outcome(control, copied.limit) == Outcome::Answered,
        });
        let copy = Held { answer: copy, whole: end == Outcome::Answered };
        self.compare(answer, copy, control, limits)
    }

    /// Whether the copy differs from its primary.
    fn compare(
        &mut self,
        primary: &Answer,
        copy: Held<'_>,
        control: Option<Held<'_>>,
        limits: &JudgeLimits,
    ) -> bool {
        let mut example = false;
        for aspect in [Aspect::Status, Aspect::ContentType, Aspect::Size] {
            let Some(differs) = differs(aspect, primary, copy) else { continue };
            example |= differs;
            match control {
                Some(control) => {
                    // What the control cannot be compared in has no noise known of it.
                    let Some(noise) = self::differs(aspect, primary, control) else { continue };
                    self.controlled[aspect as usize].add(differs, noise);
                }
                None if aspect == Aspect::Status => {
                    self.alone[aspect as usize].add(copy.failed(), Held::of(primary).failed());
                }
                // There is no telling whether two answers of the primary's own would be alike.
                None => {}
            }
        }
        self.time(primary, copy, control, limits);
        example
    }

    fn time(&mut self, primary: &Answer, copy: Held<'_>, control: Option<Held<'_>>, limits: &JudgeLimits) {
        let whole = |held: Held<'_>| held.answer.wait.filter(|_| held.whole);
        let (primary, copy) = (primary.wait, whole(copy));
        let steady = control.map(whole);
        for (to, wait) in [
            (&mut self.primary_wait, primary),
            (&mut self.copy_wait, copy),
            (&mut self.control_wait, steady.flatten()),
        ] {
            if let Some(wait) = wait {
                to.add(wait.as_secs_f64() / WAIT_UNIT.as_secs_f64());
            }
        }
        // A copy is made after its primary was sent, as the control is.
        let (Some(copy), Some(base)) = (copy, steady.unwrap_or(primary)) else { return };
        let ratio = copy.as_secs_f64() / base.as_secs_f64().max(1e-6);
        self.ratio.add(ratio * RATIO_UNIT);
        let slower = copy > base.mul_f64(1.0 + limits.latency).saturating_add(limits.latency_floor);
        let held = if control.is_some() { &mut self.controlled } else { &mut self.alone };
        held[Aspect::Latency as usize].add(slower, !slower);
        let stalls = |one: Duration, other: Duration| {
            one > other.mul_f64(limits.stall).saturating_add(limits.stall_floor)
        };
        held[Aspect::Stall as usize].add(stalls(copy, base), stalls(base, copy));
    }

    /// What speaks about an aspect: of pairs that are alike either side may be the one that differs, with a control as without.
    pub fn held(&self, aspect: Aspect) -> Discordance {
        let mut held = self.controlled[aspect as usize];
        held.merge(&self.alone[aspect as usize]);
        held
    }

    /// Adds another one's.
    pub fn merge(&mut self, other: &Self) {
        for (to, more) in [
            (&mut self.judged, other.judged),
            (&mut self.paired, other.paired),
            (&mut self.copy_missing, other.copy_missing),
            (&mut self.primary_missing, other.primary_missing),
            (&mut self.let_go, other.let_go),
        ] {
            *to += more;
        }
        let cells = self.classes.iter_mut().flatten().zip(other.classes.iter().flatten());
        let all = self.excluded.iter_mut().zip(&other.excluded);
        for (to, more) in all.chain(self.outcomes.iter_mut().zip(&other.outcomes)).chain(cells) {
            *to += more;
        }
        let held = self.controlled.iter_mut().zip(&other.controlled);
        held.chain(self.alone.iter_mut().zip(&other.alone)).for_each(|(to, more)| to.merge(more));
        self.primary_wait.merge(&other.primary_wait);
        self.copy_wait.merge(&other.copy_wait);
        self.control_wait.merge(&other.control_wait);
        self.ratio.merge(&other.ratio);
    }

    /// The median of what copies took by what they are held against; `None`: none could be compared.
    pub fn median_ratio(&self) -> Option<f64> {
        Some(self.ratio.quantile(0.5)? / RATIO_UNIT)
    }

    /// Puts a median in the place of what was counted of ratios: where tallies come from elsewhere that is all there is.
    pub fn set_median_ratio(&mut self, ratio: Option<f64>) {
        self.ratio = Histogram::default();
        if let Some(ratio) = ratio {
            self.ratio.add(ratio * RATIO_UNIT);
        }
    }

    /// Pairs by class of the primary's answer and of the copy's: those that there are.
    pub fn answered(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let rows = CLASS_NAMES.iter().zip(&self.classes);
        let cells = rows.flat_map(|(primary, row)| {
            CLASS_NAMES.iter().zip(row).map(move |(copy, pairs)| (*primary, *copy, *pairs))
        });
        cells.filter(|(_, _, pairs)| *pairs > 0)
    }

    /// How many of a tally's waits were shorter than each time and not than the one before: those in which there is something.
    pub fn waits(of: &Histogram) -> impl Iterator<Item = (Duration, u64)> {
        of.steps(WAIT_STEP).map(|(units, count)| (WAIT_UNIT.mul_f64(units), count))
    }

    /// Pairs by what the copy took by what it is held against, likewise.
    pub fn ratios(&self) -> impl Iterator<Item = (f64, u64)> {
        self.ratio.steps(RATIO_STEP).map(|(units, count)| (units / RATIO_UNIT, count))
    }

    /// The value below which that part of a tally's waits lies.
    pub fn wait(of: &Histogram, part: f64) -> Option<Duration> {
        of.quantile(part).map(|units| WAIT_UNIT.mul_f64(units))
    }
}

/// An answer, and whether it came whole.
#[derive(Clone, Copy)]
struct Held<'a> {
    answer: &'a Answer,
    whole: bool,
}

impl<'a> Held<'a> {
    fn of(primary: &'a Answer) -> Self {
        Held { answer: primary, whole: true }
    }

    /// Nobody would promote what answers so.
    fn failed(self) -> bool {
        let code = self.answer.code.unwrap_or_default();
        // https://grpc.io/docs/guides/status-codes: what is the caller's doing is no failure of the server's.
        let by_grpc = matches!(self.answer.grpc, Some(2 | 4 | 8 | 12 | 13 | 14 | 15));
        !self.whole || code >= 500 || by_grpc
    }
}

/// Whether a copy differs from its primary; `None`: that cannot be compared.
fn differs(aspect: Aspect, primary: &Answer, copy: Held<'_>) -> Option<bool> {
    let alike = copy.whole && primary.code == copy.answer.code && primary.grpc == copy.answer.grpc;
    match aspect {
        Aspect::Status => Some(!alike),
        // Another status has another body as a matter of course: it has been counted.
        _ if !alike => None,
        Aspect::ContentType => Some(primary.content_type != copy.answer.content_type),
        Aspect::Size => Some(primary.size? != copy.answer.size?),
        Aspect::Latency | Aspect::Stall => None,
    }
}

fn class(answer: &Answer, whole: bool) -> usize {
    match answer.code {
        Some(code) if whole && (100..600).contains(&code) => usize::from(code / 100) - 1,
        _ => CLASSES - 1,
    }
}

/// What is kept of a pair that differs, to be looked at: no header, no body, and no query unless somebody allows it.
#[derive(Clone, PartialEq, Debug)]
pub struct Example {
    /// `x-request-id`.
    pub request: Arc<str>,
    /// `GET` and its like.
    pub method: Arc<str>,
    /// Without the query.
    pub path: Arc<str>,
    /// The query; empty: there is none, or nobody may see it.
    pub query: Arc<str>,
    /// The primary's answer.
    pub primary: Answer,
    /// The copy's.
    pub copy: Answer,
}

impl Example {
    /// The pair of a mirror's copies that this request has, if it is whole; with its query where that may be seen.
    pub fn of(ended: &Ended, mark: &str, queries: bool) -> Option<Self> {
        let (primary, answer) = ended.primary.as_ref()?;
        Some(Example {
            request: ended.key.request.clone(),
            method: primary.method.clone(),
            path: primary.path.clone(),
            query: if queries { primary.query.clone() } else { Arc::default() },
            primary: answer.clone(),
            copy: ended.copies.get(mark)?.clone(),
        })
    }
}
