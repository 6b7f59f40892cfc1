//! What a MirrorPolicy may say, and what counts where it says nothing.

use umbra_ir::{Code, ISTIO_GROUP, Kind};

use super::Problem;
use super::headers::{check_header_name, check_header_op, check_header_remove, is_authority, quote};
use crate::types::mirror_policy::{CopyHeaders, MirrorPolicySpec, MirrorTargetRef};

/// The methods that change nothing (RFC 9110 9.2.1), but for TRACE, which no service needs a copy of.
const SAFE_METHODS: [&str; 3] = ["GET", "HEAD", "OPTIONS"];
/// What a policy takes away from copies when it does not say: credentials of those who did not ask for a copy.
const SECRETS: [&str; 2] = ["authorization", "cookie"];
/// Every method.
pub const ANY_METHOD: &str = "*";
/// The longest method, and the most in one policy: each may be a route of its own.
pub const MAX_METHODS: usize = 32;
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
            let good = written.iter().map(String::as_str).filter(|name| check_header_remove(name).is_ok());
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

/// A header that copies are given. Their Host has a field of its own.
pub fn check_copy_header(name: &str, value: &str) -> Result<(), Problem> {
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
