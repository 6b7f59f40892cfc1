//! Cross-origin rules (`envoy.extensions.filters.http.cors.v3.CorsPolicy`). In every listener, where it does nothing by
//! itself, so that a policy changes routes only. It answers preflights, so no copy is made of them.

use umbra_proto::envoy::config::core::v3::RuntimeFractionalPercent;
use umbra_proto::envoy::extensions::filters::http::cors::v3::{Cors, CorsPolicy};
use umbra_proto::envoy::r#type::v3::{FractionalPercent, fractional_percent::DenominatorType};
use umbra_proto::pack_any;

use super::HttpFilter;
use crate::convert::boolean;
use crate::matching::text;

pub(super) const FILTER: HttpFilter = HttpFilter {
    name: "envoy.filters.http.cors",
    disabled: false,
    config: |_, _| Some(pack_any(&Cors {})),
    per_route: |route| route.filters.cors.as_ref().map(|cors| pack_any(&build(cors))),
};

fn build(cors: &umbra_ir::Cors) -> CorsPolicy {
    let all = FractionalPercent { numerator: 100, denominator: DenominatorType::Hundred.into() };
    CorsPolicy {
        allow_origin_string_match: cors.origins.iter().filter_map(text).collect(),
        allow_methods: cors.methods.join(","),
        allow_headers: cors.headers.join(","),
        expose_headers: cors.expose.join(","),
        max_age: cors.max_age.map(|seconds| seconds.to_string()).unwrap_or_default(),
        allow_credentials: cors.credentials.map(boolean),
        filter_enabled: Some(RuntimeFractionalPercent {
            default_value: Some(all),
            runtime_key: String::new(),
        }),
        forward_not_matching_preflights: Some(boolean(cors.forward_unmatched_preflights)),
        ..Default::default()
    }
}
