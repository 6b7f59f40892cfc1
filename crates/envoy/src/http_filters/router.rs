//! The router: forwards as the route says (`envoy.extensions.filters.http.router.v3.Router`).

use umbra_proto::envoy::extensions::filters::http::router::v3::Router;
use umbra_proto::pack_any;

use super::HttpFilter;
use crate::access_log::copies_logs;

pub(super) const FILTER: HttpFilter = HttpFilter {
    name: "envoy.filters.http.router",
    config: |_, settings| {
        Some(pack_any(&Router { upstream_log: copies_logs(settings), ..Default::default() }))
    },
    per_route: |_| None,
};
