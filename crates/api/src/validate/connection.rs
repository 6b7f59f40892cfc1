//! `tls` and `tcp` rules of a VirtualService.

use umbra_ir::{Code, Severity};

use super::Report;
use crate::check::connection::{
    Fault, OwnHosts, check_connection_destination, check_connection_route, check_server_name,
    check_tcp_match, check_tls_match,
};
use crate::types::virtual_service::{RouteDestination, VirtualServiceSpec};

pub(super) fn validate(report: &mut Report, spec: &VirtualServiceSpec) {
    let hosts = OwnHosts::new(&spec.hosts);
    for (index, rule) in spec.tls.iter().enumerate() {
        let path = format!("spec.tls[{index}]");
        if rule.matches.is_empty() {
            let message = "a rule without a match for a server name; the rule is left out";
            report.add(Code::InvalidMatch, format!("{path}.match"), message);
        }
        for (at, written) in rule.matches.iter().enumerate() {
            let path = format!("{path}.match[{at}]");
            for (at, name) in written.sni_hosts.iter().enumerate() {
                let verdict = check_server_name(name, &hosts);
                report.check(format!("{path}.sniHosts[{at}]"), verdict, "the name is left out");
            }
            say(report, &path, check_tls_match(written, &hosts), "the match is left out");
        }
        route(report, &path, &rule.route);
    }
    for (index, rule) in spec.tcp.iter().enumerate() {
        let path = format!("spec.tcp[{index}]");
        for (at, written) in rule.matches.iter().enumerate() {
            say(report, &format!("{path}.match[{at}]"), check_tcp_match(written), "the match is left out");
        }
        route(report, &path, &rule.route);
    }
}

fn say(report: &mut Report, path: &str, verdict: Result<(), Fault>, instead: &str) {
    if let Err((field, problem)) = verdict {
        report.problem(format!("{path}.{field}"), problem, instead);
    }
}

fn route(report: &mut Report, path: &str, route: &[RouteDestination]) {
    say(report, path, check_connection_route(route), "the rule is left out");
    for (index, written) in route.iter().enumerate() {
        let path = format!("{path}.route[{index}]");
        say(report, &path, check_connection_destination(written), "connections for it end");
        if written.weight.is_some_and(|weight| weight < 0) {
            report.add(Code::InvalidWeight, format!("{path}.weight"), "a negative weight counts as 0");
        } else if route.len() == 1 && written.weight.is_some_and(|weight| weight != 100 && weight != 0) {
            let message = "the only destination gets every connection, whatever its weight";
            report.add_as(Severity::Info, Code::WeightIgnored, format!("{path}.weight"), message);
        }
    }
}
