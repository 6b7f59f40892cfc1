//! What is said about servers of Gateways beside each other.

use umbra_ir::{
    Code, Credential, Diagnostic, GatewayHead, Kind, ObjectId, SecretHead, Server, ServerKind, ServerTls,
};

use crate::{Index, Report, View};

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
    report_shared_servers(view, &head, report);
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

/// Servers for HTTP of other Gateways that admit the same hosts on the same port of the same proxies.
fn report_shared_servers(view: &dyn View, head: &GatewayHead, report: &mut Report) {
    let others = view.ids(&Index::Kind(Kind::Gateway)).into_iter().filter(|id| *id != head.id);
    let others: Vec<_> = others.filter_map(|id| view.gateway_head(&id)).collect();
    let same = others.iter().filter(|other| other.selector == head.selector);
    for other in same {
        for server in head.servers.iter().filter(|server| server.kind() == ServerKind::Http) {
            let beside = other.servers.iter().filter(|it| {
                it.kind() == ServerKind::Http && it.port == server.port && it.bind == server.bind
            });
            let shared = |it: &Server| {
                let mut all = it.server_names().flat_map(|a| server.server_names().map(move |b| (a, b)));
                all.find(|(a, b)| a == b).map(|(host, _)| host.clone())
            };
            let Some((field, host)) = beside.into_iter().find_map(|it| Some((&it.field, shared(it)?))) else {
                continue;
            };
            let message = format!(
                "{field} of {} admits {host} on the port {} of the same proxies: rules for either Gateway are put together there, the older first",
                other.id, server.port
            );
            let own = format!("{}.hosts", server.field);
            report.insert(Diagnostic::new(Code::SharedServer, &head.id, own, message));
        }
    }
}
