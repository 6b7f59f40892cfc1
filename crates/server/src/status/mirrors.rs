//! The mirrors of a VirtualService in a few words.

use umbra_ir::{AbortLimits, Aborted, Code, MirrorState, RuntimeFraction, Severity};
use umbra_source::kubernetes::{Condition, ConditionType, Reason};

use super::judge::cut;

/// A mirror as a status speaks of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Line {
    /// Its place, such as `spec.http[0].mirror`.
    pub(super) field: String,
    /// Its subset, else its host: which of the two says most.
    pub(super) name: String,
    /// Host, port and subset.
    pub(super) target: String,
    /// Such as `10%`, `off`, or `stopped`.
    pub(super) share: String,
    /// It should copy something, and that is counted.
    pub(super) asks: bool,
    /// Somebody has stopped it.
    pub(super) stopped: bool,
    /// When it stops by itself.
    pub(super) limits: AbortLimits,
    /// Its copies are judged.
    pub(super) judged: bool,
    /// It has.
    pub(super) aborted: Option<Aborted>,
    /// Ready endpoints; `None`: it leads nowhere.
    pub(super) endpoints: Option<usize>,
    /// Code and words of what keeps it from copying.
    pub(super) fault: Option<(Code, String)>,
}

impl Line {
    pub(super) fn new(mirror: &MirrorState) -> Self {
        let MirrorState { host, subset, port, .. } = mirror;
        let port = port.map_or(String::new(), |port| format!(":{port}"));
        let of = if subset.is_empty() { String::new() } else { format!(" subset {subset}") };
        let endpoints = mirror.clusters.values().max().copied();
        let fault = mirror.problem.as_ref().filter(|problem| {
            problem.severity == Severity::Error || endpoints.is_none() || problem.code.facts().stops_copies
        });
        Line {
            field: mirror.place.field(),
            name: if subset.is_empty() { host.clone() } else { subset.clone() },
            target: format!("{host}{port}{of}"),
            share: share(mirror),
            judged: mirror.verdicts.is_some(),
            stopped: mirror.stopped,
            limits: mirror.limits,
            aborted: mirror.aborted.clone(),
            asks: !mirror.unobserved
                && endpoints.is_some()
                && mirror.share.is_some_and(|share| share != RuntimeFraction::NONE),
            endpoints,
            fault: fault.map(|problem| (problem.code, problem.message.clone())),
        }
    }

    /// Whether a proxy can have it.
    fn leads_somewhere(&self) -> bool {
        self.endpoints.is_some()
    }

    fn sentence(&self) -> String {
        let Line { field, name, target, share, .. } = self;
        match (&self.fault, self.endpoints) {
            (Some((_, words)), _) => format!("{name} {share} ({field}): {words}"),
            (None, None) => format!("{name} {share} ({field}) to {target}: no proxy can serve its rule"),
            (None, Some(1)) => format!("{name} {share} to {target}: 1 endpoint"),
            (None, Some(n)) => format!("{name} {share} to {target}: {n} endpoints"),
        }
    }
}

/// As it is written. How far it is held below that changes with the traffic, and is no reason to write a status, but for the steps
/// of a ramp.
fn share(mirror: &MirrorState) -> String {
    let written = match mirror.written {
        _ if mirror.stopped => return "stopped".to_owned(),
        None => return "no share".to_owned(),
        Some(RuntimeFraction::NONE) => return "off".to_owned(),
        Some(share) => share,
    };
    let Some(pacing) = mirror.pacing.as_deref() else { return written.to_string() };
    let step = pacing.ramp.as_ref().map(|ramp| ramp.share(mirror.ramp.map_or(0, |state| state.step)));
    let most = pacing.max_per_second.map(|most| format!(", at most {most}/s")).unwrap_or_default();
    match step.filter(|step| *step < written) {
        Some(step) => format!("{step} of {written}{most}"),
        None => format!("{written}{most}"),
    }
}

/// How many mirrors a column has room for.
pub(super) const SHOWN: usize = 8;

/// Every mirror, such as `v2 10%`, and what is wrong with it; then `live`, if a proxy can have any of them. Of too many,
/// those with a fault come first and the rest are counted.
pub(super) fn summary(mirrors: &[Line], live: Option<(usize, usize, usize)>) -> String {
    let one = |mirror: &Line| {
        let fault = mirror.fault.as_ref().map_or(String::new(), |(code, _)| format!(" ({code})"));
        format!("{} {}{fault}", mirror.name, mirror.share)
    };
    let mut shown: Vec<&Line> = mirrors.iter().collect();
    if mirrors.len() > SHOWN {
        shown.sort_by_key(|mirror| mirror.fault.is_none());
        shown.truncate(SHOWN);
    }
    let mut all = shown.into_iter().map(one).collect::<Vec<_>>().join(", ");
    if mirrors.len() > SHOWN {
        all += &format!(" and {} more", mirrors.len() - SHOWN);
    }
    if let Some((live, total, away)) = live.filter(|_| mirrors.iter().any(Line::leads_somewhere)) {
        all += &format!(" live {live}/{total}");
        if away > 0 {
            all += &format!(" ({away} away)");
        }
    }
    all
}

/// The condition `MirrorsReady`; `None` without mirrors.
pub(super) fn mirrors_ready(mirrors: &[Line]) -> Option<Condition> {
    // What is broken comes first: a long message is cut.
    let (broken, fine): (Vec<&Line>, Vec<&Line>) = mirrors.iter().partition(|m| m.fault.is_some());
    let fault = broken.first().and_then(|mirror| mirror.fault.as_ref());
    let reason = match fault {
        Some((code, _)) => Reason::code(ConditionType::MirrorsReady, *code),
        None if !fine.iter().all(|mirror| mirror.leads_somewhere()) => Reason::NOT_SERVED,
        None => Reason::READY,
    };
    let words: Vec<String> = broken.into_iter().chain(fine).map(Line::sentence).collect();
    (!mirrors.is_empty()).then(|| Condition { reason, message: cut(words.join("; ")) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mirrors as `NAME:SHARE:ENDPOINTS[:CODE]`, endpoints `-` for one that leads nowhere.
    fn lines(words: &str) -> Vec<Line> {
        let one = |word: &str| {
            let parts: Vec<&str> = word.split(':').collect();
            Line {
                field: "spec.http[0].mirror".to_owned(),
                name: parts[0].to_owned(),
                target: format!("web subset {}", parts[0]),
                share: parts[1].to_owned(),
                asks: !["off", "stopped"].contains(&parts[1]) && parts[2] != "-",
                stopped: parts[1] == "stopped",
                endpoints: parts[2].parse().ok(),
                fault: parts.get(3).map(|code| (Code::find(code).unwrap(), "why".to_owned())),
                ..Line::default()
            }
        };
        words.split_whitespace().map(one).collect()
    }

    #[test]
    fn what_mirrors_say() {
        let ready = "v2 10% to web subset v2: 3 endpoints";
        for (mirrors, live, column, condition) in [
            ("v2:10%:3", Some((3, 3, 0)), "v2 10% live 3/3", format!("True Ready {ready}")),
            ("v2:10%:3", Some((3, 3, 1)), "v2 10% live 3/3 (1 away)", format!("True Ready {ready}")),
            ("v2:10%:3", None, "v2 10%", format!("True Ready {ready}")),
            (
                "v2:10%:3 v3:off:1",
                Some((2, 3, 0)),
                "v2 10%, v3 off live 2/3",
                format!("True Ready {ready}; v3 off to web subset v3: 1 endpoint"),
            ),
            (
                "v2:stopped:3",
                Some((2, 3, 0)),
                "v2 stopped live 2/3",
                "True Ready v2 stopped to web subset v2: 3 endpoints".to_owned(),
            ),
            (
                "v2:10%:0:NoEndpoints",
                Some((3, 3, 0)),
                "v2 10% (NoEndpoints) live 3/3",
                "False NoEndpoints v2 10% (spec.http[0].mirror): why".to_owned(),
            ),
            (
                "v2:10%:-:SubsetNotFound",
                Some((3, 3, 0)),
                "v2 10% (SubsetNotFound)",
                "False SubsetNotFound v2 10% (spec.http[0].mirror): why".to_owned(),
            ),
            (
                "v2:10%:3 v3:5%:-:HostNotFound",
                Some((3, 3, 0)),
                "v2 10%, v3 5% (HostNotFound) live 3/3",
                format!("False HostNotFound v3 5% (spec.http[0].mirror): why; {ready}"),
            ),
            (
                "v2:10%:-",
                Some((0, 3, 0)),
                "v2 10%",
                "Unknown NotServed v2 10% (spec.http[0].mirror) to web subset v2: no proxy can serve its rule"
                    .to_owned(),
            ),
        ] {
            let mirrors = lines(mirrors);
            assert_eq!(summary(&mirrors, live), column);
            let said = mirrors_ready(&mirrors).unwrap();
            assert_eq!(format!("{} {} {}", said.reason.holds.as_str(), said.reason.word, said.message), condition);
        }
        let many: Vec<String> = (0..20).map(|n| format!("m{n}:{n}%:1")).collect();
        let many = lines(&(many.join(" ") + " bad:1%:-:HostNotFound"));
        let column =
            "bad 1% (HostNotFound), m0 0%, m1 1%, m2 2%, m3 3%, m4 4%, m5 5%, m6 6% and 13 more live 1/2";
        assert_eq!(summary(&many, Some((1, 2, 0))), column);
        assert_eq!((summary(&[], Some((3, 3, 0))).as_str(), mirrors_ready(&[])), ("", None));
    }
}
