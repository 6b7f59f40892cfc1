//! Faults: delays, then aborts (`envoy.extensions.filters.http.fault.v3.HTTPFault`). In every listener, where it does
//! nothing by itself, so that a fault changes routes only.

use umbra_ir::{AbortStatus, RuntimeFraction};
use umbra_proto::envoy::extensions::filters::common::fault::v3::{
    FaultDelay, fault_delay::FaultDelaySecifier,
};
use umbra_proto::envoy::extensions::filters::http::fault::v3::{
    FaultAbort, HttpFault, fault_abort::ErrorType,
};
use umbra_proto::envoy::r#type::v3::{FractionalPercent, fractional_percent::DenominatorType};
use umbra_proto::pack_any;

use super::HttpFilter;
use crate::convert::positive_duration;

pub(super) const FILTER: HttpFilter = HttpFilter {
    name: "envoy.filters.http.fault",
    disabled: false,
    config: |_, _| Some(pack_any(&HttpFault::default())),
    per_route: |route| route.filters.fault.as_ref().map(|fault| pack_any(&build(fault))),
};

fn build(fault: &umbra_ir::Fault) -> HttpFault {
    HttpFault {
        delay: fault.delay.as_ref().map(|delay| FaultDelay {
            percentage: Some(percentage(delay.share)),
            fault_delay_secifier: Some(FaultDelaySecifier::FixedDelay(positive_duration(delay.fixed))),
        }),
        abort: fault.abort.as_ref().map(|abort| FaultAbort {
            percentage: Some(percentage(abort.share)),
            error_type: Some(match abort.status {
                AbortStatus::Http(status) => ErrorType::HttpStatus(status.into()),
                AbortStatus::Grpc(status) => ErrorType::GrpcStatus(status),
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn percentage(share: RuntimeFraction) -> FractionalPercent {
    FractionalPercent { numerator: share.millionths(), denominator: DenominatorType::Million.into() }
}
