//! The HTTP filters of a listener: one ordered list of (filter, who needs it, what a route says to it), a file each.
//!
//! Listeners and routes both ask here, so that a route never configures a filter that its listener lacks. What can be
//! switched is switched by the route's part: a listener that changes replaces its filter chain and drains connections.

mod contents;
mod cors;
mod fault;
mod judged;
mod router;

use std::collections::BTreeMap;

use umbra_ir::{Listener, Route, Settings};
use umbra_proto::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpFilter as Api, http_filter::ConfigType,
};
use umbra_proto::google::protobuf::Any;

/// One filter.
struct HttpFilter {
    /// By what Envoy matches a route's part to it.
    name: &'static str,
    /// Off where no route switches it on.
    disabled: bool,
    /// Its configuration in a listener; `None`: that one does not need it.
    config: fn(&Listener, &Settings) -> Option<Any>,
    /// What a route says to it (`typed_per_filter_config`); `None`: nothing.
    per_route: fn(&Route) -> Option<Any>,
}

/// In the order in which requests meet them, which is Istio's. The router forwards, so it is the last; what looks at answers sees them first.
const FILTERS: &[HttpFilter] =
    &[fault::FILTER, cors::FILTER, judged::FILTER, contents::FILTER, router::FILTER];

/// The filters of a listener.
pub(crate) fn http_filters(listener: &Listener, settings: &Settings) -> Vec<Api> {
    let one = |filter: &HttpFilter| {
        let config = (filter.config)(listener, settings)?;
        Some(Api {
            name: filter.name.to_owned(),
            disabled: filter.disabled,
            config_type: Some(ConfigType::TypedConfig(config)),
            ..Default::default()
        })
    };
    FILTERS.iter().filter_map(one).collect()
}

/// What a route says to them.
pub(crate) fn per_filter_config(route: &Route) -> BTreeMap<String, Any> {
    FILTERS.iter().filter_map(|filter| Some((filter.name.to_owned(), (filter.per_route)(route)?))).collect()
}
