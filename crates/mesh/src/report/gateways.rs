//! What is said about servers of Gateways beside each other, and about rules for connections that carry no HTTP that we see.

use std::collections::BTreeSet;

use umbra_ir::{
    Code, ConnectionRule, Credential, Diagnostic, GatewayRef, ObjectId, PortNumber, ProxyKind, RouteClient,
    RuleHead, SecretHead, ServerKind, ServerTls,
};

use super::hosts::client;
use crate::gateway_heads::intersection;
use crate::routes::{destination_target, problem_code};
use crate::{Report, View};

/// Says which servers are not opened for others, and which server names cannot be told.
pub fn report_gateway(view: &dyn View, id: &ObjectId, report: &mut Report) {
    for conflict in view.server_conflicts().get(id).into_iter().flatten() {
        let message = format!(
            "{} of {} is older and {}: this server is not opened",
            conflict.winner_field, conflict.winner, conflict.reason
        );
        report.insert(Diagnostic::new(Code::ServerConflict, id, &conflict.field, message));
    }
    let Some(head) = view.gateway_head(id) else { return };
    for server in head.servers.iter().filter(|server| server.kind().is_tls()) {
        let partial = |name: &str| name.starts_with('*') && name != "*" && !name.starts_with("*.");
        for name in server.server_names().filter(|name| partial(name.as_str())) {
            let message = format!(
                "{name} begins in the middle of a label, which Envoy takes for no server name; no TLS connection is for it"
            );
            report.insert(Diagnostic::new(Code::InvalidHost, id, format!("{}.hosts", server.field), message));
        }
        if let Some(ServerTls::End(end)) = &server.tls {
            let lone = end.certificates.len() == 1;
            let field = format!("{}.tls", server.field);
            for credential in end.certificates.iter().chain(&end.authorities) {
                let found = report_credential(view, credential, lone);
                report.extend(
                    found.into_iter().map(|(code, message)| Diagnostic::new(code, id, &field, message)),
                );
            }
        }
    }
}

/// What is wrong with the Secrets of a credential; files are the proxy's, and not seen.
fn report_credential(view: &dyn View, credential: &Credential, lone: bool) -> Vec<(Code, String)> {
    let (ids, authorities) = match credential {
        Credential::Files { .. } | Credential::AuthorityFile { .. } => return Vec::new(),
        Credential::Secret(_) => (credential.secrets(), false),
        Credential::AuthoritySecrets(_) => (credential.secrets(), true),
    };
    let unopened = match lone || authorities {
        true => "the server is not opened",
        false => "the server is opened with its other certificates",
    };
    let served = |head: &SecretHead| match authorities {
        true => head.authorities.as_ref().map(|it| it.validity.clone()),
        false => head.pair.as_ref().map(|it| it.validity.clone()),
    };
    let problem = |head: &SecretHead| match authorities {
        true => head.authorities_problem.clone(),
        false => head.pair_problem.clone(),
    };
    let known: Vec<_> = ids.iter().filter_map(|id| Some((id, view.secret(id)?))).collect();
    let mut found = Vec::new();
    for (id, head) in &known {
        if let Some(problem) = problem(head) {
            let instead = if served(head).is_some() { "what it held before is served" } else { unopened };
            found.push((Code::SecretBroken, format!("{id}: {problem}; {instead}")));
        }
    }
    let Some((id, head, validity)) = known.iter().find_map(|(id, head)| Some((id, head, served(head)?)))
    else {
        if found.is_empty() {
            let what =
                if authorities { "authorities (ca.crt)" } else { "certificate and key (tls.crt, tls.key)" };
            let names: Vec<String> = ids.iter().map(ToString::to_string).collect();
            let message = match known.is_empty() {
                true => {
                    format!("{} does not exist, or umbra may not read it; {unopened}", names.join(" or "))
                }
                false => format!("{} has no {what}; {unopened}", names.join(" or ")),
            };
            found.push((Code::SecretNotFound, message));
        }
        return found;
    };
    if head.gone {
        found.push((Code::SecretGone, format!("{id} was deleted; what it held last is served")));
    }
    let (what, is) = if authorities { ("an authority", "is") } else { ("its certificate", "is") };
    let now = view.hour().map(|hour| hour * 3600);
    if now.is_some_and(|now| validity.until < now + 3600) {
        let ends =
            format!("{id}: {what} {is} good until {} only: clients refuse it then", validity.until_text);
        found.push((Code::CertificateExpired, ends));
    } else if now.is_some_and(|now| validity.from > now + 3600) {
        let begins = format!("{id}: {what} {is} not good before {}", validity.from_text);
        found.push((Code::CertificateExpired, begins));
    }
    found
}

/// Says what is to be said of the `tls` and `tcp` rules of a VirtualService.
pub fn report_connections(view: &dyn View, id: &ObjectId, report: &mut Report) {
    let (Some(head), Some(rules)) = (view.rule_head(id), view.connection_rules(id)) else { return };
    for gateway in &head.gateways {
        match &gateway.value {
            GatewayRef::Mesh => {
                if let Some(first) = rules.all().next() {
                    let message = "sidecars follow no rules for TLS and TCP: connections go to the service that was called";
                    report.insert(Diagnostic::not_acted_on(id, &first.field, message));
                }
                let client = |port| client(ProxyKind::Sidecar, &head.id.namespace, GatewayRef::Mesh, port);
                for rule in rules.all() {
                    let port = rule.matches.iter().find_map(|it| it.filter.port).or(PortNumber::new(80));
                    let Some(port) = port else { continue };
                    report_targets(view, id, rule, &client(port), report);
                }
            }
            GatewayRef::Named(named) => {
                for (kinds, word, rules) in [
                    (&[ServerKind::Passthrough][..], "tls", &rules.tls),
                    (&[ServerKind::Bytes, ServerKind::SecureBytes][..], "tcp", &rules.tcp),
                ] {
                    report_at(view, &head, (named, &gateway.field), (kinds, word), rules, report);
                }
            }
        }
    }
}

fn report_at(
    view: &dyn View,
    head: &RuleHead,
    (gateway, field): (&ObjectId, &str),
    (kinds, word): (&[ServerKind], &str),
    rules: &[ConnectionRule],
    report: &mut Report,
) {
    let Some(found) = view.gateway_head(gateway).filter(|_| !rules.is_empty()) else { return };
    let admits = found.servers.iter().filter(|server| kinds.contains(&server.kind()));
    let admits = admits.filter(|server| !intersection(server, head).is_empty());
    let ports: BTreeSet<PortNumber> = admits.map(|server| server.port).collect();
    if ports.is_empty() {
        let sort =
            if word == "tls" { "that passes TLS through" } else { "for TCP, or for TLS that it ends," };
        let message = format!(
            "{gateway} has no server {sort} that admits any of these hosts: the {word} rules are not served there"
        );
        report.insert(Diagnostic::new(Code::HostNotAdmitted, &head.id, field, message));
    }
    for port in ports {
        let reference = GatewayRef::Named(gateway.clone());
        let client = client(ProxyKind::Router, &gateway.namespace, reference, port);
        for rule in rules {
            report_targets(view, &head.id, rule, &client, report);
        }
    }
}

fn report_targets(
    view: &dyn View,
    id: &ObjectId,
    rule: &ConnectionRule,
    client: &RouteClient,
    report: &mut Report,
) {
    for destination in rule.destinations.iter().filter(|it| !it.destination.host.as_str().is_empty()) {
        if let Err(problem) = destination_target(view, id, &destination.destination, client) {
            let message = format!("{problem}: connections for this destination end");
            report.insert(Diagnostic::new(problem_code(&problem), id, &destination.field, message));
        }
    }
}
