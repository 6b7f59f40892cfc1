//! The router: forwards as the route says (`envoy.extensions.filters.http.router.v3.Router`).

use umbra_proto::envoy::extensions::filters::http::router::v3::Router;
use umbra_proto::pack_any;

use super::HttpFilter;
use crate::access_log::copies_logs;
use crate::judged::copy_log;

pub(super) const FILTER: HttpFilter = HttpFilter {
    name: "envoy.filters.http.router",
    disabled: false,
    config: |listener, settings| {
        let mut upstream_log = copies_logs(settings);
        upstream_log.extend(listener.judges.any().then(copy_log));
        Some(pack_any(&Router { upstream_log, ..Default::default() }))
    },
    per_route: |_| None,
};
