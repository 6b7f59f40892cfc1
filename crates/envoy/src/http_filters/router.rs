//! The router: forwards as the route says (`envoy.extensions.filters.http.router.v3.Router`).

use umbra_proto::envoy::extensions::filters::http::router::v3::Router;
use umbra_proto::pack_any;

use super::HttpFilter;

pub(super) const FILTER: HttpFilter = HttpFilter {
    name: "envoy.filters.http.router",
    config: |_| Some(pack_any(&Router::default())),
    per_route: |_| None,
};
