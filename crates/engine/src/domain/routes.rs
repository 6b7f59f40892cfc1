//! Bound routes: encoded, and what they refer to. As plain data they are kept nowhere.

use std::sync::Arc;

use umbra_envoy::EncodedRoutes;
use umbra_ir::{RouteList, RouteRefs};

/// The routes of one source.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Routes {
    /// For every virtual host that holds them.
    pub(crate) encoded: Arc<EncodedRoutes>,
    /// The clusters and keys that they name.
    pub(crate) refs: Arc<RouteRefs>,
    /// Of which rule of its object each is made, in order.
    pub(crate) rules: Arc<[usize]>,
}

impl Routes {
    pub(crate) fn new(list: &RouteList) -> Self {
        Routes {
            encoded: Arc::new(umbra_envoy::build_routes(list)),
            refs: Arc::new(list.refs()),
            rules: list.routes.iter().map(|route| route.rule).collect(),
        }
    }
}
