//! What really became of copies, as a status says it: an alarm where they are missing, and figures that are said anew only when
//! what they mean has changed. Pure.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;

use umbra_ir::{Kind, ObjectId};
use umbra_proto::umbra::v1;
use umbra_source::kubernetes::{Condition, Reason, Said, Truth};

use super::judged::SUMMARY as VERDICTS;
use super::mirrors::{Line, SHOWN};
use super::telling::Telling;
use crate::mirrors::{errors, lost, percent, seen};

/// From so many copies that should be there on, it is no chance when there is none: once in half a billion.
const ENOUGH: f64 = 20.0;
/// From so many on, it is none when there is less than half of them.
const PLENTY: f64 = 200.0;
/// What part of them is too little, and what is enough again.
const FEWER: (f64, f64) = (0.5, 0.7);
/// What part of the copies may be lost, and with what it is well again.
const LOST: (f64, f64) = (0.01, 0.005);
/// Fewer copies than this are not worth an alarm.
const LOST_COPIES: u64 = 10;
/// The longest name of a mirror in the message: a host's may be long.
const NAME: usize = 40;
/// After so many seconds without a request it is said that there are none: before, another replica may just have begun to count.
const SILENCE: i64 = 300;

/// What proxies have counted, of every mirror.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Counted {
    /// By VirtualService and place.
    mirrors: BTreeMap<ObjectId, BTreeMap<String, v1::Observed>>,
    /// How many of the proxies of each do not count, and of how many, by the same; nothing where all do.
    uncounted: BTreeMap<ObjectId, BTreeMap<String, (u32, u32)>>,
    /// The verdicts, by the same.
    verdicts: BTreeMap<ObjectId, BTreeMap<String, v1::Verdict>>,
    /// The limits of each, by the same.
    limits: BTreeMap<ObjectId, BTreeMap<String, Vec<v1::Limit>>>,
    /// Why nobody counts, where that is known.
    why_not: Option<&'static str>,
    /// The time, as a Unix time in seconds.
    now: i64,
}

impl Counted {
    /// `off`: the settings say that nothing is to be observed. `long`: whoever counts would have told by now.
    pub(super) fn new(mirrors: Vec<v1::Mirror>, off: bool, long: bool, now: i64) -> Self {
        let mut all: BTreeMap<ObjectId, BTreeMap<String, v1::Observed>> = BTreeMap::new();
        let mut verdicts: BTreeMap<ObjectId, BTreeMap<String, v1::Verdict>> = BTreeMap::new();
        let mut uncounted: BTreeMap<ObjectId, BTreeMap<String, (u32, u32)>> = BTreeMap::new();
        let mut limits: BTreeMap<ObjectId, BTreeMap<String, Vec<v1::Limit>>> = BTreeMap::new();
        for mirror in mirrors {
            let Some(rule) = mirror.rule else { continue };
            let id = ObjectId::new(Kind::VirtualService, rule.namespace, rule.name);
            if mirror.uncounted > 0 {
                let counts = (mirror.uncounted, mirror.total);
                uncounted.entry(id.clone()).or_default().insert(mirror.field.clone(), counts);
            }
            if !mirror.limits.is_empty() {
                limits.entry(id.clone()).or_default().insert(mirror.field.clone(), mirror.limits);
            }
            if let Some(verdict) = mirror.verdict {
                verdicts.entry(id.clone()).or_default().insert(mirror.field.clone(), verdict);
            }
            if let Some(observed) = mirror.observed {
                all.entry(id).or_default().insert(mirror.field, observed);
            }
        }
        let why_not = match (off, long) {
            (true, _) => Some("mirror.observe is off"),
            (false, true) => Some(
                "no proxy has told a count: there was no request yet, or its bootstrap has no sink for statistics",
            ),
            (false, false) => None,
        };
        Counted { mirrors: all, uncounted, verdicts, limits, why_not, now }
    }

    /// How far the limits of a mirror of an object decide; `None`: it has none, or nobody has told yet.
    pub(super) fn limits(&self, id: &ObjectId, field: &str) -> Option<&[v1::Limit]> {
        self.limits.get(id)?.get(field).map(Vec::as_slice)
    }

    /// The verdict on a mirror of an object.
    pub(super) fn verdict(&self, id: &ObjectId, field: &str) -> Option<&v1::Verdict> {
        self.verdicts.get(id)?.get(field)
    }
}

/// What the counts of one mirror mean; the first is what is said of several.
#[derive(Clone, Copy, PartialEq, PartialOrd, Debug)]
enum Sight {
    Nothing {
        wanted: u64,
    },
    Fewer,
    /// What part, and by which reason most of them.
    Lost {
        part: f64,
        why: usize,
    },
    Copies,
    /// `settled`: for long enough to say that.
    Few {
        settled: bool,
    },
    /// Nobody counts.
    Unseen,
}

/// Everything that the condition can say.
const ALL: [Reason; 10] = [
    Reason::COPYING,
    Reason::NOTHING_COPIED,
    Reason::FEWER_COPIED,
    Reason::LOST_NO_ENDPOINT,
    Reason::LOST_OVERFLOW,
    Reason::LOST_REFUSED,
    Reason::LOST_TIMEOUT,
    Reason::LOST_RESET,
    Reason::TOO_FEW_REQUESTS,
    Reason::NOT_OBSERVED,
];

/// In the order of [`lost`].
const LOST_REASONS: [Reason; 5] = [
    Reason::LOST_NO_ENDPOINT,
    Reason::LOST_OVERFLOW,
    Reason::LOST_REFUSED,
    Reason::LOST_TIMEOUT,
    Reason::LOST_RESET,
];

impl Sight {
    /// `alarmed`: it was said before that something is wrong.
    fn of(observed: Option<&v1::Observed>, alarmed: bool, now: i64) -> Self {
        let Some(observed) = observed else { return Sight::Unseen };
        let (wanted, copies) = (wanted(observed), observed.copies);
        if wanted >= ENOUGH && copies == 0 {
            return Sight::Nothing { wanted: wanted as u64 };
        }
        let limit = |(enter, leave): (f64, f64)| if alarmed { leave } else { enter };
        if wanted >= PLENTY && (copies as f64) < wanted * limit(FEWER) {
            return Sight::Fewer;
        }
        let lost = lost(observed);
        let all: u64 = lost.iter().map(|(_, count)| count).sum();
        let part = all as f64 / copies.max(1) as f64;
        if part >= limit(LOST) && (all >= LOST_COPIES || alarmed && all > 0) {
            let most = lost.iter().enumerate().max_by_key(|(at, (_, count))| (*count, Reverse(*at)));
            return Sight::Lost { part, why: most.map_or(0, |(at, _)| at) };
        }
        match copies {
            0 => {
                let since = observed.since.map_or(now, |since| since.seconds);
                Sight::Few { settled: now - since >= SILENCE }
            }
            _ => Sight::Copies,
        }
    }

    fn reason(self) -> Reason {
        match self {
            Sight::Nothing { .. } => Reason::NOTHING_COPIED,
            Sight::Fewer => Reason::FEWER_COPIED,
            Sight::Lost { why, .. } => LOST_REASONS[why.min(LOST_REASONS.len() - 1)],
            Sight::Unseen => Reason::NOT_OBSERVED,
            Sight::Few { .. } => Reason::TOO_FEW_REQUESTS,
            Sight::Copies => Reason::COPYING,
        }
    }

    /// Whether more may be known in a moment.
    fn is_open(self, counted: &Counted) -> bool {
        match self {
            Sight::Unseen => counted.why_not.is_none(),
            Sight::Few { settled } => !settled,
            _ => false,
        }
    }
}

/// The word for what is wrong with a mirror that asks for copies, as the condition has it, at this Unix time in seconds; `None`: nothing
/// that is known.
pub(crate) fn alarm(observed: &v1::Observed, now: i64) -> Option<&'static str> {
    let word = Sight::of(Some(observed), false, now).reason().word;
    is_alarm(word).then_some(word)
}

/// How many copies there should be at least. Of a request that nobody could answer Envoy makes none.
fn wanted(observed: &v1::Observed) -> f64 {
    let failed = observed.primary_answers.as_ref().map_or(0, |it| it.server_error);
    let failed = failed as f64 / observed.primaries.max(1) as f64;
    observed.wanted * (1.0 - failed.min(1.0))
}

/// A mirror that asks for copies, and what became of them.
struct Looked<'a> {
    line: &'a Line,
    observed: Option<&'a v1::Observed>,
    /// How many of its proxies do not count, and of how many.
    uncounted: Option<(u32, u32)>,
    sight: Sight,
}

/// What is said of mirrors that ask for copies.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Words {
    /// `None`: nobody asks for copies, or nothing can be said yet.
    pub(super) condition: Option<Condition>,
    /// Behind the line about all mirrors.
    pub(super) summary: String,
}

/// What to say, after `said` was; `column` is what the line about all mirrors begins with.
pub(super) fn observed<'a>(
    lines: &[Line],
    id: &ObjectId,
    (generation, column): (i64, &str),
    counted: &Counted,
    said: impl Iterator<Item = Said<'a>>,
) -> Words {
    let said: Vec<Said<'_>> = said.filter(|said| said.generation == generation).collect();
    let alarmed = said.first().is_some_and(|said| is_alarm(said.reason));
    let known = counted.mirrors.get(id);
    let looked: Vec<Looked<'_>> = lines
        .iter()
        .filter(|line| line.asks)
        .map(|line| {
            let observed = known.and_then(|all| all.get(&line.field));
            let uncounted = counted.uncounted.get(id).and_then(|all| all.get(&line.field)).copied();
            Looked { line, observed, uncounted, sight: Sight::of(observed, alarmed, counted.now) }
        })
        .collect();
    let order = |a: &&Looked<'_>, b: &&Looked<'_>| a.sight.partial_cmp(&b.sight).unwrap_or(Ordering::Equal);
    let Some(first) = looked.iter().min_by(order) else { return Words::default() };
    let reason = first.sight.reason();
    let open = looked.iter().any(|it| it.sight.is_open(counted));
    let loose = all(&looked, |it| it.head());
    let exact = match counted.why_not {
        Some(why) if first.sight == Sight::Unseen => Telling::default().text(why),
        _ => all(&looked, |it| it.telling(counted)),
    };
    let holds = |said: &&Said<'_>| {
        let waits = matches!(first.sight, Sight::Few { .. } | Sight::Unseen) || is_alarm(said.reason);
        let unseen = first.sight == Sight::Unseen && said.reason == Reason::NOT_OBSERVED.word;
        (open && waits && !is_alarm(reason.word) && (unseen || loose.holds(said.message)))
            || (said.reason == reason.word && exact.holds(said.message))
    };
    if let Some(said) = said.iter().find(holds)
        && let Some(reason) = ALL.into_iter().find(|it| it.word == said.reason)
    {
        let summary = said.mirrors.strip_prefix(column).filter(|it| it.is_empty() || it.starts_with(", "));
        // What stands behind it is said anew by whoever said it.
        let summary = summary.map(|it| it.split_once(VERDICTS).map_or(it, |(own, _)| own));
        let summary = summary.map_or_else(|| summary_of(&looked), str::to_owned);
        return Words { condition: Some(Condition { reason, message: said.message.to_owned() }), summary };
    }
    if first.sight == Sight::Unseen && open {
        return Words::default();
    }
    Words { condition: Some(Condition { reason, message: exact.words() }), summary: summary_of(&looked) }
}

fn is_alarm(word: &str) -> bool {
    ALL.into_iter().any(|it| it.word == word && it.holds == Truth::False)
}

/// As many as a message has room for, alarms first of too many.
fn all(looked: &[Looked<'_>], one: impl Fn(&Looked<'_>) -> Telling) -> Telling {
    let mut shown: Vec<&Looked<'_>> = looked.iter().collect();
    if shown.len() > SHOWN {
        shown.sort_by_key(|it| !is_alarm(it.sight.reason().word));
        shown.truncate(SHOWN);
    }
    let mut text = Telling::default();
    for (at, it) in shown.iter().enumerate() {
        if at > 0 {
            text = text.text("; ");
        }
        text.append(one(it));
    }
    match looked.len() - shown.len() {
        0 => text,
        more => text.text(format!("; and {more} more")),
    }
}

impl Looked<'_> {
    fn head(&self) -> Telling {
        Telling::default().text(self.name()).nothing("")
    }

    /// Long names are cut: so many of them fit into a message.
    fn name(&self) -> String {
        let Line { name, share, .. } = self.line;
        let end = (0..=NAME.min(name.len())).rev().find(|at| name.is_char_boundary(*at)).unwrap_or_default();
        format!("{} {share}: ", &name[..end])
    }

    fn telling(&self, counted: &Counted) -> Telling {
        let text = Telling::default().text(self.name());
        let (observed, lost) = match (self.sight, self.observed) {
            (Sight::Nothing { wanted }, _) => {
                return text.text("nothing copied where ").count(wanted).text(" copies should be");
            }
            (Sight::Few { .. }, _) => return text.nothing("too few requests to tell"),
            (Sight::Unseen, _) | (_, None) => {
                return match counted.why_not {
                    Some(why) => text.text(why),
                    None => text.nothing("not known yet"),
                };
            }
            (Sight::Lost { part, why }, Some(observed)) => (observed, Some((part, why))),
            (_, Some(observed)) => (observed, None),
        };
        let text = match seen(observed) {
            Some(part) => text.text("seen ").percentage(part, observed.primaries).text(", "),
            None => text,
        };
        let text = match errors(observed) {
            Some(part) => text.percentage(part, observed.copies).text(" 5xx of "),
            None => text.text("no answer to "),
        };
        let text = text.count(observed.copies).text(" copies");
        // Of one alone nobody knows.
        let text = if observed.shared { text.text(" of all mirrors to its cluster") } else { text };
        let text = match self.uncounted {
            // The figures are of the others.
            Some((uncounted, of)) => {
                let text = text.text(", ").count(uncounted.into());
                text.text(" of ").count(of.into()).text(" proxies not counted")
            }
            None => text,
        };
        match lost {
            None => text,
            Some((part, why)) => {
                let why = LOST_REASONS[why.min(LOST_REASONS.len() - 1)].word;
                text.text(", ").percentage(part, observed.copies).text(format!(" lost ({why})"))
            }
        }
    }

    /// In a few words, nothing where there is nothing to say.
    fn short(&self) -> Option<String> {
        let figures = |observed| {
            let seen = seen(observed).map(percent);
            let errors = errors(observed).map(|part| format!("{} 5xx", percent(part)));
            let lost = match self.sight {
                Sight::Lost { part, .. } => Some(format!("{} lost", percent(part))),
                _ => None,
            };
            seen.into_iter().chain(errors).chain(lost).collect::<Vec<_>>().join(", ")
        };
        match self.sight {
            Sight::Nothing { .. } => Some("nothing".to_owned()),
            Sight::Few { .. } | Sight::Unseen => None,
            _ => self.observed.map(figures).filter(|figures| !figures.is_empty()),
        }
    }
}

/// Such as `, seen 24.8%, 0.2% 5xx`; of several mirrors each with its name.
fn summary_of(looked: &[Looked<'_>]) -> String {
    if looked.len() > SHOWN {
        return String::new();
    }
    let one = |it: &Looked<'_>| {
        let short = it.short()?;
        Some(if looked.len() == 1 { short } else { format!("{} {short}", it.line.name) })
    };
    let all: Vec<String> = looked.iter().filter_map(one).collect();
    if all.is_empty() { String::new() } else { format!(", seen {}", all.join("; ")) }
}

#[cfg(test)]
mod tests;
