//! What filters do to a request before its route's action: faults, then cross-origin rules.

use umbra_proto::envoy::config::route::v3::Route;
use umbra_proto::envoy::extensions::filters::common::fault::v3::fault_delay::FaultDelaySecifier;
use umbra_proto::envoy::extensions::filters::http::cors::v3::CorsPolicy;
use umbra_proto::envoy::extensions::filters::http::fault::v3::{HttpFault, fault_abort::ErrorType};
use umbra_proto::unpack_any;

use crate::config::odds;
use crate::explanation::{Abort, Delay, Filters};
use crate::forward::seconds;
use crate::request::Seen;
use crate::text::{Verdict, judge};

const FAULT: &str = "envoy.filters.http.fault";
const CORS: &str = "envoy.filters.http.cors";

/// What they do, and whether the request is a browser's question that is answered.
pub(crate) fn meet(route: &Route, request: &Seen) -> (Filters, bool) {
    let mut filters = faults(route);
    let preflight = cors(route).is_some_and(|cors| meet_cors(&cors, request, &mut filters));
    (filters, preflight)
}

/// What they do whatever the request is, and whether there are cross-origin rules.
pub(crate) fn configured(route: &Route) -> (Filters, bool) {
    (faults(route), cors(route).is_some())
}

fn cors(route: &Route) -> Option<CorsPolicy> {
    route.typed_per_filter_config.get(CORS).and_then(|it| unpack_any(it).ok())
}

fn faults(route: &Route) -> Filters {
    let mut filters = Filters::default();
    let fault = route.typed_per_filter_config.get(FAULT).and_then(|it| unpack_any::<HttpFault>(it).ok());
    let Some(fault) = fault else { return filters };
    filters.delay = fault.delay.as_ref().and_then(|delay| match &delay.fault_delay_secifier {
        Some(FaultDelaySecifier::FixedDelay(fixed)) => {
            Some(Delay { odds: odds(delay.percentage.as_ref()), seconds: seconds(fixed) })
        }
        _ => None,
    });
    filters.abort = fault.abort.as_ref().and_then(|abort| {
        let odds = odds(abort.percentage.as_ref());
        match abort.error_type {
            Some(ErrorType::HttpStatus(status)) => {
                Some(Abort { odds, status: u16::try_from(status).ok()?, grpc_status: None })
            }
            // Told in a header of a 200.
            Some(ErrorType::GrpcStatus(status)) => {
                Some(Abort { odds, status: 200, grpc_status: Some(status) })
            }
            _ => None,
        }
    });
    filters
}

/// Whether it is a preflight that the filter answers.
fn meet_cors(cors: &CorsPolicy, request: &Seen, filters: &mut Filters) -> bool {
    let Some(origin) = request.value("origin").filter(|origin| !origin.is_empty()) else { return false };
    let meets = |one, text| matches!(judge(one, text), Verdict::Meets);
    // What takes a star takes every origin.
    let allowed = cors.allow_origin_string_match.iter().any(|one| meets(one, "*") || meets(one, &origin));
    filters.origin_allowed = Some(allowed);
    let asks = request.value("access-control-request-method").is_some_and(|method| !method.is_empty());
    let forwards = cors.forward_not_matching_preflights.is_none_or(|it| it.value);
    request.method == "OPTIONS" && asks && (allowed || !forwards)
}
