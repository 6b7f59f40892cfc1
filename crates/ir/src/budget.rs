//! How much one object may come to. Work and memory follow what is written; where parts of an object multiply, the
//! product has an end, and what is beyond it is left out in the order written ([`crate::Code::OverBudget`] says so).
//!
//! Each is many times what people write (200 hosts of 50 routes are half of the first one), and keeps what a single
//! object can take of umbra and of every proxy to some ten megabytes. docs/performance.md has the table.

/// The most bytes of routes that a VirtualService's written hosts may hold together: each has all of its routes.
/// A route counts as it is kept, which is two to three times what Envoy gets.
pub const ROUTES_ON_HOSTS: usize = 16 << 20;

/// The same for one host: a rule's action stands in the route of each of its matches.
pub const ROUTES_ON_A_HOST: usize = 16 << 20;

/// The most that a VirtualService may take from others, as written: all that a rule of its own says stands in each of the rules
/// that it delegates to.
pub const DELEGATED: usize = 2 * ROUTES_ON_A_HOST;

/// The same for all virtual hosts of a class of proxies, where hosts are called on several ports and wildcards mean many
/// services.
pub const ROUTES_ON_VIRTUAL_HOSTS: usize = 20 << 20;

/// The most mirrors that the routes of a VirtualService may have on one host: each match of a rule has all of its mirrors.
pub const MIRRORS: usize = 4096;

/// The most ports that the hosts of a ServiceEntry may have together: each is a cluster, and each host has all ports.
pub const ENTRY_PORTS: usize = 2048;

/// The most endpoints, and the most addresses and names of certificates, that those ports may have together: each port of
/// each host has all of them.
pub const ENTRY_ENDPOINTS: usize = 65_536;

/// The most clusters that the subsets of a DestinationRule may be for the ports of all services that its host means.
pub const SUBSET_CLUSTERS: usize = 4096;

/// The most that the rules, entries and gateways of one namespace may come to together: some hundred times what the largest of
/// the meshes in `docs/performance.md` has in one, and several objects at their own budget.
pub const NAMESPACE: usize = 256 << 20;

/// What a cluster with its load assignment counts for in it, and what one of its endpoints.
pub const CLUSTER: usize = 4 << 10;
/// See [`CLUSTER`].
pub const ENDPOINT: usize = 128;

/// A VirtualService whose routes are no more than this, some four, counts as any other such: rules for a whole mesh are small.
const SMALL: usize = 4 << 10;
/// In so many virtual hosts.
const SMALL_ON_VIRTUAL_HOSTS: usize = 16 << 10;

/// In how many virtual hosts of a class a VirtualService may stand whose routes on one host are of this size. It is counted in
/// steps, so that an edit seldom changes it and concerns the hosts of its rule alone.
pub fn virtual_hosts(size: usize) -> usize {
    if size <= SMALL {
        return SMALL_ON_VIRTUAL_HOSTS;
    }
    let step = 1 << (size.ilog2() - 2);
    fits(ROUTES_ON_VIRTUAL_HOSTS, size.div_ceil(step) * step)
}

/// How often something of `size` fits into `budget`, at least once.
pub fn fits(budget: usize, size: usize) -> usize {
    (budget / size.max(1)).max(1)
}

/// The same, rounded down so that it seldom changes while `size` does.
pub fn fits_about(budget: usize, size: usize) -> usize {
    1 << fits(budget, size).ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_rules_stand_in_as_many_hosts_as_others() {
        for (size, want) in
            [(0, 16_384), (4096, 16_384), (4097, 4096), (6000, 3413), (2 << 20, 10), (1 << 30, 1)]
        {
            assert_eq!(virtual_hosts(size), want, "{size}");
        }
    }

    #[test]
    fn what_fits() {
        for (budget, size, exactly, about) in
            [(10, 0, 10, 8), (10, 1, 10, 8), (10, 3, 3, 2), (10, 10, 1, 1), (10, 11, 1, 1), (64, 4, 16, 16)]
        {
            assert_eq!(
                (fits(budget, size), fits_about(budget, size)),
                (exactly, about),
                "{size} in {budget}"
            );
        }
    }
}
