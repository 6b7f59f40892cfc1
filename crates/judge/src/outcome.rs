//! How a copy ended, and which requests cannot be compared.

use std::time::Duration;

use crate::{Answer, Primary};

/// How a copy ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Outcome {
    /// With an answer, whatever its code.
    Answered,
    /// It took longer than a copy may.
    Timeout,
    /// Too much was under way (`UO`).
    Overflow,
    /// No connection (`UF`).
    Refused,
    /// The target broke off before it answered (`UC`, or a reset of HTTP/2).
    Reset,
    /// The target broke off within its answer, or what came was no HTTP (`UPE`).
    Broken,
    /// No endpoint (`UH`).
    NoEndpoint,
    /// The client went away while it sent, so that the copy was not whole either.
    ClientGone,
}

impl Outcome {
    /// All of them, in the order in which they are counted.
    pub const ALL: [Outcome; 8] = [
        Outcome::Answered,
        Outcome::Timeout,
        Outcome::Overflow,
        Outcome::Refused,
        Outcome::Reset,
        Outcome::Broken,
        Outcome::NoEndpoint,
        Outcome::ClientGone,
    ];

    /// As it is written in labels and columns.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Answered => "answered",
            Outcome::Timeout => "timeout",
            Outcome::Overflow => "overflow",
            Outcome::Refused => "refused",
            Outcome::Reset => "reset",
            Outcome::Broken => "broken",
            Outcome::NoEndpoint => "no_endpoint",
            Outcome::ClientGone => "client_gone",
        }
    }
}

/// How far below its limit a copy that timed out may seem to have ended: Envoy's timers run on the ticks of its event loop.
const TICK: Duration = Duration::from_millis(50);
/// `101 Switching Protocols`: what follows is no answer, and ends at the limit as a matter of course.
const SWITCHED: u16 = 101;

/// How a copy ended by what its line says; `limit` is how long one may take (`maxStreamDuration`).
///
/// A timeout has no flag: it has no code, or one without the last byte, and took as long as the limit. A client that went away
/// while it sent leaves neither flag nor code, and took less.
pub fn outcome(answer: &Answer, limit: Duration) -> Outcome {
    let flags = answer.flags;
    let all_the_time = answer.duration.saturating_add(TICK) >= limit;
    match answer.code {
        _ if flags.overflow => Outcome::Overflow,
        _ if flags.refused => Outcome::Refused,
        _ if flags.no_endpoint => Outcome::NoEndpoint,
        _ if flags.protocol => Outcome::Broken,
        Some(SWITCHED) => Outcome::Answered,
        _ if flags.reset && answer.wait.is_none() => Outcome::Reset,
        _ if flags.reset => Outcome::Broken,
        _ if flags.timeout => Outcome::Timeout,
        Some(_) if answer.whole => Outcome::Answered,
        _ if all_the_time => Outcome::Timeout,
        Some(_) => Outcome::Broken,
        None => Outcome::ClientGone,
    }
}

/// Why a request says nothing about its copies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Exclusion {
    /// Its client went away, or sent what was no HTTP.
    Client,
    /// Envoy itself answered.
    LocalReply,
    /// It was tried more than once, a copy never is.
    Retried,
    /// It went to another destination than the control.
    Elsewhere,
    /// Its answer did not come whole.
    Cut,
    /// A copy was not whole, since its client went away.
    CopyCut,
}

impl Exclusion {
    /// All of them, in the order in which they are counted.
    pub const ALL: [Exclusion; 6] = [
        Exclusion::Client,
        Exclusion::LocalReply,
        Exclusion::Retried,
        Exclusion::Elsewhere,
        Exclusion::Cut,
        Exclusion::CopyCut,
    ];

    /// As it is written in labels and columns.
    pub fn as_str(self) -> &'static str {
        match self {
            Exclusion::Client => "client",
            Exclusion::LocalReply => "local_reply",
            Exclusion::Retried => "retried",
            Exclusion::Elsewhere => "elsewhere",
            Exclusion::Cut => "cut",
            Exclusion::CopyCut => "copy_cut",
        }
    }
}

/// Why this request says nothing about its copies, of which `control` is one; `None`: it does.
pub fn exclusion(primary: &Primary, answer: &Answer, control: Option<&Answer>) -> Option<Exclusion> {
    let flags = answer.flags;
    if flags.client_gone || flags.client_protocol {
        return Some(Exclusion::Client);
    }
    if primary.local_reply {
        return Some(Exclusion::LocalReply);
    }
    if primary.attempts > 1 {
        return Some(Exclusion::Retried);
    }
    let elsewhere = |control: &Answer| {
        let known = !control.destination.is_empty() && !answer.destination.is_empty();
        known && control.destination != answer.destination
    };
    if control.is_some_and(elsewhere) {
        return Some(Exclusion::Elsewhere);
    }
    let switched = answer.code == Some(SWITCHED);
    (switched || answer.code.is_none() || !answer.whole).then_some(Exclusion::Cut)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Flags;

    const LIMIT: Duration = Duration::from_secs(2);

    /// `code/flag/whole/duration in ms` to what it is.
    #[track_caller]
    fn check(code: u16, set: fn(&mut Flags), whole: bool, duration: u64, want: Outcome) {
        let mut flags = Flags::default();
        set(&mut flags);
        let answer = Answer {
            code: (code > 0).then_some(code),
            flags,
            whole,
            wait: (code > 0).then_some(Duration::from_millis(1)),
            duration: Duration::from_millis(duration),
            ..Answer::default()
        };
        assert_eq!(outcome(&answer, LIMIT), want, "{answer:?}");
    }

    #[test]
    fn how_copies_end() {
        check(200, |_| {}, true, 5, Outcome::Answered);
        check(503, |_| {}, true, 5, Outcome::Answered);
        check(200, |_| {}, true, 2000, Outcome::Answered);
        check(101, |_| {}, false, 2000, Outcome::Answered);
        check(0, |_| {}, false, 2000, Outcome::Timeout);
        check(0, |_| {}, false, 1990, Outcome::Timeout);
        check(200, |_| {}, false, 2001, Outcome::Timeout);
        check(0, |f| f.timeout = true, false, 700, Outcome::Timeout);
        check(200, |_| {}, false, 700, Outcome::Broken);
        check(200, |f| f.protocol = true, false, 700, Outcome::Broken);
        check(503, |f| f.overflow = true, true, 0, Outcome::Overflow);
        check(503, |f| f.refused = true, true, 0, Outcome::Refused);
        check(503, |f| f.no_endpoint = true, true, 0, Outcome::NoEndpoint);
        check(0, |f| f.reset = true, false, 3, Outcome::Reset);
        check(200, |f| f.reset = true, false, 3, Outcome::Broken);
        check(0, |_| {}, false, 700, Outcome::ClientGone);
    }

    #[test]
    fn what_cannot_be_compared() {
        let good = Answer { code: Some(200), whole: true, ..Answer::default() };
        let to = |destination: &str| Answer { destination: destination.into(), ..Answer::default() };
        let once = Primary { attempts: 1, ..Primary::default() };
        let gone = Flags { client_gone: true, ..Flags::default() };
        let broken = Flags { client_protocol: true, ..Flags::default() };
        for (primary, answer, want) in [
            (once.clone(), good.clone(), None),
            (once.clone(), Answer { code: Some(500), ..good.clone() }, None),
            (once.clone(), Answer { flags: gone, ..good.clone() }, Some(Exclusion::Client)),
            (once.clone(), Answer { flags: broken, ..good.clone() }, Some(Exclusion::Client)),
            (Primary { local_reply: true, ..once.clone() }, good.clone(), Some(Exclusion::LocalReply)),
            (Primary { attempts: 2, ..once.clone() }, good.clone(), Some(Exclusion::Retried)),
            (once.clone(), Answer { whole: false, ..good.clone() }, Some(Exclusion::Cut)),
            (once.clone(), Answer { code: Some(101), ..good.clone() }, Some(Exclusion::Cut)),
        ] {
            assert_eq!(exclusion(&primary, &answer, None), want, "{primary:?} {answer:?}");
        }
        let there = Answer { destination: "80||a".into(), ..good };
        for (control, want) in [("80||a", None), ("", None), ("80|v2|a", Some(Exclusion::Elsewhere))] {
            assert_eq!(exclusion(&once, &there, Some(&to(control))), want, "{control}");
        }
    }
}
