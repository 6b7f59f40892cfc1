//! What a MirrorPolicy may say, and what counts where it says nothing.

use std::time::Duration;

use umbra_ir::{
    AbortLimit, AbortLimits, AbortReason, Code, ISTIO_GROUP, Kind, Ramp, RampStep, RuntimeFraction, Verdicts,
};

use super::Problem;
use super::headers::{check_header_name, check_header_op, check_header_remove, is_authority, quote};
use crate::types::mirror_policy::{
    CopyAbort, CopyHeaders, CopyLimit, CopyRamp, CopyVerdicts, MirrorPolicySpec, MirrorTargetRef, RampVerdict,
};

/// The methods that change nothing (RFC 9110 9.2.1), but for TRACE, which no service needs a copy of.
const SAFE_METHODS: [&str; 3] = ["GET", "HEAD", "OPTIONS"];
/// What a policy takes away from copies when it does not say: credentials of those who did not ask for a copy.
const SECRETS: [&str; 2] = ["authorization", "cookie"];
/// Every method.
pub const ANY_METHOD: &str = "*";
/// The longest method, and the most in one policy: each may be a route of its own.
pub const MAX_METHODS: usize = 32;
/// The most steps of a ramp.
pub const MAX_STEPS: usize = 32;
/// The requests that a step of a ramp waits for where nothing is said.
const STEP_REQUESTS: u32 = 100;
/// The largest limit of a part, and of a rise of the mean time, in millionths.
const MOST: (u32, u32) = (1_000_000, 100_000_000);
/// The most headers that a policy takes away, and the most that it gives.
pub const MAX_HEADERS: usize = 64;

/// A method (an RFC 9110 token); `*` is any.
pub fn check_method(method: &str) -> Result<(), Problem> {
    if method.len() > MAX_METHODS || check_header_name(method).is_err() {
        return Err(Problem::new(Code::InvalidMethod, format!("{} is no method", quote(method))));
    }
    Ok(())
}

/// The methods that are copied; `None`: any.
pub fn copied_methods(spec: &MirrorPolicySpec) -> Option<Vec<&str>> {
    let Some(written) = spec.methods.as_ref().filter(|written| !written.is_empty()) else {
        return Some(SAFE_METHODS.to_vec());
    };
    let good = written.iter().map(String::as_str).filter(|method| check_method(method).is_ok());
    let good: Vec<&str> = good.take(MAX_METHODS).collect();
    (!good.contains(&ANY_METHOD)).then_some(good)
}

/// The headers that are taken away from copies.
pub fn removed_headers(headers: Option<&CopyHeaders>) -> Vec<&str> {
    match headers.and_then(|headers| headers.remove.as_ref()) {
        None => SECRETS.to_vec(),
        Some(written) => {
            let good = written.iter().map(String::as_str).filter(|name| check_copy_remove(name).is_ok());
            good.take(MAX_HEADERS).collect()
        }
    }
}

/// The headers that copies are given.
pub fn given_headers(headers: Option<&CopyHeaders>) -> impl Iterator<Item = (&str, &str)> {
    let written = headers.into_iter().flat_map(|headers| &headers.set);
    let good = written.filter(|(name, value)| check_copy_header(name, value).is_ok());
    good.map(|(name, value)| (name.as_str(), value.as_str())).take(MAX_HEADERS)
}

/// By what a copy is found beside its request, in access logs and by verdicts.
const REQUEST_ID: &str = "x-request-id";

fn check_is_no_id(name: &str) -> Result<(), Problem> {
    if name.eq_ignore_ascii_case(REQUEST_ID) {
        let message = format!("a copy keeps the {REQUEST_ID} of its request: it is found by it");
        return Err(Problem::new(Code::InvalidHeader, message));
    }
    Ok(())
}

/// A header that is taken away from copies.
pub fn check_copy_remove(name: &str) -> Result<(), Problem> {
    check_is_no_id(name).and_then(|()| check_header_remove(name))
}

/// A header that copies are given. Their Host has a field of its own.
pub fn check_copy_header(name: &str, value: &str) -> Result<(), Problem> {
    check_is_no_id(name)?;
    if is_authority(name) {
        let message = format!("{} is no header here: the field host says it", quote(name));
        return Err(Problem::new(Code::InvalidHeader, message));
    }
    check_header_op(name, value)
}

/// What a policy is for: the field that is wrong, and why.
pub fn check_mirror_target(
    target: Option<&MirrorTargetRef>,
) -> Result<&MirrorTargetRef, (&'static str, Problem)> {
    let wrong = |field, message: String| Err((field, Problem::new(Code::InvalidTarget, message)));
    let Some(target) = target else { return wrong("", "no targetRef".to_owned()) };
    if !target.group.is_empty() && target.group != ISTIO_GROUP {
        return wrong(".group", format!("{} is not {ISTIO_GROUP}", quote(&target.group)));
    }
    let kind = Kind::VirtualService.as_str();
    if !target.kind.is_empty() && target.kind != kind {
        return wrong(".kind", format!("{} is not {kind}", quote(&target.kind)));
    }
    if target.name.is_empty() {
        return wrong(".name", "no name".to_owned());
    }
    match target.mirror.as_ref().and_then(|mirror| mirror.port) {
        Some(port) if umbra_ir::PortNumber::new(port.number.into()).is_none() => {
            Err((".mirror.port.number", super::bad_port(port.number)))
        }
        _ => Ok(target),
    }
}

/// A limit at which a mirror stops by itself, as an annotation or a policy writes it: percent, window and sample.
///
/// # Errors
/// Which of the three is wrong, and why.
pub fn check_abort_limit(
    reason: AbortReason,
    percent: f64,
    window: Option<Duration>,
    sample: Option<u32>,
) -> Result<AbortLimit, (&'static str, String)> {
    let most = if reason == AbortReason::PrimaryLatency { MOST.1 } else { MOST.0 };
    let millionths = percent * 10_000.0;
    // Not-a-number fails the comparison too.
    if !(0.0..=f64::from(most)).contains(&millionths) {
        return Err(("percent", format!("is not from 0% to {}%", most / 10_000)));
    }
    let window = window.unwrap_or(AbortLimit::WINDOW);
    let (least, longest) = AbortLimit::WINDOWS;
    if !(least..=longest).contains(&window) {
        let (least, longest) = (least.as_secs(), longest.as_secs());
        return Err(("window", format!("has no window from {least}s to {longest}s")));
    }
    match sample.unwrap_or(AbortLimit::SAMPLE) {
        0 => Err(("minimum", "has no sample from 1 on".to_owned())),
        sample => Ok(AbortLimit { most: millionths.round() as u32, window, sample }),
    }
}

/// The limits of a policy that have figures, as far as they are some.
pub(crate) fn check_limits(
    abort: &CopyAbort,
) -> impl Iterator<Item = (AbortReason, Result<AbortLimit, (&'static str, String)>)> {
    let CopyAbort { shadow_errors, copies_lost, primary_errors, primary_latency, .. } = *abort;
    let all = [
        (AbortReason::ShadowErrors, shadow_errors),
        (AbortReason::CopiesLost, copies_lost),
        (AbortReason::PrimaryErrors, primary_errors),
        (AbortReason::PrimaryLatency, primary_latency),
    ];
    all.into_iter().filter_map(|(reason, limit)| {
        let CopyLimit { percent, window, minimum } = limit?;
        // What is no time at all is no window either.
        let window = window.map(|window| window.to_std().unwrap_or_default());
        Some((reason, check_abort_limit(reason, percent.0, window, minimum)))
    })
}

/// The limits of a policy; `None`: it has none.
pub fn abort_limits(abort: Option<&CopyAbort>) -> Option<AbortLimits> {
    let abort = abort?;
    let mut limits = AbortLimits { different: abort.verdict.is_some(), ..AbortLimits::default() };
    for (reason, limit) in check_limits(abort) {
        if let Ok(limit) = limit {
            limits.set(reason, limit);
        }
    }
    Some(limits)
}

/// How copies are judged by a policy, at a rate of 0 not at all.
///
/// # Errors
/// It asks for more than there is.
pub fn check_verdicts(verdicts: &CopyVerdicts) -> Result<Verdicts, Problem> {
    let CopyVerdicts { contents, queries, values, .. } = *verdicts;
    let contents = contents.unwrap_or_default();
    let judged = Verdicts {
        contents,
        queries: queries.unwrap_or_default(),
        values: contents && values.unwrap_or_default(),
        ..Verdicts::default()
    };
    match verdicts.rate {
        None => Ok(judged),
        Some(rate @ 0..=Verdicts::MAX_RATE) => Ok(Verdicts { rate, ..judged }),
        Some(rate) => {
            let message = format!("{rate} requests a second are more than {}", Verdicts::MAX_RATE);
            Err(Problem::new(Code::InvalidVerdicts, message))
        }
    }
}

/// The steps of a ramp, each with what is wrong with it.
pub(crate) fn check_steps(ramp: &CopyRamp) -> Vec<Result<RampStep, Problem>> {
    let mut before = RuntimeFraction::NONE;
    let check = |step: &crate::types::mirror_policy::CopyRampStep| {
        let share = RuntimeFraction::from_percent(step.percent.0).filter(|share| *share > before);
        let share = share.ok_or("its percent is no share above that of the step before")?;
        let time = step.time.to_std().filter(|time| !time.is_zero()).ok_or("it has no time above 0s")?;
        let requests = step.requests.unwrap_or(STEP_REQUESTS);
        before = share;
        Ok(RampStep { share, time, requests })
    };
    let said = |why: &str| Problem::new(Code::InvalidRamp, why);
    ramp.steps.iter().map(check).map(|step| step.map_err(said)).collect()
}

/// A ramp, as far as it is one.
pub fn resolve_ramp(ramp: &CopyRamp) -> Ramp {
    let steps = check_steps(ramp).into_iter().take(MAX_STEPS).filter_map(Result::ok).collect();
    Ramp { steps, same: ramp.verdict == Some(RampVerdict::Same) }
}
