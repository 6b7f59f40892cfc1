//! `--expect FILE`: requests and what must become of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use serde::Deserialize;
use serde_json::{Value, json};
use umbra_explain::{Destination, Explanation, Forward, Outcome, PassedTo, Request, percent};

use super::known::Source;
use super::text;
use crate::cli::{ExplainArgs, Output};
use crate::commands::print;
use crate::failure::usage;

/// How far odds may be from what is expected, in percent: weights beside a mirror are off by a millionth.
const TOLERANCE: f64 = 0.001;

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Whose proxy the requests meet that say nothing else.
    from: Option<String>,
    requests: Vec<Case>,
}

/// One request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: Option<String>,
    /// `[METHOD] URL`.
    request: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    from: Option<String>,
    port: Option<u16>,
    address: Option<std::net::IpAddr>,
    expect: Expected,
}

/// What must become of it; what is not written is not looked at.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Expected {
    /// The outcome's word in JSON: `forward`, `redirect`, `answer`, `noRoute`, …
    outcome: Option<String>,
    /// The status of Envoy's own answer.
    status: Option<u16>,
    /// Of a redirect.
    location: Option<String>,
    /// Of a written answer.
    body: Option<String>,
    /// `NAMESPACE/NAME` of the VirtualService whose rule wins.
    object: Option<String>,
    /// The path of the rule in it, or the rule's name.
    rule: Option<String>,
    /// All destinations.
    to: Option<Vec<Target>>,
    /// All mirrors with odds.
    mirrors: Option<Vec<Target>>,
    /// What is sent.
    host: Option<String>,
    path: Option<String>,
    /// Headers that are sent; null: not there.
    headers: Option<BTreeMap<String, Option<String>>>,
    /// Seconds; 0: none.
    timeout_seconds: Option<f64>,
    /// How often it is tried again; 0: never.
    retries: Option<u32>,
    /// How many percent are aborted, and delayed.
    abort_percent: Option<f64>,
    delay_percent: Option<f64>,
}

/// A destination or a mirror; what is not written is not looked at.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Target {
    /// In full, or its first part.
    host: Option<String>,
    /// Empty: none.
    subset: Option<String>,
    port: Option<u16>,
    percent: Option<f64>,
    /// Whether somebody is ready.
    ready: Option<bool>,
    /// The Host that is sent.
    #[serde(rename = "as")]
    sent_host: Option<String>,
}

/// What came of one case.
struct Judged {
    name: String,
    /// `field: expected this, is that`.
    differences: Vec<String>,
    said: Explanation,
}

/// Compares; exit code 1 when something is otherwise.
pub(super) fn expect(args: &ExplainArgs, path: &Path, source: &mut Source) -> anyhow::Result<ExitCode> {
    let read = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
    let file: File = serde_saphyr::from_str(&read.map_err(usage)?)
        .with_context(|| format!("{} is no list of requests", path.display()))
        .map_err(usage)?;
    let default = args.from.clone().or(file.from);
    let mut all = Vec::with_capacity(file.requests.len());
    for case in &file.requests {
        let wrong = |why: String| usage(format!("{}: {}: {why}", path.display(), case.request));
        let from = case.from.clone().or_else(|| default.clone());
        let from = from.ok_or_else(|| wrong("it does not say whose proxy it meets (from)".to_owned()))?;
        let request = case.request().map_err(wrong)?;
        let said = source.known(&from)?.explain(&request);
        let differences = case.expect.compare(&said);
        all.push(Judged {
            name: case.name.clone().unwrap_or_else(|| case.request.clone()),
            differences,
            said,
        });
    }
    let failed = all.iter().filter(|it| !it.differences.is_empty()).count();
    match args.output {
        Output::Json => print(&format!("{}\n", serde_json::to_string_pretty(&as_json(&all))?))?,
        Output::Text => print(&as_text(&all, failed))?,
    }
    Ok(if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn as_json(all: &[Judged]) -> Value {
    let one = |it: &Judged| json!({"name": it.name, "ok": it.differences.is_empty(), "differences": it.differences, "explanation": it.said});
    json!({ "requests": all.iter().map(one).collect::<Vec<_>>() })
}

fn as_text(all: &[Judged], failed: usize) -> String {
    let mut text = String::new();
    for Judged { name, differences, said } in all {
        if differences.is_empty() {
            text.push_str(&format!("ok      {name}\n"));
            continue;
        }
        text.push_str(&format!("FAILED  {name}\n"));
        differences.iter().for_each(|difference| text.push_str(&format!("        {difference}\n")));
        if let Some(written) = said.won().and_then(|route| route.written.as_ref()) {
            text.push_str(&format!("        by {}\n", text::place(written)));
        }
    }
    text.push_str(&format!("{} requests: {failed} not as expected\n", all.len()));
    text
}

impl Case {
    fn request(&self) -> Result<Request, String> {
        let mut words = self.request.split_whitespace();
        let (method, url) = match (words.next(), words.next(), words.next()) {
            (Some(method), Some(url), None) => (method, url),
            (Some(url), None, None) => ("GET", url),
            _ => return Err("expected [METHOD] URL".to_owned()),
        };
        let headers = self.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let mut request = Request::new(method, url, headers)?;
        request.port = self.port.unwrap_or(request.port);
        request.address = self.address;
        Ok(request)
    }
}

/// Adds a difference.
fn differ<T: PartialEq + std::fmt::Debug>(
    into: &mut Vec<String>,
    what: &str,
    want: &Option<T>,
    is: Option<T>,
) {
    if let Some(want) = want
        && is.as_ref() != Some(want)
    {
        let is = is.map_or("there is none".to_owned(), |is| format!("is {is:?}"));
        into.push(format!("{what}: expected {want:?}, {is}"));
    }
}

impl Expected {
    fn compare(&self, said: &Explanation) -> Vec<String> {
        let mut all = Vec::new();
        let outcome = json!(said.outcome);
        let field = |name: &str| outcome[name].as_str().map(str::to_owned);
        differ(&mut all, "outcome", &self.outcome, field("kind"));
        differ(&mut all, "status", &self.status, said.own_status());
        differ(&mut all, "location", &self.location, field("location"));
        differ(&mut all, "body", &self.body, field("body"));
        self.compare_rule(said, &mut all);
        let percent = |odds: Option<f64>| odds.map_or(0.0, |odds| odds * 100.0);
        let (abort, delay) = (said.filters.abort.as_ref(), said.filters.delay.as_ref());
        differ(&mut all, "abortPercent", &self.abort_percent, Some(percent(abort.map(|it| it.odds))));
        differ(&mut all, "delayPercent", &self.delay_percent, Some(percent(delay.map(|it| it.odds))));
        let forward = match &said.outcome {
            Outcome::Forward(forward) => forward.clone(),
            _ => Forward::default(),
        };
        self.compare_forward(&forward, &mut all);
        let to: Vec<Is> = match &said.outcome {
            Outcome::Passed { to } => {
                let one = |it: &PassedTo| Is::new(&it.cluster, it.odds, it.endpoints.any(), Vec::new());
                to.iter().filter(|it| it.odds > 0.0).map(one).collect()
            }
            _ => {
                let to = forward.destinations.iter().filter(|it| it.odds > 0.0);
                let one = |it: &Destination| {
                    Is::new(&it.cluster, it.odds, it.endpoints.any(), vec![it.sent.host.clone()])
                };
                to.map(one).collect()
            }
        };
        compare_targets("to", self.to.as_deref(), &to, &mut all);
        all
    }

    fn compare_rule(&self, said: &Explanation, all: &mut Vec<String>) {
        let won = said.won();
        let written = won.and_then(|route| route.written.as_ref());
        let written = written.or_else(|| said.listener.as_ref()?.written.as_ref());
        let object = written.map(|it| it.object.rsplit(' ').next().unwrap_or_default().to_owned());
        differ(all, "object", &self.object, object);
        let is = won.filter(|route| Some(&route.name) == self.rule.as_ref()).map(|route| route.name.clone());
        differ(all, "rule", &self.rule, is.or_else(|| written.map(|it| it.rule.clone())));
    }

    fn compare_forward(&self, forward: &Forward, all: &mut Vec<String>) {
        let sent = forward.destinations.first().map(|it| &it.sent);
        differ(all, "host", &self.host, sent.map(|it| it.host.clone()));
        differ(all, "path", &self.path, sent.map(|it| it.path.clone()));
        for (name, want) in self.headers.iter().flatten() {
            let values = sent.into_iter().flat_map(|sent| &sent.headers);
            let values: Vec<_> =
                values.filter(|(is, _)| is.eq_ignore_ascii_case(name)).map(|(_, it)| it.as_str()).collect();
            let is = (!values.is_empty()).then(|| values.join(","));
            if *want != is {
                let words =
                    |value: &Option<String>| value.as_ref().map_or("none".to_owned(), |it| format!("{it:?}"));
                all.push(format!("headers.{name}: expected {}, is {}", words(want), words(&is)));
            }
        }
        differ(all, "timeoutSeconds", &self.timeout_seconds, Some(forward.timeout_seconds.unwrap_or(0.0)));
        differ(all, "retries", &self.retries, Some(forward.retries.as_ref().map_or(0, |it| it.attempts)));
        let mirrors = forward.mirrors.iter().filter(|it| it.odds > 0.0);
        let mirrors = mirrors.map(|it| {
            Is::new(
                &it.cluster,
                it.odds,
                it.endpoints.any(),
                it.sent.iter().map(|sent| sent.host.clone()).collect(),
            )
        });
        compare_targets("mirrors", self.mirrors.as_deref(), &mirrors.collect::<Vec<_>>(), all);
    }
}

/// A destination or a mirror as it is.
struct Is {
    cluster: String,
    percent: f64,
    ready: bool,
    hosts: Vec<String>,
}

impl Is {
    fn new(cluster: &str, odds: f64, ready: bool, hosts: Vec<String>) -> Self {
        Is { cluster: cluster.to_owned(), percent: odds * 100.0, ready, hosts }
    }

    fn words(&self) -> String {
        let nobody = if self.ready { "" } else { ", nobody ready" };
        format!("{} to {}{nobody}", percent(self.percent / 100.0), self.cluster)
    }

    /// Host, subset and port of the name (`outbound|8000|v1|httpbin.default.svc.cluster.local`).
    fn parts(&self) -> (&str, &str, &str) {
        let mut parts = self.cluster.splitn(4, '|').skip(1);
        let (port, subset) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        (parts.next().unwrap_or(&self.cluster), subset, port)
    }
}

impl Target {
    fn is(&self, is: &Is) -> bool {
        let (host, subset, port) = is.parts();
        let short =
            |want: &str| host.strip_prefix(want).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        self.host.as_deref().is_none_or(short)
            && self.subset.as_deref().is_none_or(|want| want == subset)
            && self.port.is_none_or(|want| want.to_string() == port)
            && self.percent.is_none_or(|want| (want - is.percent).abs() <= TOLERANCE)
            && self.ready.is_none_or(|want| want == is.ready)
            && self.sent_host.as_ref().is_none_or(|want| is.hosts.contains(want))
    }

    fn words(&self) -> String {
        let percent = self.percent.map(|it| format!("{it}% to ")).unwrap_or_default();
        let subset = self
            .subset
            .as_ref()
            .filter(|it| !it.is_empty())
            .map(|it| format!(" subset {it}"))
            .unwrap_or_default();
        let port = self.port.map(|it| format!(" port {it}")).unwrap_or_default();
        let sent = self.sent_host.as_ref().map(|it| format!(" as {it}")).unwrap_or_default();
        let ready = match self.ready {
            Some(true) => ", somebody ready",
            Some(false) => ", nobody ready",
            None => "",
        };
        format!("{percent}{}{subset}{port}{sent}{ready}", self.host.as_deref().unwrap_or("any host"))
    }
}

/// Each of what is expected has to be there, and nothing else.
fn compare_targets(what: &str, want: Option<&[Target]>, is: &[Is], all: &mut Vec<String>) {
    let Some(want) = want else { return };
    let mut left: Vec<&Is> = is.iter().collect();
    let mut missing = false;
    for target in want {
        match left.iter().position(|is| target.is(is)) {
            Some(at) => drop(left.remove(at)),
            None => missing = true,
        }
    }
    if missing || !left.is_empty() {
        let list = |all: Vec<String>| if all.is_empty() { "nobody".to_owned() } else { all.join("; ") };
        let want = list(want.iter().map(Target::words).collect());
        all.push(format!("{what}: expected {want}, is {}", list(is.iter().map(Is::words).collect())));
    }
}
