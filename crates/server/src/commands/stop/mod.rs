//! `umbra stop` and `umbra resume`: the annotation that stops mirrors, and who has taken it.

mod by_umbra;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use umbra_ir::{Kind, ObjectId, RuntimeKey};
use umbra_proto::umbra::v1::{ListMirrorsRequest, ListObjectsRequest, Mirror};
use umbra_source::kubernetes::ApiServer;

use super::ask::check_servers;
use super::ask::door::Door;
use super::ask::replicas::{self, Asked};
use super::print;
use crate::cli::{Output, StopArgs};
use crate::config::options::duration;
use crate::failure::usage;
use crate::live::ObjectLive;
use crate::messages::{object_id, object_live, reference};
use crate::stop::confirm::{self, Said};
use crate::stop::target::wanted;
use crate::stop::{
    AllWritten, Annotations, Confirmed, Target, Verb, Written, annotations, cluster, files, is_done, told,
};

/// From one question to the next.
const PAUSE: Duration = Duration::from_millis(200);

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
        None if args.by_umbra => by_umbra::write(verb, args, door).await?,
        None => write_to_cluster(verb, args, targets).await?,
    };
    if written.is_empty() {
        eprintln!("umbra: there is no VirtualService with mirrors{}", in_namespace(args));
        return Ok(ExitCode::SUCCESS);
    }
    let stops = annotations(&written);
    let confirmed = match patience.is_zero() {
        true => None,
        false => {
            let ask = |ids| ask(door, &args.door.server, ids, &stops);
            Some(confirm::wait(&stops, (PAUSE, patience), ask).await)
        }
    };
    let done = tell(verb, args.output, &written, confirmed.as_ref())?;
    Ok(if done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn in_namespace(args: &StopArgs) -> String {
    args.namespace.as_ref().map_or(String::new(), |name| format!(" in namespace {name}"))
}

/// Writes it with the caller's own kubeconfig.
async fn write_to_cluster(verb: Verb, args: &StopArgs, targets: &[Target]) -> anyhow::Result<AllWritten> {
    let (kubeconfig, context) = (args.kubeconfig.as_deref(), args.context.as_deref());
    let (server, namespace) = ApiServer::of_caller(kubeconfig, context).await.map_err(usage)?;
    let annotations = server.annotations(Kind::VirtualService).await?;
    let namespace = args.namespace.as_deref().unwrap_or(&namespace);
    let wanted = match args.all {
        false => wanted(targets, namespace),
        true => cluster::everything(verb, &annotations.list(args.namespace.as_deref()).await?),
    };
    Ok(cluster::write(verb, &annotations, wanted).await)
}

/// What all servers say of these together: nothing is confirmed that one of them denies.
async fn ask(door: &Door, servers: &[String], ids: Vec<ObjectId>, annotations: &Annotations) -> Said {
    let objects: Vec<_> = ids.iter().map(reference).collect();
    let asked = replicas::ask(door, servers, |mut client| {
        let request = ListObjectsRequest { objects: objects.clone(), all_replicas: true };
        async move {
            let mirrors = client.list_mirrors(ListMirrorsRequest::default()).await?.into_inner().mirrors;
            Ok((mirrors, client.list_objects(request).await?.into_inner()))
        }
    });
    let mut all: BTreeMap<ObjectId, Confirmed> = BTreeMap::new();
    for Asked { address, answer } in asked.await {
        let (mirrors, answer) = answer.map_err(|why| format!("no answer from {address}: {why}"))?;
        let known: BTreeMap<ObjectId, ObjectLive> = answer
            .objects
            .into_iter()
            .filter_map(object_live)
            .map(|live| (live.object.clone(), live))
            .collect();
        for id in &ids {
            let of = |mirror: &&Mirror| mirror.rule.as_ref().and_then(object_id).as_ref() == Some(id);
            let mirrors = mirrors.iter().filter(of);
            let mirrors = mirrors.map(|it| (it.route.as_str(), RuntimeKey::new(it.runtime_key.as_str())));
            let wanted = confirm::stopped(mirrors, annotations.get(id).and_then(Option::as_deref));
            let now = confirm::judge(known.get(id), id, &wanted, &answer.silent);
            let worse = all.get(id).is_some_and(|before| before.why_not.is_some());
            if !worse {
                all.insert(id.clone(), now);
            }
        }
    }
    Ok(all)
}

/// Prints what became of each; true when every proxy has taken everything.
fn tell(
    verb: Verb,
    output: Output,
    written: &AllWritten,
    confirmed: Option<&BTreeMap<ObjectId, Confirmed>>,
) -> anyhow::Result<bool> {
    if output == Output::Json {
        print(&format!("{}\n", serde_json::to_string_pretty(&told(written, confirmed))?))?;
        return Ok(is_done(written, confirmed));
    }
    for (id, result) in written {
        let confirmed = confirmed.map(|all| all.get(id).cloned().unwrap_or_default());
        match result {
            Ok(written) => print(&format!("{}\n", line(verb, id, written, confirmed.as_ref())))?,
            Err(why) => eprintln!("umbra: {}/{}: {why}", id.namespace, id.name),
        }
    }
    Ok(is_done(written, confirmed))
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
