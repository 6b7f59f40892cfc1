//! What becomes of a request, for people.

use std::fmt::Write;

use umbra_explain::{Copies, Endpoints, Explanation, Forward, Outcome, RouteSeen, Sent, Written, percent};

use super::Answered;

/// Endpoints that are named; of more, only the number.
const NAMED: usize = 4;

/// All of it.
pub(super) fn answered(answered: &Answered) -> String {
    let Answered { request, from, said } = answered;
    let mut text = format!("{request}\n  from {from}\n\n");
    way(&mut text, said);
    routes(&mut text, said);
    filters(&mut text, said);
    outcome(&mut text, &said.outcome);
    text
}

/// A line with its subject in front.
fn line(text: &mut String, subject: &str, words: &str) {
    // Writing into a string cannot fail.
    let _ = writeln!(text, "{subject:<13} {words}");
}

fn way(text: &mut String, said: &Explanation) {
    let Some(listener) = &said.listener else { return };
    let table = listener
        .table
        .as_ref()
        .map_or("passes bytes on".to_owned(), |it| format!("route configuration {it}"));
    line(text, "listener", &format!("{} at {}, {table}", listener.name, listener.address));
    if !listener.chain.is_empty() {
        line(text, "", &format!("its connections {}", listener.chain));
    }
    if let Some(written) = &listener.written {
        line(text, "rule", &place(written));
    }
    if let Some(host) = &said.virtual_host {
        line(text, "virtual host", &format!("{}, by its domain {}", host.name, host.domain));
    }
}

fn routes(text: &mut String, said: &Explanation) {
    for route in said.routes.iter().filter(|route| !route.behind) {
        let subject = if route.lost.is_some() { "route lost" } else { "route WON" };
        line(text, subject, &format!("{}: {}", title(route), route.asks));
        if let Some(why) = &route.lost {
            line(text, "", why);
        }
    }
    let behind = said.routes.iter().filter(|route| route.behind).count();
    if behind > 0 {
        line(text, "", &format!("and {behind} behind it that nobody looks at"));
    }
}

fn title(route: &RouteSeen) -> String {
    let name = if route.name.is_empty() { String::new() } else { format!(" {:?}", route.name) };
    match &route.written {
        Some(written) => format!("{}{name}", place(written)),
        None => format!("no rule{name}"),
    }
}

/// `VirtualService default/web spec.http[0] (mesh/web.yaml:12)`
pub(super) fn place(written: &Written) -> String {
    let through = written.through.as_ref().map(|root| format!(", taken in by {root}")).unwrap_or_default();
    let at = match (&written.file, written.line) {
        (Some(file), Some(line)) => format!(" ({file}:{line})"),
        (Some(file), None) => format!(" ({file})"),
        _ => String::new(),
    };
    format!("{} {}{at}{through}", written.object, written.rule)
}

fn filters(text: &mut String, said: &Explanation) {
    if let Some(delay) = &said.filters.delay {
        line(text, "delay", &format!("{} wait {} s first", percent(delay.odds), delay.seconds));
    }
    if let Some(abort) = &said.filters.abort {
        let grpc =
            abort.grpc_status.map(|status| format!(" with the gRPC status {status}")).unwrap_or_default();
        line(text, "abort", &format!("{} are answered {}{grpc}", percent(abort.odds), abort.status));
    }
    if let Some(allowed) = said.filters.origin_allowed {
        let words = if allowed { "allowed" } else { "not allowed: a browser keeps the answer to itself" };
        line(text, "other origin", words);
    }
}

fn outcome(text: &mut String, outcome: &Outcome) {
    let mut said = |subject: &str, words: &str| line(text, subject, words);
    match outcome {
        Outcome::NoListener => said("REFUSED", "nobody listens there: the connection is refused"),
        Outcome::Mismatch { why } => said("REFUSED", &format!("the connection ends: {why}")),
        Outcome::Passed { to } => to.iter().for_each(|to| {
            let who = match &to.endpoints {
                Endpoints::Ready(addresses) if addresses.is_empty() => {
                    "NOBODY is ready there, the connection ends".to_owned()
                }
                Endpoints::NoCluster => "there is no such cluster, the connection ends".to_owned(),
                some => ready(some),
            };
            let odds = percent(to.odds);
            said(
                "PASSED ON",
                &format!("{odds} as bytes, not looked at and never copied, to {}: {who}", to.cluster),
            );
        }),
        Outcome::Refused { status, why } => said("ANSWERED", &format!("{status} by Envoy: {why}")),
        Outcome::NoTable { status } => {
            said("ANSWERED", &format!("{status} by Envoy: there is no such route configuration"))
        }
        Outcome::NoVirtualHost { status } => {
            said("ANSWERED", &format!("{status} by Envoy: no virtual host has this host"))
        }
        Outcome::NoRoute { status } => said("ANSWERED", &format!("{status} by Envoy: no route takes it")),
        Outcome::Unknown { why } => said("UNKNOWN", why),
        Outcome::Preflight { status } => {
            said("ANSWERED", &format!("{status}: a browser's preflight, by the rule's corsPolicy"))
        }
        Outcome::Redirect { status, location } => {
            said("ANSWERED", &format!("{status}, Location: {location}"))
        }
        Outcome::Answer { status, body } => said("ANSWERED", &format!("{status} {body:?}")),
        Outcome::Forward(forward) => forwarded(text, forward),
    }
}

fn forwarded(text: &mut String, forward: &Forward) {
    for destination in &forward.destinations {
        let Endpoints::NoCluster = destination.endpoints else {
            line(
                text,
                "FORWARDED",
                &format!(
                    "{} to {}: {}",
                    percent(destination.odds),
                    destination.cluster,
                    ready(&destination.endpoints)
                ),
            );
            sent(text, &destination.sent);
            continue;
        };
        line(
            text,
            "ANSWERED",
            &format!(
                "{} by Envoy with 503: there is no cluster {}",
                percent(destination.odds),
                destination.cluster
            ),
        );
    }
    for copies in &forward.mirrors {
        copied(text, copies);
    }
    let seconds = |seconds: f64| format!("{seconds} s");
    line(text, "timeout", &forward.timeout_seconds.map_or("none".to_owned(), seconds));
    let Some(retries) = &forward.retries else { return line(text, "retries", "none") };
    let each = retries.per_try_seconds.map(|it| format!(", {it} s each")).unwrap_or_default();
    let statuses: Vec<_> = retries.statuses.iter().map(ToString::to_string).collect();
    let statuses = if statuses.is_empty() { String::new() } else { format!(" ({})", statuses.join(", ")) };
    line(text, "retries", &format!("{} on {}{statuses}{each}", retries.attempts, retries.on));
}

fn copied(text: &mut String, copies: &Copies) {
    line(
        text,
        "COPIED",
        &format!("{} to {}: {}", percent(copies.odds), copies.cluster, ready(&copies.endpoints)),
    );
    copies.sent.iter().for_each(|one| sent(text, one));
    if !copies.runtime_key.is_empty() {
        line(text, "", &format!("by the runtime key {}", copies.runtime_key));
    }
}

fn sent(text: &mut String, sent: &Sent) {
    line(text, "", &format!("as Host {}, path {}", sent.host, sent.path));
    for (name, value) in &sent.headers {
        line(text, "", &format!("   {name}: {value}"));
    }
}

/// Who is ready.
fn ready(endpoints: &Endpoints) -> String {
    let named = |addresses: &[String]| {
        let more = addresses.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{}{more}", addresses.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", "))
    };
    match endpoints {
        Endpoints::Ready(addresses) if addresses.is_empty() => {
            "NOBODY is ready there, Envoy answers 503".to_owned()
        }
        Endpoints::Ready(addresses) => format!("{} ready ({})", addresses.len(), named(addresses)),
        Endpoints::Resolved(names) => format!("whatever {} resolves to", named(names)),
        Endpoints::AsCalled => "the address that was called".to_owned(),
        Endpoints::AsAsked => "what the Host of the request resolves to".to_owned(),
        Endpoints::NoCluster => "there is no such cluster".to_owned(),
    }
}
