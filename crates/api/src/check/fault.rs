//! Faults. A fault is not left out when it cannot be built: an abort may be somebody's lock, so its rule is closed.

use umbra_ir::{Code, RuntimeFraction};

use super::headers::quote;
use super::{Problem, check_duration, check_percent};
use crate::types::http_action::{FaultAbort, FaultDelay, HttpFaultInjection};
use crate::types::scalar::Percent;

/// The names of gRPC's statuses; a name's index is its number.
pub(crate) const GRPC_STATUS: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The number of a gRPC status.
pub fn grpc_status(name: &str) -> Option<u32> {
    GRPC_STATUS.iter().position(|known| *known == name).map(|number| number as u32)
}

/// The share of a delay in percent: its `percentage`, else the old `percent`. `None`: not written, so never.
pub fn delay_percent(delay: &FaultDelay) -> Option<f64> {
    let old = (delay.percent != 0).then(|| f64::from(delay.percent));
    delay.percentage.map_or(old, |percentage| Some(percentage.value))
}

/// A delay or an abort, judged.
pub(crate) struct FaultPart {
    /// `delay` or `abort`.
    pub(crate) field: &'static str,
    /// Whether a share is written. Without one it never happens, as in Istio.
    pub(crate) share: bool,
    /// Whether it would ever happen.
    pub(crate) acts: bool,
    /// Why it cannot be built, with the field's path inside the fault.
    pub(crate) problems: Vec<(String, Problem)>,
}

/// Both parts, those that are there.
pub(crate) fn fault_parts(fault: &HttpFaultInjection) -> Vec<FaultPart> {
    let delay = fault.delay.as_ref().map(delay_part);
    delay.into_iter().chain(fault.abort.as_ref().map(abort_part)).collect()
}

/// Everything for which a fault cannot be built, with the field's path inside the fault. What never happens (a share of
/// 0, or none) needs not be built.
pub fn check_fault(fault: &HttpFaultInjection) -> Vec<(String, Problem)> {
    fault_parts(fault).into_iter().filter(|part| part.acts).flat_map(|part| part.problems).collect()
}

/// Whether a fault would abort requests: then nothing that is wrong with its rule may let them pass.
pub(crate) fn is_lock(fault: &HttpFaultInjection) -> bool {
    fault.abort.as_ref().is_some_and(|abort| abort_part(abort).acts)
}

fn delay_part(delay: &FaultDelay) -> FaultPart {
    let percent = delay_percent(delay);
    let mut problems = Vec::new();
    let field = if delay.percentage.is_some() { "delay.percentage.value" } else { "delay.percent" };
    check_share(field, percent, &mut problems);
    if delay.exponential_delay.is_some() {
        let message = "exponentialDelay was never there in Istio; fixedDelay is";
        problems.push(broken("delay.exponentialDelay", message));
    }
    match delay.fixed_delay {
        Some(fixed) => {
            // 0 is no delay, and harmless.
            if let Err(problem) = check_duration(fixed, true) {
                problems.push(("delay.fixedDelay".to_owned(), problem));
            }
        }
        None if delay.exponential_delay.is_none() => problems.push(broken("delay", "no fixedDelay")),
        None => {}
    }
    let none = delay.exponential_delay.is_none() && delay.fixed_delay.is_some_and(|d| d.nanos() == 0);
    part("delay", percent, none, problems)
}

fn abort_part(abort: &FaultAbort) -> FaultPart {
    let percent = abort.percentage.map(|Percent { value }| value);
    let mut problems = Vec::new();
    check_share("abort.percentage.value", percent, &mut problems);
    if abort.http2_error.is_some() {
        let message = "http2Error was never there in Istio; httpStatus and grpcStatus are";
        problems.push(broken("abort.http2Error", message));
    }
    match (abort.http_status, &abort.grpc_status) {
        (Some(status), None) if !(200..600).contains(&status) => {
            problems.push(broken("abort.httpStatus", format!("{status} is no status from 200 to 599")));
        }
        (None, Some(name)) if grpc_status(name).is_none() => {
            let hint = crate::suggest::did_you_mean(name, &GRPC_STATUS);
            let message = format!("{} is the name of no gRPC status{hint}", quote(name));
            problems.push(broken("abort.grpcStatus", message));
        }
        (None, None) if abort.http2_error.is_none() => {
            problems.push(broken("abort", "neither httpStatus nor grpcStatus"));
        }
        (Some(_), Some(_)) => {
            problems.push(broken("abort", "only one of httpStatus and grpcStatus may be set"));
        }
        _ => {}
    }
    part("abort", percent, false, problems)
}

/// `none`: it asks for nothing, whatever its share.
fn part(
    field: &'static str,
    percent: Option<f64>,
    none: bool,
    problems: Vec<(String, Problem)>,
) -> FaultPart {
    let never = percent.is_none_or(|percent| percent == 0.0) || none;
    FaultPart { field, share: percent.is_some(), acts: !never, problems }
}

fn check_share(field: &str, percent: Option<f64>, problems: &mut Vec<(String, Problem)>) {
    if let Some(percent) = percent.filter(|percent| RuntimeFraction::from_percent(*percent).is_none())
        && let Err(problem) = check_percent(percent)
    {
        problems.push((field.to_owned(), Problem::new(Code::InvalidFault, problem.message)));
    }
}

fn broken(field: &str, message: impl Into<String>) -> (String, Problem) {
    (field.to_owned(), Problem::new(Code::InvalidFault, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> HttpFaultInjection {
        serde_json::from_str(text).expect("a fault")
    }

    #[test]
    fn what_cannot_be_built() {
        for (text, want) in [
            (r#"{"abort": {"percentage": {"value": 10}, "httpStatus": 503}}"#, ""),
            (r#"{"abort": {"percentage": {"value": 10}, "grpcStatus": "UNAVAILABLE"}}"#, ""),
            (r#"{"delay": {"percentage": {"value": 0.0001}, "fixedDelay": "5s"}}"#, ""),
            (r#"{"delay": {"percent": 50, "fixedDelay": "1ms"}}"#, ""),
            (r#"{"delay": {"percentage": {"value": 5}, "fixedDelay": "0s"}}"#, ""),
            (r#"{"abort": {"httpStatus": 1}}"#, ""),
            (r#"{"abort": {"percentage": {}, "httpStatus": 1}}"#, ""),
            (r#"{"abort": {"percentage": {"value": 101}, "httpStatus": 503}}"#, "abort.percentage.value"),
            (r#"{"abort": {"percentage": {"value": 0.00001}, "httpStatus": 503}}"#, "abort.percentage.value"),
            (r#"{"abort": {"percentage": {"value": 10}, "httpStatus": 600}}"#, "abort.httpStatus"),
            (r#"{"abort": {"percentage": {"value": 10}, "grpcStatus": "unavailable"}}"#, "abort.grpcStatus"),
            (r#"{"abort": {"percentage": {"value": 10}, "grpcStatus": "14"}}"#, "abort.grpcStatus"),
            (
                r#"{"abort": {"percentage": {"value": 10}, "http2Error": "REFUSED_STREAM"}}"#,
                "abort.http2Error",
            ),
            (r#"{"abort": {"percentage": {"value": 10}, "httpStatus": 503, "grpcStatus": "OK"}}"#, "abort"),
            (r#"{"abort": {"percentage": {"value": 10}}}"#, "abort"),
            (
                r#"{"delay": {"percentage": {"value": 10}, "exponentialDelay": "1s"}}"#,
                "delay.exponentialDelay",
            ),
            (r#"{"delay": {"percentage": {"value": 10}, "fixedDelay": "-1s"}}"#, "delay.fixedDelay"),
            (r#"{"delay": {"percent": -1, "fixedDelay": "1s"}}"#, "delay.percent"),
            (r#"{"delay": {"percentage": {"value": 10}}}"#, "delay"),
        ] {
            let found: Vec<String> = check_fault(&parse(text)).into_iter().map(|(field, _)| field).collect();
            assert_eq!(found.join(" "), want, "{text}");
        }
    }

    #[test]
    fn statuses_of_grpc() {
        for (name, number) in
            [("OK", Some(0)), ("UNAVAILABLE", Some(14)), ("UNAUTHENTICATED", Some(16)), ("ok", None)]
        {
            assert_eq!(grpc_status(name), number, "{name}");
        }
    }
}
