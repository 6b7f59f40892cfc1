//! Lists of routes, encoded once for all virtual hosts that hold them.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::{BufMut, Bytes};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use umbra_ir::{Route, RouteAction, RouteList, RouteOrder};

use crate::names::cluster_name;
use crate::route::build_route;
use crate::route_action::target_name;

/// The field `routes` of `envoy.config.route.v3.VirtualHost`.
const ROUTES_FIELD: u32 = 3;

/// Routes of one source as they stand in a virtual host: any number of hosts copy these bytes and build nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EncodedRoutes {
    /// Each route as a field of the virtual host.
    body: Bytes,
    /// Where each ends in `body`, and whether it stands with those that take every request.
    ends: Box<[(usize, bool)]>,
    /// The clusters that they name, copies' too; sorted.
    clusters: Arc<[Arc<str>]>,
}

/// The routes of one source (`envoy.config.route.v3.Route`).
pub fn build_routes(list: &RouteList) -> EncodedRoutes {
    let mut body = Vec::new();
    let mut ends = Vec::with_capacity(list.routes.len());
    for route in &list.routes {
        let message = build_route(route);
        encode_key(ROUTES_FIELD, WireType::LengthDelimited, &mut body);
        encode_varint(message.encoded_len() as u64, &mut body);
        body.put_slice(&message.encode_to_vec());
        ends.push((body.len(), route.catch_all));
    }
    body.shrink_to_fit();
    let clusters: BTreeSet<Arc<str>> = list.routes.iter().flat_map(clusters).collect();
    EncodedRoutes { body: body.into(), ends: ends.into(), clusters: clusters.into_iter().collect() }
}

fn clusters(route: &Route) -> Vec<Arc<str>> {
    let RouteAction::Forward(forward) = &route.action else { return Vec::new() };
    let targets = forward.targets.iter().map(|target| target_name(&target.cluster).into());
    targets.chain(forward.mirrors.iter().map(|mirror| cluster_name(&mirror.cluster))).collect()
}

/// The order in which the routes of all sources of a virtual host stand in it: each as the number of its source and its own
/// among that source's routes, both from 0.
pub fn order_routes(lists: &[Arc<EncodedRoutes>], order: RouteOrder) -> Vec<(usize, usize)> {
    let RouteOrder::CatchAllsLast = order;
    let of = |last: bool| {
        let each = lists.iter().enumerate().flat_map(move |(source, list)| {
            let routes = list.ends.iter().enumerate().filter(move |(_, (_, catch_all))| *catch_all == last);
            routes.map(move |(nth, _)| (source, nth))
        });
        each.collect::<Vec<_>>()
    };
    [of(false), of(true)].concat()
}

impl EncodedRoutes {
    /// All of them, each as a field of the virtual host.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.body
    }
}

/// The only source of a virtual host, if its routes stand there as they stand in it.
pub(crate) fn only_in_order(lists: &[Arc<EncodedRoutes>]) -> Option<&Arc<EncodedRoutes>> {
    match lists {
        [only] if only.ends.is_sorted_by_key(|(_, catch_all)| *catch_all) => Some(only),
        _ => None,
    }
}

/// Puts the routes of all sources of a virtual host into its body, in the order that they ask for.
pub(crate) fn put_routes(lists: &[Arc<EncodedRoutes>], order: RouteOrder, body: &mut Vec<u8>) {
    if let Some(only) = only_in_order(lists) {
        return body.extend_from_slice(&only.body);
    }
    for (source, nth) in order_routes(lists, order) {
        let list = &lists[source];
        let start = nth.checked_sub(1).map_or(0, |before| list.ends[before].0);
        body.extend_from_slice(&list.body[start..list.ends[nth].0]);
    }
}

/// The clusters that all of them name, sorted.
pub(crate) fn clusters_of(lists: &[Arc<EncodedRoutes>]) -> Arc<[Arc<str>]> {
    if let [only] = lists {
        return only.clusters.clone();
    }
    let all: BTreeSet<&Arc<str>> = lists.iter().flat_map(|list| list.clusters.iter()).collect();
    all.into_iter().cloned().collect()
}
