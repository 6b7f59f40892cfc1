//! The way of a request, from the connection to what becomes of it.

use umbra_proto::envoy::config::listener::v3::{FilterChain, Listener};
use umbra_proto::envoy::config::route::v3::virtual_host::TlsRequirementType;
use umbra_proto::envoy::config::route::v3::{Route, RouteConfiguration, VirtualHost, route::Action};
use umbra_proto::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_connection_manager::RouteSpecifier,
};

use crate::config::{Config, socket};
use crate::explanation::{Explanation, HostTaken, ListenerTaken, Outcome, PassedTo, RouteSeen};
use crate::listener::{Handler, accepting, chain, handler, odds, words};
use crate::matching::{self, Lost};
use crate::request::{Request, Seen};
use crate::summary::percent;
use crate::{answer, filters, forward, host};

/// How Envoy answers what no route takes.
const NOT_FOUND: u16 = 404;

impl Config {
    /// What becomes of a request, and why.
    pub fn explain(&self, request: &Request) -> Explanation {
        let mut said = Explanation::default();
        if let Some(listener) = accepting(self, request) {
            said.listener = Some(taken(listener));
            said.outcome = match chain(listener, request) {
                Ok((chain, nth)) => {
                    if let Some(listener) = &mut said.listener {
                        listener.chain = chain.filter_chain_match.as_ref().map(words).unwrap_or_default();
                        listener.nth = nth;
                    }
                    self.accepted(chain, request, &mut said)
                }
                Err(why) => Outcome::Mismatch { why },
            };
        }
        said
    }

    fn accepted(&self, chain: &FilterChain, request: &Request, said: &mut Explanation) -> Outcome {
        let manager = match handler(chain, request) {
            Ok(Handler::Http(manager)) => manager,
            Ok(Handler::Bytes(clusters)) => {
                let one = |(cluster, odds): (String, f64)| {
                    let endpoints = self.endpoints(&cluster);
                    PassedTo { cluster, odds, endpoints }
                };
                return Outcome::Passed { to: odds(clusters).into_iter().map(one).collect() };
            }
            Err(why) => return Outcome::Mismatch { why },
        };
        let (name, table) = self.table(&manager);
        if let Some(listener) = &mut said.listener {
            listener.table = Some(name);
        }
        let normalize = manager.normalize_path.is_some_and(|it| it.value);
        let edge = manager.use_remote_address.is_some_and(|it| it.value) && manager.xff_num_trusted_hops == 0;
        let seen = match Seen::new(request, normalize, edge) {
            Ok(seen) => seen,
            Err((status, why)) => return Outcome::Refused { status, why: why.to_owned() },
        };
        let Some(table) = table else { return Outcome::NoTable { status: NOT_FOUND } };
        let Some((host, domain)) = host::find(table, &seen.authority) else {
            return Outcome::NoVirtualHost { status: NOT_FOUND };
        };
        said.virtual_host = Some(HostTaken { name: host.name.clone(), domain });
        self.in_host(host, &seen, said)
    }

    fn table<'a>(&'a self, manager: &'a HttpConnectionManager) -> (String, Option<&'a RouteConfiguration>) {
        match &manager.route_specifier {
            Some(RouteSpecifier::Rds(rds)) => {
                (rds.route_config_name.clone(), self.tables.get(&rds.route_config_name))
            }
            Some(RouteSpecifier::RouteConfig(table)) => (table.name.clone(), Some(table)),
            _ => (String::new(), None),
        }
    }

    fn in_host(&self, host: &VirtualHost, request: &Seen, said: &mut Explanation) -> Outcome {
        if request.forwarded.is_empty() {
            // As if there were no routes.
            return Outcome::NoRoute { status: NOT_FOUND };
        }
        if host.require_tls() == TlsRequirementType::All && request.forwarded != "https" {
            return answer::to_https(request);
        }
        let mut winner: Option<Result<&Route, String>> = None;
        for route in &host.routes {
            let mut seen = RouteSeen { name: route.name.clone(), ..RouteSeen::default() };
            if let Some(wanted) = &route.r#match {
                seen.asks = matching::words(wanted);
                let part = self.odds(wanted.runtime_fraction.as_ref());
                match (&winner, matching::take(wanted, request)) {
                    // Which requests those are, chance says: told is what becomes of the others.
                    (None, Ok(())) if part < 1.0 => {
                        seen.lost = Some(format!("it takes {} of these requests", percent(part)));
                    }
                    (Some(_), _) => seen.behind = true,
                    (None, Ok(())) => winner = Some(Ok(route)),
                    (None, Err(Lost::For(why))) => seen.lost = Some(why),
                    (None, Err(Lost::Unknown(why))) => winner = Some(Err(why)),
                }
            }
            said.routes.push(seen);
        }
        match winner {
            None => Outcome::NoRoute { status: NOT_FOUND },
            Some(Err(why)) => Outcome::Unknown { why },
            Some(Ok(route)) => self.act(route, request, said),
        }
    }

    fn act(&self, route: &Route, request: &Seen, said: &mut Explanation) -> Outcome {
        let (filters, preflight) = filters::meet(route, request);
        said.filters = filters;
        if preflight {
            return Outcome::Preflight { status: 200 };
        }
        let matched = route.r#match.as_ref();
        match &route.action {
            Some(Action::Route(action)) => match forward::forward(self, route, action, request) {
                Ok(forward) => Outcome::Forward(forward),
                Err(why) => Outcome::Unknown { why },
            },
            Some(Action::Redirect(action)) => answer::redirect(matched, action, request),
            Some(Action::DirectResponse(action)) => answer::direct(action),
            _ => Outcome::Unknown { why: "the route does what is not known here".to_owned() },
        }
    }
}

fn taken(listener: &Listener) -> ListenerTaken {
    let address = socket(listener.address.as_ref()).map(|(host, port)| match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    });
    ListenerTaken {
        name: listener.name.clone(),
        address: address.unwrap_or_default(),
        ..ListenerTaken::default()
    }
}
