//! Header operations and retries of rules and destinations (istio `TranslateHeadersOperations`, `retry.go`).

use umbra_api::{HeaderOperations, Headers, HttpRetry};
use umbra_ir::{HeaderChanges, HeaderOps, HeaderValue, RetryPolicy};

/// Translates header operations; Host and pseudo headers are left to [`host_rewrite`], operations that
/// Envoy would refuse are left out (validation has said so).
pub(crate) fn resolve_headers(written: Option<&Headers>) -> HeaderOps {
    let Some(written) = written else { return HeaderOps::default() };
    HeaderOps {
        request: resolve_changes(written.request.as_ref()),
        response: resolve_changes(written.response.as_ref()),
    }
}

fn resolve_changes(written: Option<&HeaderOperations>) -> HeaderChanges {
    let Some(written) = written else { return HeaderChanges::default() };
    let usable = |(name, value): &(&String, &String)| {
        !umbra_api::is_authority(name) && umbra_api::check_header_op(name, value).is_ok()
    };
    let set = written.set.iter().map(|pair| (pair, false));
    let add = written.add.iter().map(|pair| (pair, true));
    HeaderChanges {
        values: set
            .chain(add)
            .filter(|(pair, _)| usable(pair))
            .map(|((name, value), append)| HeaderValue { name: name.clone(), value: value.clone(), append })
            .collect(),
        remove: written
            .remove
            .iter()
            .filter(|name| umbra_api::check_header_remove(name).is_ok())
            .cloned()
            .collect(),
    }
}

/// The Host that request operations set: `set` beats `add`.
pub(crate) fn host_rewrite(written: Option<&Headers>) -> Option<String> {
    let request = written?.request.as_ref()?;
    [&request.set, &request.add].into_iter().find_map(|ops| {
        ops.iter()
            .find(|(name, value)| {
                umbra_api::is_authority(name) && !value.is_empty() && umbra_api::check_text(value).is_ok()
            })
            .map(|(_, value)| value.clone())
    })
}

/// `retries` over the default; `None`: no retries.
pub(crate) fn resolve_retry(written: Option<&HttpRetry>) -> Option<RetryPolicy> {
    let Some(written) = written else { return Some(RetryPolicy::default()) };
    let attempts = u32::try_from(written.attempts).ok().filter(|n| *n > 0)?;
    let mut policy = RetryPolicy { attempts, ..RetryPolicy::default() };
    if !written.retry_on.is_empty() {
        let mut conditions = Vec::new();
        for word in written.retry_on.split(',').map(str::trim).filter(|w| !w.is_empty()) {
            match word.parse::<u32>() {
                // DIVERGES: Istio takes those numbers alone that Go has a name for, so that 520 retries nothing.
                Ok(code) if (100..600).contains(&code) => policy.status_codes.push(code),
                // A number that is no status means nothing to Envoy.
                Ok(_) => {}
                Err(_) => conditions.push(word),
            }
        }
        if !policy.status_codes.is_empty() && !conditions.contains(&"retriable-status-codes") {
            conditions.push("retriable-status-codes");
        }
        policy.retry_on = conditions.join(",");
    }
    policy.per_try_timeout = written.per_try_timeout.and_then(|d| d.to_std()).filter(|d| !d.is_zero());
    policy.avoid_previous_hosts = written.retry_ignore_previous_hosts.unwrap_or(true);
    policy.previous_hosts_written = written.retry_ignore_previous_hosts.is_some();
    policy.remote_localities = written.retry_remote_localities == Some(true);
    policy.backoff = written.backoff.and_then(|d| d.to_std()).filter(|d| !d.is_zero());
    Some(policy)
}
