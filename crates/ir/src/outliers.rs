//! Ejection of endpoints that fail (DestinationRule's `outlierDetection`).

use std::time::Duration;

use serde::Serialize;

/// When an endpoint is taken out for a while (`envoy.config.cluster.v3.OutlierDetection`). `None`: Envoy's default,
/// which is Istio's.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct OutlierDetection {
    /// `consecutive5xxErrors`: so many in a row eject, 0 never does; absent: 5.
    pub consecutive_5xx: Option<u32>,
    /// `consecutiveGatewayErrors` (502, 503, 504): so many in a row eject, 0 never does; absent: never.
    pub consecutive_gateway: Option<u32>,
    /// `splitExternalLocalOriginErrors`: what fails on our side, such as a refused connection, is counted apart.
    pub split_local_origin: bool,
    /// `consecutiveLocalOriginFailures`, counted only apart; absent: 5.
    pub consecutive_local_origin: Option<u32>,
    /// `interval` between sweeps; absent: 10 s.
    pub interval: Option<Duration>,
    /// `baseEjectionTime`, which is multiplied by how often the endpoint was ejected; absent: 30 s.
    pub base_ejection_time: Option<Duration>,
    /// `maxEjectionPercent` of the endpoints are out at most; absent: 10.
    pub max_ejection_percent: Option<u32>,
    /// `minHealthPercent`: with fewer that are in, all are used, ejected ones too.
    pub min_health_percent: u32,
    /// `outlierDetectionHttpErrorCodes`: the statuses that count as errors; empty: every 5xx.
    pub error_codes: Vec<u32>,
}
