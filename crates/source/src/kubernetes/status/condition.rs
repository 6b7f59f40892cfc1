//! What a status can say about an object, in one table: conditions, the reasons for which they hold or do not, and the
//! Events that tell of a turn. `docs/status.md` lists the same.

use std::fmt;

use umbra_ir::Code;

/// Whether a condition holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Truth {
    /// It does.
    True,
    /// It does not.
    False,
    /// Nobody can tell.
    Unknown,
}

impl Truth {
    /// As the API server has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Truth::True => "True",
            Truth::False => "False",
            Truth::Unknown => "Unknown",
        }
    }
}

/// The conditions that are ours, whatever others write.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ConditionType {
    /// The object is in force as written.
    Accepted,
    /// Every proxy that the object reaches has taken it.
    Programmed,
    /// The mirrors of a VirtualService can copy; there is none without mirrors.
    MirrorsReady,
    /// The mirrors of a VirtualService do copy; there is none where nobody asks for copies.
    Observed,
    /// Somebody has stopped mirrors of a VirtualService, and every proxy has taken it; there is none before that.
    Stopped,
    /// Mirrors of a VirtualService were stopped by their limits; there is none without limits.
    Aborted,
    /// The mirrors of a VirtualService answer as their primaries do; there is none where nobody asks for a verdict.
    Judged,
}

impl ConditionType {
    /// Every one, in the order in which they are listed.
    pub const ALL: [ConditionType; 7] = [
        ConditionType::Accepted,
        ConditionType::Programmed,
        ConditionType::MirrorsReady,
        ConditionType::Observed,
        ConditionType::Stopped,
        ConditionType::Aborted,
        ConditionType::Judged,
    ];

    /// The `type` of the condition.
    pub const fn as_str(self) -> &'static str {
        match self {
            ConditionType::Accepted => "Accepted",
            ConditionType::Programmed => "Programmed",
            ConditionType::MirrorsReady => "MirrorsReady",
            ConditionType::Observed => "Observed",
            ConditionType::Stopped => "Stopped",
            ConditionType::Aborted => "Aborted",
            ConditionType::Judged => "Judged",
        }
    }
}

impl fmt::Display for ConditionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a condition holds, or does not: one word for tools, which also decides which condition it is about and whether
/// that holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reason {
    /// Of which condition.
    pub condition: ConditionType,
    /// Whether it then holds.
    pub holds: Truth,
    /// The word.
    pub word: &'static str,
}

/// Declares the reasons, each as `NAME = CONDITION TRUTH WORD`.
macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $condition:ident $holds:ident $word:literal;)*) => {
        impl Reason {
            $(
                $(#[$doc])*
                pub const $name: Reason =
                    Reason { condition: ConditionType::$condition, holds: Truth::$holds, word: $word };
            )*

            /// Every one but the codes of diagnostics.
            pub const ALL: &[Reason] = &[$(Reason::$name,)*];
        }
    };
}

reasons! {
    /// In force as written.
    ACCEPTED = Accepted True "Accepted";
    /// It works, but perhaps not as meant.
    ACCEPTED_WITH_WARNINGS = Accepted True "AcceptedWithWarnings";
    /// Every connected proxy that gets something of the object has taken all of it.
    LIVE = Programmed True "Live";
    /// Some proxy has not answered yet.
    PENDING = Programmed False "Pending";
    /// A proxy has refused it.
    REJECTED = Programmed False "Rejected";
    /// This version could not be understood.
    NOT_ACCEPTED = Programmed False "NotAccepted";
    /// No connected proxy gets anything of it.
    NO_PROXIES = Programmed Unknown "NoProxies";
    /// Not every replica answered.
    REPLICAS_SILENT = Programmed Unknown "ReplicasSilent";
    /// Every mirror has a target.
    READY = MirrorsReady True "Ready";
    /// No proxy can serve the rule that a mirror stands in.
    NOT_SERVED = MirrorsReady Unknown "NotServed";
    /// Every mirror copies, and hardly a copy is lost.
    COPYING = Observed True "Copying";
    /// There were requests, and nothing was copied.
    NOTHING_COPIED = Observed False "NothingCopied";
    /// Less than half of what should be was copied.
    FEWER_COPIED = Observed False "FewerCopied";
    /// Copies are lost, most of them since the target had no endpoint that could be called.
    LOST_NO_ENDPOINT = Observed False "LostNoEndpoint";
    /// Most of them since too many were under way.
    LOST_OVERFLOW = Observed False "LostOverflow";
    /// Most of them for want of a connection.
    LOST_REFUSED = Observed False "LostRefused";
    /// Most of them since they took too long.
    LOST_TIMEOUT = Observed False "LostTimeout";
    /// Most of them since the target broke off.
    LOST_RESET = Observed False "LostReset";
    /// There were too few requests to tell.
    TOO_FEW_REQUESTS = Observed Unknown "TooFewRequests";
    /// Nobody tells what is copied.
    NOT_OBSERVED = Observed Unknown "NotObserved";
    /// Every proxy has taken it.
    STOPPED = Stopped True "Stopped";
    /// Some proxy has not answered yet.
    STOPPING = Stopped False "Stopping";
    /// None is any longer.
    RESUMED = Stopped False "Resumed";
    /// The target answered too much with 5xx.
    SHADOW_ERRORS = Aborted True "ShadowErrors";
    /// Too many copies were lost.
    COPIES_LOST = Aborted True "CopiesLost";
    /// The rule's own requests failed more than without copies.
    PRIMARY_ERRORS = Aborted True "PrimaryErrors";
    /// They took longer than without copies.
    PRIMARY_LATENCY = Aborted True "PrimaryLatency";
    /// The target answered otherwise than the primary.
    VERDICT_DIFFERENT = Aborted True "VerdictDifferent";
    /// No limit has been crossed, or whoever it stopped goes on.
    WITHIN_LIMITS = Aborted False "WithinLimits";
    /// Every judged mirror answers as the primary does, as far as is asked for.
    SAME = Judged True "Same";
    /// One answers otherwise, by more than chance.
    DIFFERENT = Judged False "Different";
    /// Neither can be said.
    UNDECIDED = Judged Unknown "Undecided";
}

impl Reason {
    /// The code of a diagnostic is why a condition does not hold.
    pub const fn code(condition: ConditionType, code: Code) -> Self {
        Reason { condition, holds: Truth::False, word: code.as_str() }
    }
}

/// The reason of an Event, which tells of a turn that a person acts on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct EventReason {
    /// It is bad news.
    pub(crate) warning: bool,
    /// The word.
    pub(crate) word: &'static str,
}

impl EventReason {
    /// An object is not in force as written.
    pub(crate) const NOT_ACCEPTED: Self = EventReason { warning: true, word: "NotAccepted" };
    /// It is again.
    pub(crate) const ACCEPTED: Self = EventReason { warning: false, word: "Accepted" };
    /// A mirror cannot copy.
    pub(crate) const MIRRORS_NOT_READY: Self = EventReason { warning: true, word: "MirrorsNotReady" };
    /// All can again.
    pub(crate) const MIRRORS_READY: Self = EventReason { warning: false, word: "MirrorsReady" };
    /// A proxy has refused the object.
    pub(crate) const REJECTED: Self = EventReason { warning: true, word: "Rejected" };
    /// Every proxy has taken it after that.
    pub(crate) const PROGRAMMED: Self = EventReason { warning: false, word: "Programmed" };
    /// Requests come, and are not copied as they should be, or copies are lost.
    pub(crate) const NOT_COPIED: Self = EventReason { warning: true, word: "NotCopied" };
    /// They are again.
    pub(crate) const COPYING: Self = EventReason { warning: false, word: "Copying" };
    /// Somebody stops mirrors.
    pub(crate) const STOPPING: Self = EventReason { warning: false, word: "Stopping" };
    /// Every proxy has taken that.
    pub(crate) const STOPPED: Self = EventReason { warning: false, word: "Stopped" };
    /// Mirrors stopped by themselves.
    pub(crate) const ABORTED: Self = EventReason { warning: true, word: "Aborted" };
    /// A mirror answers otherwise than its primary.
    pub(crate) const DIFFERENT: Self = EventReason { warning: true, word: "Different" };
    /// All answer as their primaries again.
    pub(crate) const SAME: Self = EventReason { warning: false, word: "Same" };
    /// They go on.
    pub(crate) const RESUMED: Self = EventReason { warning: false, word: "Resumed" };

    /// What to tell when a condition turns: what it was before (`None`: it was not there, so the object is new, or umbra
    /// is), with its reason, and what it is now.
    pub(crate) fn of(before: Option<(&str, &str)>, now: Reason) -> Option<Self> {
        let (was, why) = before.unzip();
        let held = was == Some(Truth::True.as_str());
        let failed = was == Some(Truth::False.as_str());
        let was_rejected = failed && why == Some(Reason::REJECTED.word);
        match (now.condition, now.holds) {
            (ConditionType::Accepted, Truth::False) if held || was.is_none() => Some(Self::NOT_ACCEPTED),
            (ConditionType::Accepted, Truth::True) if failed => Some(Self::ACCEPTED),
            (ConditionType::MirrorsReady, Truth::False) if held || was.is_none() => {
                Some(Self::MIRRORS_NOT_READY)
            }
            (ConditionType::MirrorsReady, Truth::True) if failed => Some(Self::MIRRORS_READY),
            (ConditionType::Programmed, Truth::False) if now == Reason::REJECTED && !was_rejected => {
                Some(Self::REJECTED)
            }
            (ConditionType::Programmed, Truth::True) if was_rejected => Some(Self::PROGRAMMED),
            (ConditionType::Stopped, Truth::True) if !held => Some(Self::STOPPED),
            (ConditionType::Stopped, _) if why == Some(now.word) || now.holds == Truth::True => None,
            (ConditionType::Stopped, _) if now == Reason::STOPPING => Some(Self::STOPPING),
            (ConditionType::Stopped, _) => Some(Self::RESUMED),
            (ConditionType::Aborted, Truth::True) if !held => Some(Self::ABORTED),
            (ConditionType::Judged, Truth::False) if !failed => Some(Self::DIFFERENT),
            (ConditionType::Judged, Truth::True) if failed => Some(Self::SAME),
            (ConditionType::Observed, Truth::False) if !failed => Some(Self::NOT_COPIED),
            (ConditionType::Observed, Truth::True) if failed => Some(Self::COPYING),
            _ => None,
        }
    }

    /// `Normal` or `Warning`, as the API server has it.
    pub(crate) fn severity(self) -> &'static str {
        if self.warning { "Warning" } else { "Normal" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cells of the rows below a heading, code marks taken off; a cell that is empty is that of the row above.
    fn rows(heading: &str) -> Vec<Vec<String>> {
        let page = include_str!("../../../../../docs/status.md");
        let table = page.split(heading).nth(1).expect("the table").lines().skip(1);
        let mut above: Vec<String> = Vec::new();
        let rows = table.take_while(|line| line.starts_with('|')).skip(1).map(|line| {
            let cells =
                line.trim_matches('|').split(" | ").map(|cell| cell.trim().trim_matches('`').to_owned());
            let cells = cells.enumerate().map(|(at, cell)| match cell.as_str() {
                "" => above[at].clone(),
                _ => cell,
            });
            let cells: Vec<String> = cells.collect();
            above.clone_from(&cells);
            cells
        });
        rows.collect()
    }

    #[test]
    fn the_page_has_every_reason() {
        let shown: Vec<Vec<String>> = rows("| condition | status | reason | message |");
        let mut shown: Vec<String> = shown.into_iter().map(|cells| cells[..3].join(" ")).collect();
        // Codes of diagnostics stand for themselves.
        shown.retain(|row| !row.contains("the code of") && !row.ends_with("DuplicateObject"));
        let declared = |it: &Reason| format!("{} {} {}", it.condition, it.holds.as_str(), it.word);
        assert_eq!(shown, Reason::ALL.iter().map(declared).collect::<Vec<_>>());
    }

    #[test]
    fn the_page_has_every_event() {
        let shown = rows("| type | reason | when |").into_iter().map(|cells| cells[..2].join(" "));
        let all = [
            EventReason::NOT_ACCEPTED,
            EventReason::ACCEPTED,
            EventReason::MIRRORS_NOT_READY,
            EventReason::MIRRORS_READY,
            EventReason::REJECTED,
            EventReason::PROGRAMMED,
            EventReason::NOT_COPIED,
            EventReason::COPYING,
            EventReason::STOPPING,
            EventReason::STOPPED,
            EventReason::RESUMED,
            EventReason::ABORTED,
            EventReason::DIFFERENT,
            EventReason::SAME,
        ];
        let declared: Vec<_> = all.iter().map(|it| format!("{} {}", it.severity(), it.word)).collect();
        assert_eq!(shown.collect::<Vec<_>>(), declared);
    }

    /// The column `ACCEPTED` of `kubectl get` looks for the condition that we write.
    #[test]
    fn the_columns_show_our_conditions() {
        let crds = serde_json::to_string(&umbra_api::crds()).unwrap();
        for path in crds.split("conditions[?(@.type==\\\"").skip(1) {
            let named = path.split('\\').next().unwrap_or_default();
            assert!(ConditionType::ALL.iter().any(|kind| kind.as_str() == named), "{named}");
        }
        assert!(crds.contains(&format!("@.type==\\\"{}\\\"", ConditionType::Accepted)));
    }

    /// `BEFORE` as `True/Reason`, empty: the condition was not there.
    #[test]
    fn what_people_hear() {
        let code = |condition| Reason::code(condition, Code::HostNotFound);
        use ConditionType::{Accepted, MirrorsReady};
        for (before, now, want) in [
            ("", Reason::ACCEPTED, ""),
            ("", code(Accepted), "Warning NotAccepted"),
            ("True/Accepted", code(Accepted), "Warning NotAccepted"),
            ("False/Y", code(Accepted), ""),
            ("False/Y", Reason::ACCEPTED, "Normal Accepted"),
            ("False/Y", Reason::ACCEPTED_WITH_WARNINGS, "Normal Accepted"),
            ("", Reason::READY, ""),
            ("", code(MirrorsReady), "Warning MirrorsNotReady"),
            ("True/Ready", Reason::READY, ""),
            ("True/Ready", code(MirrorsReady), "Warning MirrorsNotReady"),
            ("False/NoEndpoints", Reason::READY, "Normal MirrorsReady"),
            ("False/NoEndpoints", Reason::NOT_SERVED, ""),
            ("", Reason::NO_PROXIES, ""),
            ("True/Live", Reason::PENDING, ""),
            ("False/Pending", Reason::REJECTED, "Warning Rejected"),
            ("False/Rejected", Reason::REJECTED, ""),
            ("False/Rejected", Reason::LIVE, "Normal Programmed"),
            ("False/Pending", Reason::LIVE, ""),
            ("", Reason::COPYING, ""),
            ("", Reason::NOTHING_COPIED, "Warning NotCopied"),
            ("Unknown/TooFewRequests", Reason::LOST_RESET, "Warning NotCopied"),
            ("False/LostReset", Reason::NOTHING_COPIED, ""),
            ("False/LostReset", Reason::COPYING, "Normal Copying"),
            ("False/LostReset", Reason::NOT_OBSERVED, ""),
            ("", Reason::STOPPING, "Normal Stopping"),
            ("", Reason::STOPPED, "Normal Stopped"),
            ("False/Stopping", Reason::STOPPING, ""),
            ("False/Stopping", Reason::STOPPED, "Normal Stopped"),
            ("True/Stopped", Reason::STOPPED, ""),
            ("True/Stopped", Reason::RESUMED, "Normal Resumed"),
            ("False/Resumed", Reason::RESUMED, ""),
            ("False/Resumed", Reason::STOPPED, "Normal Stopped"),
            ("", Reason::UNDECIDED, ""),
            ("Unknown/Undecided", Reason::SAME, ""),
            ("True/Same", Reason::DIFFERENT, "Warning Different"),
            ("False/Different", Reason::UNDECIDED, ""),
            ("False/Different", Reason::SAME, "Normal Same"),
            ("", Reason::WITHIN_LIMITS, ""),
            ("False/WithinLimits", Reason::COPIES_LOST, "Warning Aborted"),
            ("True/CopiesLost", Reason::SHADOW_ERRORS, ""),
            ("True/CopiesLost", Reason::WITHIN_LIMITS, ""),
        ] {
            let said = EventReason::of(before.split_once('/'), now);
            let said = said.map_or_else(String::new, |it| format!("{} {}", it.severity(), it.word));
            assert_eq!(said, want, "{before} to {now:?}");
        }
    }
}
