//! `outlierDetection`.

use super::Report;
use umbra_ir::Code;

use crate::check::policy::check_status;
use crate::types::traffic_policy::OutlierDetection;

pub(super) fn validate(report: &mut Report, path: &str, outliers: &OutlierDetection) {
    if outliers.consecutive_errors != 0 {
        let message = "has no effect, as in Istio; write consecutive5xxErrors or consecutiveGatewayErrors";
        report.add(Code::Deprecated, format!("{path}.consecutiveErrors"), message);
    }
    if outliers.consecutive_local_origin_failures.is_some() && !outliers.split_external_local_origin_errors {
        let message = "counts only with splitExternalLocalOriginErrors; it has no effect";
        report.add(Code::ConflictingFields, format!("{path}.consecutiveLocalOriginFailures"), message);
    }
    for (field, duration) in
        [("interval", outliers.interval), ("baseEjectionTime", outliers.base_ejection_time)]
    {
        report.duration(format!("{path}.{field}"), duration, false, "it counts as not set");
    }
    for (field, percent) in [
        ("maxEjectionPercent", outliers.max_ejection_percent),
        ("minHealthPercent", outliers.min_health_percent),
    ] {
        let field = format!("{path}.{field}");
        if percent < 0 {
            report.add(Code::NegativeNumber, field, format!("{percent} is negative; it counts as not set"));
        } else if percent > 100 {
            report.add(Code::OutOfRange, field, format!("{percent} is more than 100 %; it counts as 100"));
        }
    }
    for (index, code) in outliers.outlier_detection_http_error_codes.iter().enumerate() {
        let field = format!("{path}.outlierDetectionHttpErrorCodes[{index}]");
        report.check(field, check_status(*code), "it is left out");
    }
}
