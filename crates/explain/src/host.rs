//! Which virtual host a request belongs to.

use umbra_proto::envoy::config::route::v3::{RouteConfiguration, VirtualHost};

use crate::request::port_start;

/// The virtual host for an authority, and which of its domains takes it: the exact one, else the longest `*.suffix`, else
/// the longest `prefix.*`, else `*`.
pub(crate) fn find<'a>(table: &'a RouteConfiguration, authority: &str) -> Option<(&'a VirtualHost, String)> {
    let end = if table.ignore_port_in_host_matching { port_start(authority) } else { None };
    let host = authority[..end.unwrap_or(authority.len())].to_ascii_lowercase();
    let all =
        table.virtual_hosts.iter().flat_map(|host| host.domains.iter().map(move |domain| (host, domain)));
    let fitting =
        all.filter_map(|(found, domain)| Some((rank(&domain.to_ascii_lowercase(), &host)?, found, domain)));
    let best = fitting.reduce(|best, next| if next.0 > best.0 { next } else { best });
    best.map(|(_, found, domain)| (found, domain.clone()))
}

/// How well a domain fits a host: kind, then length.
fn rank(domain: &str, host: &str) -> Option<(u8, usize)> {
    if domain == "*" {
        return Some((0, 0));
    }
    if let Some(suffix) = domain.strip_prefix('*') {
        return (host.len() > suffix.len() && host.ends_with(suffix)).then_some((2, suffix.len()));
    }
    if let Some(prefix) = domain.strip_suffix('*') {
        return (host.len() > prefix.len() && host.starts_with(prefix)).then_some((1, prefix.len()));
    }
    (domain == host).then_some((3, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_domain_counts() {
        let host = |name: &str, domains: &[&str]| VirtualHost {
            name: name.to_owned(),
            domains: domains.iter().map(|&it| it.to_owned()).collect(),
            ..Default::default()
        };
        let mut table = RouteConfiguration {
            ignore_port_in_host_matching: true,
            virtual_hosts: vec![
                host("all", &["*"]),
                host("com", &["*.com"]),
                host("example", &["*.example.com", "a.*"]),
                host("a", &["a.example.com", "[::1]"]),
            ],
            ..Default::default()
        };
        for (authority, want) in [
            ("A.example.com", "a"),
            ("a.example.com:8000", "a"),
            ("b.example.com", "example"),
            ("x.b.example.com", "example"),
            ("example.com", "com"),
            (".com", "all"),
            ("a.org", "example"),
            ("[::1]:80", "a"),
            ("", "all"),
        ] {
            assert_eq!(find(&table, authority).unwrap().0.name, want, "{authority}");
        }
        table.ignore_port_in_host_matching = false;
        assert_eq!(find(&table, "a.example.com:8000").unwrap().0.name, "example");
        table.virtual_hosts.clear();
        assert!(find(&table, "a").is_none());
    }
}
