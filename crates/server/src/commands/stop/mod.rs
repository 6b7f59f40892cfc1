//! `umbra stop` and `umbra resume`: the annotation that stops mirrors, and who has taken it.
//!
//! Start reading at: `target.rs` (what is named, pure), `cluster.rs` and `files.rs` (where it is written), `confirm.rs`.

mod cluster;
mod confirm;
mod files;
mod target;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};
use umbra_ir::ObjectId;
use umbra_istio::Stop;

use super::ask::check_servers;
use super::ask::door::Door;
use super::print;
use crate::cli::{Output, StopArgs};
use crate::config::options::duration;
use crate::failure::usage;
use confirm::Confirmed;
use target::Target;

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verb {
    Stop,
    Resume,
}

/// What became of the annotation of one VirtualService.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Written {
    /// What it says now; `None`: it is not there.
    annotation: Option<String>,
    /// It said something else before.
    changed: bool,
}

/// By VirtualService what became of it, or why nothing did.
type AllWritten = BTreeMap<ObjectId, Result<Written, String>>;

/// Which names are meant of each VirtualService; none: everything.
type Wanted = BTreeMap<ObjectId, Vec<String>>;

/// `umbra stop`.
pub(super) fn stop(args: &StopArgs) -> anyhow::Result<ExitCode> {
    run(Verb::Stop, args)
}

/// `umbra resume`.
pub(super) fn resume(args: &StopArgs) -> anyhow::Result<ExitCode> {
    run(Verb::Resume, args)
}

fn run(verb: Verb, args: &StopArgs) -> anyhow::Result<ExitCode> {
    check_servers(&args.door.server)?;
    let door = Door::new(&args.door)?;
    let patience =
        duration(&args.timeout).ok_or_else(|| usage("--timeout: expected a duration such as 30s, or 0s"))?;
    let targets: Vec<Target> =
        args.mirrors.iter().map(|text| Target::parse(text)).collect::<Result<_, _>>().map_err(usage)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(carry_out(verb, args, &door, &targets, patience));
    // A name that does not resolve holds a thread.
    runtime.shutdown_background();
    result
}

async fn carry_out(
    verb: Verb,
    args: &StopArgs,
    door: &Door,
    targets: &[Target],
    patience: Duration,
) -> anyhow::Result<ExitCode> {
    let written = match &args.dir {
        Some(dir) => files::write(verb, dir, args.namespace.as_deref(), targets)?,
        None => cluster::write(verb, args, targets).await?,
    };
    if written.is_empty() {
        eprintln!("umbra: there is no VirtualService with mirrors{}", in_namespace(args));
        return Ok(ExitCode::SUCCESS);
    }
    let stops = written.iter().filter_map(|(id, written)| Some((id.clone(), written.as_ref().ok()?)));
    let stops: BTreeMap<ObjectId, Option<String>> =
        stops.map(|(id, written)| (id, written.annotation.clone())).collect();
    let confirmed = match patience.is_zero() {
        true => None,
        false => Some(confirm::wait(door, &args.door.server, &stops, patience).await),
    };
    let done = tell(verb, args.output, &written, confirmed.as_ref())?;
    Ok(if done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn in_namespace(args: &StopArgs) -> String {
    args.namespace.as_ref().map_or(String::new(), |name| format!(" in namespace {name}"))
}

/// The annotation that comes of what was there.
fn annotation(verb: Verb, before: Option<&str>, names: &[String]) -> Result<Option<String>, String> {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let stop = Stop::parse(before);
    match verb {
        Verb::Stop => Ok(Some(stop.and(&names))),
        Verb::Resume => stop.but(&names).map_err(|_| {
            "all of its mirrors are stopped together: resume the VirtualService, and stop what should not go on"
                .to_owned()
        }),
    }
}

/// Prints what became of each; true when every proxy has taken everything.
fn tell(
    verb: Verb,
    output: Output,
    written: &AllWritten,
    confirmed: Option<&BTreeMap<ObjectId, Confirmed>>,
) -> anyhow::Result<bool> {
    let mut done = true;
    let mut values = Vec::new();
    for (id, result) in written {
        let confirmed = confirmed.map(|all| all.get(id).cloned().unwrap_or_default());
        done &= result.is_ok() && confirmed.as_ref().is_none_or(|it| it.why_not.is_none());
        match output {
            Output::Json => values.push(value(id, result, confirmed.as_ref())),
            Output::Text => match result {
                Ok(written) => print(&format!("{}\n", line(verb, id, written, confirmed.as_ref())))?,
                Err(why) => eprintln!("umbra: {}/{}: {why}", id.namespace, id.name),
            },
        }
    }
    if output == Output::Json {
        let value = json!({ "done": done, "virtualServices": values });
        print(&format!("{}\n", serde_json::to_string_pretty(&value)?))?;
    }
    Ok(done)
}

fn value(id: &ObjectId, result: &Result<Written, String>, confirmed: Option<&Confirmed>) -> Value {
    let mut value = json!({ "namespace": &*id.namespace, "name": &*id.name });
    match result {
        Ok(written) => {
            value["annotation"] = written.annotation.clone().into();
            value["changed"] = written.changed.into();
        }
        Err(why) => value["error"] = why.clone().into(),
    }
    if let (Ok(_), Some(it)) = (result, confirmed) {
        value["confirmed"] = it.why_not.is_none().into();
        value["live"] = it.live.into();
        value["total"] = it.total.into();
        value["stopped"] = it.stopped.clone().into();
        value["laggards"] = it.laggards.clone().into();
        value["why"] = it.why_not.clone().into();
    }
    value
}

fn line(verb: Verb, id: &ObjectId, written: &Written, confirmed: Option<&Confirmed>) -> String {
    let what = match (verb, written.changed) {
        (Verb::Stop, true) => "stopped",
        (Verb::Stop, false) => "was stopped already",
        (Verb::Resume, true) => "resumed",
        (Verb::Resume, false) => "was not stopped",
    };
    let rest = match (&written.annotation, verb) {
        (Some(rest), Verb::Resume) => format!(" (stopped are still: {rest})"),
        _ => String::new(),
    };
    let taken = confirmed.map_or(String::new(), |it| match &it.why_not {
        None => format!(", {} of {} proxies have taken it", it.live, it.total),
        Some(why) => format!(", but not confirmed: {why}"),
    });
    format!("{}/{}: {what}{rest}{taken}", id.namespace, id.name)
}

#[cfg(test)]
mod tests {
    use umbra_ir::Kind;

    use super::*;

    #[test]
    fn what_people_read() {
        let id = ObjectId::new(Kind::VirtualService, "shop", "web");
        let confirmed = Confirmed { live: 3, total: 3, ..Confirmed::default() };
        let late = Confirmed { why_not: Some("waiting for a.shop".to_owned()), ..confirmed.clone() };
        for (verb, annotation, changed, confirmed, want) in [
            (Verb::Stop, Some("all"), true, Some(&confirmed), "stopped, 3 of 3 proxies have taken it"),
            (Verb::Stop, Some("all"), false, None, "was stopped already"),
            (Verb::Stop, Some("a"), true, Some(&late), "stopped, but not confirmed: waiting for a.shop"),
            (Verb::Resume, None, true, None, "resumed"),
            (Verb::Resume, Some("a"), true, None, "resumed (stopped are still: a)"),
            (Verb::Resume, None, false, None, "was not stopped"),
        ] {
            let written = Written { annotation: annotation.map(str::to_owned), changed };
            assert_eq!(line(verb, &id, &written, confirmed), format!("shop/web: {want}"));
        }
    }
}
