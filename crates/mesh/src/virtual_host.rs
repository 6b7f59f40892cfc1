//! A virtual host from the routes of all its sources.

use umbra_ir::{Hostname, PortNumber, RouteOrder, VirtualHost, VirtualHostSpec};

use crate::view::View;

/// The virtual host with its routes, in the order that its rules ask for.
pub fn bind_virtual_host(view: &dyn View, spec: &VirtualHostSpec) -> VirtualHost {
    let lists: Vec<_> = spec.sources.iter().map(|source| view.routes(source)).collect();
    let mut routes: Vec<_> = lists.iter().flat_map(|list| &list.routes).cloned().collect();
    match spec.order {
        RouteOrder::CatchAllsLast => routes.sort_by_key(|route| route.request.is_catch_all()),
    }
    VirtualHost {
        name: spec.name.clone(),
        domains: spec.domains.clone(),
        routes,
        require_tls: spec.require_tls,
    }
}

/// `host:port`, an IPv6 host in brackets.
pub(crate) fn virtual_host_name(host: &Hostname, port: PortNumber) -> String {
    if host.as_str().contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
