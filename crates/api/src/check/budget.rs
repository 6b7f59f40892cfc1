//! Which part of one object is served when its parts multiply beyond what one object may come to.

use umbra_ir::budget::{ENTRY_ENDPOINTS, ENTRY_PORTS, MIRRORS, fits};

use crate::types::http_route::HttpRoute;
use crate::types::service_entry::ServiceEntrySpec;

/// How many mirrors of each rule are served, the first ones: every match of a rule has all of its mirrors.
pub fn kept_mirrors<'a>(rules: impl IntoIterator<Item = &'a HttpRoute>) -> Vec<usize> {
    let mut left = MIRRORS;
    let mut keep = |rule: &HttpRoute| {
        let routes = rule.matches.len().max(1);
        let kept = written_mirrors(rule).min(left / routes);
        left -= kept * routes;
        kept
    };
    rules.into_iter().map(&mut keep).collect()
}

/// `mirror` and `mirrors` of a rule.
pub(crate) fn written_mirrors(rule: &HttpRoute) -> usize {
    usize::from(rule.mirror.is_some()) + rule.mirrors.len()
}

/// How much of a ServiceEntry is served: of each list the first ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EntryBudget {
    /// Of `hosts`.
    pub hosts: usize,
    /// Of `ports`, for each host.
    pub ports: usize,
    /// Of `endpoints`, of `addresses` and of `subjectAltNames`, for each port of each host.
    pub each: usize,
}

impl EntryBudget {
    /// Of this entry. Ports come before hosts: a host is served whole or not at all.
    pub fn of(spec: &ServiceEntrySpec) -> Self {
        let ports = spec.ports.len().clamp(1, ENTRY_PORTS);
        let hosts = spec.hosts.len().clamp(1, fits(ENTRY_PORTS, ports));
        EntryBudget { hosts, ports, each: fits(ENTRY_ENDPOINTS, hosts * ports) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::service_entry::ServiceEntryPort;

    #[test]
    fn entries_multiply_up_to_a_point() {
        for (hosts, ports, want) in [
            (0, 0, (1, 1, 65_536)),
            (1, 1, (1, 1, 65_536)),
            (200, 10, (200, 10, 32)),
            (3000, 1, (2048, 1, 32)),
            (3000, 300, (6, 300, 36)),
            (2, 5000, (1, 2048, 32)),
        ] {
            let spec = ServiceEntrySpec {
                hosts: vec!["h".to_owned(); hosts],
                ports: vec![ServiceEntryPort::default(); ports],
                ..ServiceEntrySpec::default()
            };
            let EntryBudget { hosts: h, ports: p, each } = EntryBudget::of(&spec);
            assert_eq!((h, p, each), want, "{hosts} hosts, {ports} ports");
        }
    }
}
