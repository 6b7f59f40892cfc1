//! `umbra explain`.

mod expect;
mod known;
mod text;

use std::process::ExitCode;

use serde::Serialize;
use serde_json::json;
use umbra_explain::{Explanation, Outcome, Request};

use self::known::Source;
use super::print;
use crate::cli::{ExplainArgs, Output};
use crate::failure::usage;

/// Nobody takes the request.
const NOBODY: u8 = 3;
/// It is forwarded, but nobody is there.
const NOBODY_THERE: u8 = 4;
/// It cannot be judged.
const UNKNOWN: u8 = 5;

/// One request and what becomes of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answered {
    request: String,
    from: String,
    #[serde(flatten)]
    said: Explanation,
}

/// Prints what becomes of a request, or compares what becomes of many with what should.
pub(super) fn explain(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let mut source = Source::open(args)?;
    if let Some(file) = &args.expect {
        return expect::expect(args, file, &mut source);
    }
    let (method, url) = match args.request.as_slice() {
        [method, url] => (method.as_str(), url.as_str()),
        [url] => ("GET", url.as_str()),
        _ => return Err(usage("say which request: [METHOD] URL")),
    };
    let headers =
        args.headers.iter().map(|header| parse_header(header)).collect::<Result<_, _>>().map_err(usage)?;
    let mut request = Request::new(method, url, headers).map_err(usage)?;
    request.port = args.port.unwrap_or(request.port);
    request.address = args.address;
    let from = args
        .from
        .as_deref()
        .ok_or_else(|| usage("say whose proxy the request meets: --from sidecar/NS/k=v"))?;
    let said = source.known(from)?.explain(&request);
    let answered = Answered { request: format!("{method} {url}"), from: from.to_owned(), said };
    match args.output {
        Output::Json => print(&format!("{}\n", serde_json::to_string_pretty(&json!(answered))?))?,
        Output::Text => print(&text::answered(&answered))?,
    }
    Ok(ExitCode::from(code(&answered.said)))
}

/// A header as curl takes it.
fn parse_header(header: &str) -> Result<(String, String), String> {
    let (name, value) =
        header.split_once(':').ok_or_else(|| format!("{header:?} is no header such as 'x-user: a'"))?;
    if name.trim().is_empty() {
        return Err(format!("{header:?} is no header: it has no name"));
    }
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

/// The exit code of an outcome.
fn code(said: &Explanation) -> u8 {
    if said.filters.abort.as_ref().is_some_and(|abort| abort.odds >= 1.0) {
        return 0;
    }
    match &said.outcome {
        Outcome::NoListener
        | Outcome::Mismatch { .. }
        | Outcome::Refused { .. }
        | Outcome::NoTable { .. }
        | Outcome::NoVirtualHost { .. }
        | Outcome::NoRoute { .. } => NOBODY,
        Outcome::Unknown { .. } => UNKNOWN,
        Outcome::Passed { to } if to.iter().any(|it| it.odds > 0.0 && !it.endpoints.any()) => NOBODY_THERE,
        Outcome::Forward(forward)
            if forward.destinations.iter().any(|it| it.odds > 0.0 && !it.endpoints.any()) =>
        {
            NOBODY_THERE
        }
        _ => 0,
    }
}
