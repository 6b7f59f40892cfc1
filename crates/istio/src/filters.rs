//! Faults and cross-origin rules (istio `TranslateFault`, `TranslateCORSPolicy`).

use umbra_api::{CorsPolicy, HttpFaultInjection, HttpRoute, UnmatchedPreflights};
use umbra_ir::{AbortStatus, Cors, Fault, FaultAbort, FaultDelay, RouteFilters, RuntimeFraction};

use crate::matches::text_match;

/// What a rule says to the filters. Its fault can be built ([`umbra_api::check_fault`]); parts of its CORS policy that
/// cannot are left out.
pub(crate) fn resolve_filters(written: &HttpRoute) -> RouteFilters {
    RouteFilters {
        fault: written.fault.as_ref().and_then(resolve_fault),
        cors: written.cors_policy.as_ref().map(resolve_cors),
    }
}

/// What ever happens of a fault.
fn resolve_fault(written: &HttpFaultInjection) -> Option<Fault> {
    let delay = written.delay.as_ref().and_then(|delay| {
        let share = share(umbra_api::delay_percent(delay))?;
        let fixed = delay.fixed_delay.and_then(|d| d.to_std()).filter(|d| !d.is_zero())?;
        Some(FaultDelay { share, fixed })
    });
    let abort = written.abort.as_ref().and_then(|abort| {
        let share = share(abort.percentage.map(|p| p.value))?;
        let status = match (abort.http_status, &abort.grpc_status) {
            (Some(status), _) => AbortStatus::Http(u16::try_from(status).ok()?),
            (None, name) => AbortStatus::Grpc(umbra_api::grpc_status(name.as_ref()?)?),
        };
        Some(FaultAbort { share, status })
    });
    (delay.is_some() || abort.is_some()).then_some(Fault { delay, abort })
}

/// Without a share, or with one of 0, it never happens.
fn share(percent: Option<f64>) -> Option<RuntimeFraction> {
    RuntimeFraction::from_percent(percent?).filter(|share| *share != RuntimeFraction::NONE)
}

fn resolve_cors(written: &CorsPolicy) -> Cors {
    let origins = umbra_api::allowed_origins(written);
    let words = |words: &[String]| {
        words.iter().filter(|word| umbra_api::check_cors_word(word).is_ok()).cloned().collect()
    };
    Cors {
        origins: origins.iter().filter(|o| umbra_api::check_origin(o).is_ok()).map(text_match).collect(),
        methods: words(&written.allow_methods),
        headers: words(&written.allow_headers),
        expose: words(&written.expose_headers),
        max_age: umbra_api::max_age_seconds(written),
        credentials: written.allow_credentials,
        forward_unmatched_preflights: written.unmatched_preflights != UnmatchedPreflights::Ignore,
    }
}
