//! `outlierDetection` as written to what it means (istio-semantics "Field map").

use umbra_api::OutlierDetection as Written;
use umbra_ir::OutlierDetection;

use crate::numbers::{duration, positive};

/// The deprecated `consecutiveErrors` has no effect, in Istio neither.
pub(crate) fn resolve_outliers(written: &Written) -> OutlierDetection {
    let percent = |written: i32| positive(written).map(|percent| percent.min(100));
    let codes = written.outlier_detection_http_error_codes.iter().copied();
    let mut error_codes: Vec<u32> = codes.filter(|code| umbra_api::check_status(*code).is_ok()).collect();
    error_codes.sort_unstable();
    error_codes.dedup();
    OutlierDetection {
        consecutive_5xx: written.consecutive_5xx_errors,
        consecutive_gateway: written.consecutive_gateway_errors,
        split_local_origin: written.split_external_local_origin_errors,
        consecutive_local_origin: written.consecutive_local_origin_failures.filter(|n| *n > 0),
        interval: duration(written.interval),
        base_ejection_time: duration(written.base_ejection_time),
        max_ejection_percent: percent(written.max_ejection_percent),
        min_health_percent: percent(written.min_health_percent).unwrap_or(0),
        error_codes,
    }
}
